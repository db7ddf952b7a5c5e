"""Which column answers for which field, and which parameter finds by which column.

Names of fields, parameters and columns come from configuration alone; a request chooses among them and adds
none. A `Projection` is made once per set of fields asked for and then only run.
"""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from operator import itemgetter

from agent.provider.connectors.port import Record
from agent.provider.masking import Mask, MaskKind, masker
from agent.provider.values import Value, parse, taker
from exchange.clock import BEIJING
from exchange.codes import check_format
from exchange.errors import BadParameter, SourceDown, UnknownField

MAX_PARAMETER_BYTES = 1024
MAX_CLAIM_BYTES = 16384
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRule:
    """One field of a resource.

    Args:
        name: as in the catalogue.
        column: of the source; for an HTTP source a JSON pointer into the record.
        type: one of the seven types, as the value leaves.
        level: `common_pb2.Level`.
        mask: what is hidden of it.
        subject: "citizen_id" or "credit_code" where the value names whom the record is about, so that a trace
            finds it (agent/provider/tagging.py); empty otherwise.
    """

    name: str
    column: str
    type: str
    level: int
    mask: Mask | None = None
    subject: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterRule:
    """One parameter of a resource.

    Args:
        name: as in the catalogue.
        column: of the source; for an HTTP source a name in the path's template.
        type: one of the seven types.
        format: "citizen_id", "credit_code", "division" or empty.
    """

    name: str
    column: str
    type: str = "text"
    format: str = ""


def key_of(rules: Mapping[str, ParameterRule], parameters: Mapping[str, str]) -> dict[str, str]:
    """Check a question's parameters and turn them into a key.

    Args:
        rules: the resource's parameters by name; all of them must be given.
        parameters: what was given.

    Returns:
        Column to text.

    Raises:
        BadParameter: one is missing, unknown, too long or not of its type.
        BadIdentifier: one has a wrong form or checksum.
    """
    if parameters.keys() != rules.keys():
        odd = sorted(rules.keys() ^ parameters.keys())[0]
        raise BadParameter(odd if odd in rules else "unknown parameter")
    return {rule.column: _checked(rule, parameters[name]) for name, rule in rules.items()}


def _checked(rule: ParameterRule, text: str) -> str:
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        raise BadParameter(rule.name) from None
    if not 0 < size <= MAX_PARAMETER_BYTES or "\0" in text:
        raise BadParameter(rule.name)
    if rule.format:
        check_format(rule.format, text)
    if rule.type != "text":
        try:
            parse(rule.type, text)
        except ValueError:
            raise BadParameter(rule.name) from None
    return text


class Projection:
    """Turns records into columns of the fields asked for: picks, converts, masks.

    Args:
        source: name of the resource, for errors.
        columns: of the connector.
        rules: the fields asked for, in order.
        zone: the offset of timestamps that carry none.
        pseudonym: makes the pseudonym of a field's value; None where no mask needs one.
    """

    def __init__(
        self,
        *,
        source: str,
        columns: Sequence[str],
        rules: Sequence[FieldRule],
        zone: timezone,
        pseudonym: Callable[[str, str], str] | None = None,
    ) -> None:
        self._source = source
        self._steps = [
            (rule.name, columns.index(rule.column), rule.type, _conversion(rule, zone, pseudonym))
            for rule in rules
        ]
        places = [step[1] for step in self._steps]
        plain = len(places) > 1 and all(step[3] is None for step in self._steps)
        self._pick: Callable[[Record], Record] | None = itemgetter(*places) if plain else None

    def run(self, records: Sequence[Record]) -> list[list[Value]]:
        """Return one list of values per field; one record of plain texts takes a short way.

        Raises:
            SourceDown: the source holds a value that is not of its field's type; it names the field alone.
        """
        if self._pick is not None and len(records) == 1:
            values = self._pick(records[0])
            if _PLAIN.issuperset(map(type, values)):
                return [[value] for value in values]
        return [self._column(*step, records) for step in self._steps]

    def _column(
        self,
        name: str,
        at: int,
        kind: str,
        convert: Callable[[object], Value] | None,
        records: Sequence[Record],
    ) -> list[Value]:
        try:
            if convert is None:
                return [self._text(record[at]) for record in records]
            return [None if record[at] is None else convert(record[at]) for record in records]
        except ValueError:
            raise SourceDown(f"{self._source}: {name} is not of type {kind}") from None

    @staticmethod
    def _text(raw: object) -> Value:
        return raw if raw is None or type(raw) is str else _take_text(raw)


_PLAIN = frozenset({str, type(None)})
_take_text = taker("text", BEIJING)


def _conversion(
    rule: FieldRule, zone: timezone, pseudonym: Callable[[str, str], str] | None
) -> Callable[[object], Value] | None:
    """Return what converts and masks a value; None for text without a mask, the most frequent."""
    take = taker(rule.type, zone)
    if rule.mask is None:
        return None if rule.type == "text" else take
    mask = masker(rule.mask, rule.type, partial(pseudonym, rule.name) if pseudonym is not None else None)
    return lambda raw: mask(take(raw))


def rules_for(rules: Mapping[str, FieldRule], names: Sequence[str]) -> list[FieldRule]:
    """Return the rules of the fields named.

    Raises:
        UnknownField: the source maps no such field.
    """
    try:
        return [rules[name] for name in names]
    except KeyError:
        raise UnknownField(next(name for name in names if name not in rules)) from None


def normal(kind: str, value: Value) -> bytes:
    """Return the form in which claims are compared: texts by NFKC and trimmed, others canonically."""
    if kind == "text":
        return unicodedata.normalize("NFKC", str(value)).strip().encode()
    if isinstance(value, Decimal):
        return format(value.normalize(), "f").encode()
    if isinstance(value, datetime):
        # A difference, for the same moment in UTC may lie beyond what a datetime can hold.
        return str((value - _EPOCH) // timedelta(microseconds=1)).encode()
    return value if isinstance(value, bytes) else str(value).encode()


def claim_of(rule: FieldRule, text: str) -> bytes:
    """Return a claim in normal form.

    Raises:
        BadParameter: it is too long or not of the field's type.
    """
    try:
        if len(text.encode()) > MAX_CLAIM_BYTES:
            raise BadParameter(rule.name)
        return normal(rule.type, parse(rule.type, text.strip()))
    except ValueError:  # UnicodeEncodeError is one
        raise BadParameter(rule.name) from None


def is_unsaid(rule: FieldRule) -> bool:
    """Whether no verdict on it may leave: it is redacted, or a pseudonym, which a right guess would undo."""
    return rule.mask is not None and rule.mask.kind in (MaskKind.REDACT, MaskKind.PSEUDONYM)
