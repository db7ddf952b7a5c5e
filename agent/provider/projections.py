"""Keeps the projections of one source: made once per set of fields and masks, then only run.

The mask of a field is the stricter of the agent's own and the catalogue's (`masking.stricter`). Where one
is a pseudonym, a projection is kept per consumer and purpose too; all others share one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timezone
from functools import partial
from typing import TypeVar

from agent.provider.field_rules import FieldRule, Projection, rules_for
from agent.provider.masking import REDACT, Mask, mask_of, stricter
from agent.provider.pseudonyms import Pseudonyms
from exchange.field_rules import MaskRule
from exchange.resources import Resource

KEPT = 256

K = TypeVar("K")
V = TypeVar("V")
Audience = tuple[str, str]
"""Credit code of the consumer, and purpose."""


@dataclass(frozen=True, slots=True)
class Least:
    """What a catalogue entry hides at the least.

    Args:
        digest: of the entry, 32 bytes; empty where it hides nothing.
        masks: by field.
    """

    digest: bytes = b""
    masks: Mapping[str, MaskRule] = field(default_factory=dict)


NOTHING = Least()


def least_of(resource: Resource) -> Least:
    """Return what a catalogue entry hides."""
    masks = {name: rule.mask for name, rule in resource.fields.items() if rule.mask is not None}
    return Least(resource.digest, masks) if masks else NOTHING


class Projections:
    """Makes and keeps projections.

    Args:
        source: name of the resource, for errors.
        columns: of the connector.
        fields: what the source maps.
        zone: the offset of timestamps that carry none.
        pseudonyms: None where none can be made: fields that need one then fail.
    """

    def __init__(
        self,
        *,
        source: str,
        columns: Sequence[str],
        fields: Mapping[str, FieldRule],
        zone: timezone,
        pseudonyms: Pseudonyms | None,
    ) -> None:
        self._source = source
        self._columns = columns
        self._fields = fields
        self._zone = zone
        self._pseudonyms = pseudonyms
        self._plain: dict[tuple[str, ...], Projection] = {}
        # None where it depends on the audience.
        self._masked: dict[tuple[tuple[str, ...], bytes], Projection | None] = {}
        self._of: dict[tuple[tuple[str, ...], bytes, Audience], Projection] = {}

    def plain(self, names: tuple[str, ...]) -> Projection:
        """Return the projection of fields before any mask.

        Raises:
            UnknownField.
        """
        found = self._plain.get(names)
        if found is None:
            rules = [replace(rule, mask=None) for rule in rules_for(self._fields, names)]
            found = self._plain[names] = self._made(rules)
            _bound(self._plain)
        return found

    def masked(self, names: tuple[str, ...], least: Least, audience: Audience) -> Projection:
        """Return the projection of fields as they leave.

        Raises:
            UnknownField.
            BadConfiguration: a pseudonym is needed and cannot be made.
        """
        key = names, least.digest
        found = self._masked.get(key)
        if found is not None:
            return found
        if key not in self._masked:
            rules = self.rules(names, least)
            if not any(rule.mask is not None and rule.mask.needs_pseudonym for rule in rules):
                found = self._made(rules)
            self._masked[key] = found
            _bound(self._masked)
        return found if found is not None else self._for(names, least, audience)

    def rules(self, names: Sequence[str], least: Least) -> list[FieldRule]:
        """Return the rules of fields, each with the mask that applies.

        Raises:
            UnknownField.
        """
        return [self._strict(rule, least.masks.get(rule.name)) for rule in rules_for(self._fields, names)]

    def _strict(self, rule: FieldRule, least: MaskRule | None) -> FieldRule:
        if least is None:
            return rule
        mask: Mask | None = stricter(rule.mask, mask_of(least))
        # What the catalogue takes for a date or a number may be none here: then nothing of it leaves.
        return replace(rule, mask=mask if mask is None or mask.fits(rule.type) else REDACT)

    def _for(self, names: tuple[str, ...], least: Least, audience: Audience) -> Projection:
        key = names, least.digest, audience
        found = self._of.get(key)
        if found is None:
            found = self._of[key] = self._made(self.rules(names, least), audience)
            _bound(self._of)
        return found

    def _made(self, rules: Sequence[FieldRule], audience: Audience | None = None) -> Projection:
        make = None
        if audience is not None and self._pseudonyms is not None:
            make = partial(self._pseudonyms.of, *audience)
        return Projection(
            source=self._source, columns=self._columns, rules=rules, zone=self._zone, pseudonym=make
        )


def _bound(kept: dict[K, V]) -> None:
    """Let go of the oldest where too many are kept."""
    if len(kept) > KEPT:
        del kept[next(iter(kept))]
