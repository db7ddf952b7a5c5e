"""Whose name an alias in a resource id is, from what administrators of the region signed.

An id says "<division>/<alias>/<name>". Without this a gateway in league with one department could hand out
that department's entry under another's alias, and questions would be sealed to the wrong agents.
One alias per division names one organisation for good, and what kind of body it is is said once.
"""

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from exchange.codes import credit_code, division_code
from exchange.errors import BadIdentifier, Malformed, RoleNotAllowed, UnknownOrganisation, WrongState
from exchange.identity import Identity, Role, division_covers
from exchange.resources import GOVERNMENT, Resource, split_id
from exchange.v1 import common_pb2, directory_pb2


@dataclass(frozen=True, slots=True)
class Named:
    """What an administrator said of an organisation; kind is an OrganisationKind."""

    code: str
    division: str
    alias: str
    kind: int


class Names:
    """The aliases and kinds of the region's organisations."""

    def __init__(self) -> None:
        self._by_code: dict[str, Named] = {}
        self._by_alias: dict[tuple[str, str], str] = {}

    def government(self, code: str) -> bool:
        """Return whether an organisation may get more than verifications and derived fields.

        One that no administrator has named is not; one whose kind was not said is.
        """
        held = self._by_code.get(code)
        return held is not None and held.kind in GOVERNMENT

    def read(self, statement: common_pb2.Statement) -> Named:
        """Return what a signed OrganisationBody says; it is not verified.

        Raises:
            Malformed, BadIdentifier.
        """
        try:
            body = directory_pb2.OrganisationBody.FromString(statement.body)
        except DecodeError:
            raise Malformed("organisation") from None
        return Named(credit_code(body.credit_code), division_code(body.division), body.alias, body.kind)

    def check(self, told: Named, signer: Identity) -> None:
        """Refuse a name that no administrator gave, that is taken, or that would change.

        Raises:
            RoleNotAllowed, WrongState.
        """
        if signer.role is not Role.ADMIN:
            raise RoleNotAllowed(told.code)
        held = self._by_code.get(told.code, told)
        place = told.division, told.alias
        if (held.division, held.alias) != place or self._by_alias.get(place, told.code) != told.code:
            raise WrongState(told.code)
        if held.kind and told.kind != held.kind:
            raise WrongState(f"{told.code} kind {held.kind}")

    def take(self, told: Named) -> None:
        """Take over a name that was checked."""
        self._by_code[told.code] = told
        self._by_alias[told.division, told.alias] = told.code

    def check_resource(self, resource: Resource) -> None:
        """Refuse a resource whose id is not in its provider's name.

        Raises:
            UnknownOrganisation: no administrator has named the provider.
            BadIdentifier: the alias is another's, or the division is not the provider's.
        """
        division, alias, _ = split_id(resource.id)
        held = self._by_code.get(resource.provider)
        if held is None:
            raise UnknownOrganisation(resource.provider)
        if held.alias != alias or not division_covers(held.division, division):
            raise BadIdentifier(resource.id)
