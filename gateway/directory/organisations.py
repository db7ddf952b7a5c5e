"""The organisations of the region, folded from signed OrganisationBody statements.

One alias per division names one organisation for good: resource ids are made of it, so a later statement
may change names only. What kind of body it is may be said once, where it was not said before: no single
administrator turns a bank into a department.
"""

import re
from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from exchange.canonical import NONCE_BYTES
from exchange.codes import credit_code, division_code
from exchange.errors import BadIdentifier, Malformed, Replayed, UnknownOrganisation, WrongState
from exchange.identity import division_covers
from exchange.resources import GOVERNMENT, check_text
from exchange.timestamps import milliseconds
from exchange.v1 import common_pb2, directory_pb2

MAX_NAME = 100
_KINDS = frozenset(directory_pb2.OrganisationKind.values())
_ALIAS = re.compile(r"[a-z0-9-]{1,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Organisation:
    """A legal body of the region.

    Attributes:
        credit_code: 18 characters.
        alias: short name in resource ids.
        division: 6 digits.
        issued_at_ms: when its administrator signed, Unix milliseconds.
        kind: an OrganisationKind.
        statement: the signed body, verbatim.
    """

    credit_code: str
    alias: str
    name_zh: str
    name_en: str
    division: str
    issued_at_ms: int
    kind: int = directory_pb2.ORGANISATION_KIND_UNSPECIFIED
    statement: common_pb2.Statement = field(repr=False)

    @property
    def government(self) -> bool:
        """Whether it may get more than verifications and derived fields."""
        return self.kind in GOVERNMENT


def read_organisation(statement: common_pb2.Statement) -> Organisation:
    """Return the organisation that a statement describes. Signature and signer are not looked at.

    Raises:
        Malformed, Oversized, BadIdentifier: the body breaks a rule; the subject names the part.
    """
    try:
        body = directory_pb2.OrganisationBody.FromString(statement.body)
    except DecodeError as error:
        raise Malformed("organisation") from error
    if len(body.nonce) != NONCE_BYTES or not body.HasField("issued_at"):
        raise Malformed("nonce or issued_at")
    if _ALIAS.fullmatch(body.alias) is None:
        raise BadIdentifier("alias")
    if body.kind not in _KINDS:
        raise Malformed("kind")
    check_text(body.name_zh, "name_zh", least=1, most=MAX_NAME)
    check_text(body.name_en, "name_en", most=MAX_NAME)
    if body.kind not in directory_pb2.OrganisationKind.values():
        raise Malformed("kind")
    return Organisation(
        credit_code=credit_code(body.credit_code),
        alias=body.alias,
        name_zh=body.name_zh,
        name_en=body.name_en,
        division=division_code(body.division),
        issued_at_ms=milliseconds(body.issued_at, "issued_at"),
        kind=body.kind,
        statement=statement,
    )


class Organisations:
    """Every organisation by credit code; built by `apply`, read by everybody.

    Attributes:
        changes: how often it has changed; what is kept about organisations holds as long as this stays.
    """

    def __init__(self) -> None:
        self.changes = 0
        self._by_code: dict[str, Organisation] = {}
        self._aliases: dict[tuple[str, str], str] = {}
        self._codes: list[str] = []

    @property
    def by_code(self) -> Mapping[str, Organisation]:
        """The organisations by credit code."""
        return self._by_code

    def get(self, code: str) -> Organisation:
        """Return one organisation.

        Raises:
            UnknownOrganisation.
        """
        found = self._by_code.get(code)
        if found is None:
            raise UnknownOrganisation(code)
        return found

    def page(self, after: str, limit: int) -> Sequence[Organisation]:
        """Return at most `limit` organisations whose credit code comes after `after`."""
        start = bisect_right(self._codes, after)
        return [self._by_code[code] for code in self._codes[start : start + limit]]

    def check(self, new: Organisation, *, region: str) -> None:
        """Refuse an organisation that the region cannot take.

        Args:
            region: the region's division, 6 digits.

        Raises:
            BadIdentifier: its division is not of this region.
            Replayed: its alias is taken.
            WrongState: alias, division or kind would change, or the statement is older than the one held.
        """
        if not division_covers(region, new.division):
            raise BadIdentifier(f"division {new.division}")
        if self._aliases.get((new.division, new.alias), new.credit_code) != new.credit_code:
            raise Replayed(f"alias {new.alias}")
        held = self._by_code.get(new.credit_code)
        if held is None:
            return
        if (held.division, held.alias) != (new.division, new.alias):
            raise WrongState(f"{new.credit_code} is {held.division}/{held.alias}")
        if held.kind and new.kind != held.kind:
            raise WrongState(f"{new.credit_code} kind {held.kind}")
        if new.issued_at_ms <= held.issued_at_ms:
            raise WrongState(new.credit_code)

    def apply(self, new: Organisation) -> None:
        """Take over an organisation that was checked before it was logged."""
        if new.credit_code not in self._by_code:
            insort(self._codes, new.credit_code)
        self.changes += 1
        self._by_code[new.credit_code] = new
        self._aliases[new.division, new.alias] = new.credit_code
