"""Corrections that concern this department: values it received were wrong, and are put right at the source.

1. What is taken over is signed by a steward of the resource's provider: the step by which the dispute was
   upheld. Which exchanges it concerns is the gateway's word, found by tags.
2. A department's system marks a correction done once it has put its own record right; then a steward
   acknowledges it (`shuqiao dispute acknowledge`). Nothing here holds a value.
3. Kept are the newest 10,000; of more, those that are done go first, then the oldest.
"""

import json
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

from agent.region import RegionView
from exchange import canonical
from exchange.clock import Clock
from exchange.errors import BadSignature, Malformed, RoleNotAllowed, UnknownTicket
from exchange.identity import Role
from exchange.ticket_body import CORRECT, EXCHANGE_ID_BYTES, read_event
from exchange.v1 import audit_pb2

KIND = "correction"
MOST = 10_000
MOST_IDS = 256
_ID = 2 * canonical.DIGEST_BYTES


class Kept(TypedDict):
    """A correction as it is kept."""

    ticket: str
    resource: str
    provider: str
    fields: list[str]
    text: str
    exchanges: list[str]
    told_ms: int
    done_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """One entry's correction; several entries may tell of one dispute.

    Attributes:
        ticket: hexadecimal, 64 digits.
        text: the provider's words.
        exchanges: ids of this department's exchanges that may have brought the old value, as UUIDs.
        told_ms, done_ms: Unix milliseconds; 0 where it is not done.
    """

    key: str
    ticket: str
    resource: str
    provider: str
    fields: Sequence[str]
    text: str
    exchanges: Sequence[str]
    told_ms: int
    done_ms: int = 0

    def value(self) -> bytes:
        """Return it as it is kept."""
        kept = Kept(
            ticket=self.ticket,
            resource=self.resource,
            provider=self.provider,
            fields=list(self.fields),
            text=self.text,
            exchanges=list(self.exchanges),
            told_ms=self.told_ms,
            done_ms=self.done_ms,
        )
        return json.dumps(kept, ensure_ascii=False).encode()

    @classmethod
    def of(cls, key: str, value: bytes) -> "Correction":
        """Return one that was kept."""
        kept: Kept = json.loads(value)
        return cls(key=key, **kept)


class AgentCorrections:
    """Takes corrections over and keeps them.

    Args:
        region: tells of events and keeps what was taken.
        organisation: credit code of this department.
        clock: the time.
    """

    acts: Collection[int] = frozenset({audit_pb2.ACT_CORRECTION})

    def __init__(self, *, region: RegionView, organisation: str, clock: Clock) -> None:
        self._region = region
        self._organisation = organisation
        self._clock = clock
        self._held = {key: Correction.of(key, value) for key, value in region.kept(KIND).items()}
        region.add(self)

    def take(self, act: audit_pb2.AdministrativeEntry, index: int, at_ms: int) -> None:
        """Take a correction over; see `agent.region.EventRegister`."""
        told = act.correction
        if told.recipient != self._organisation:
            return
        key = f"{told.ticket_id.hex()}/{index}"
        if key in self._held:
            return
        (signer,) = self._region.signers([act.statement], canonical.TICKET_EVENT, at_ms=at_ms)
        step = read_event(act.statement)
        provider = self._region.provider(told.resource)
        if signer.role is not Role.STEWARD or signer.organisation != provider:
            raise RoleNotAllowed(str(signer))
        if (step.action, step.ticket_id, step.fields) != (CORRECT, told.ticket_id, frozenset(told.fields)):
            raise BadSignature("correction of another step")
        ids = list(told.exchange_ids)
        if len(ids) > MOST_IDS or any(len(one) != EXCHANGE_ID_BYTES for one in ids):
            raise Malformed("exchange_ids")
        self._keep(
            Correction(
                key=key,
                ticket=told.ticket_id.hex(),
                resource=told.resource,
                provider=provider,
                fields=sorted(told.fields),
                text=step.text,
                exchanges=[str(uuid.UUID(bytes=one)) for one in ids],
                told_ms=at_ms,
            )
        )
        self._trim()

    def listed(self, shows: Callable[[str], bool] = lambda resource: True) -> list[Correction]:
        """Return the corrections of the resources that are shown, oldest first."""
        found = [one for one in self._held.values() if shows(one.resource)]
        return sorted(found, key=lambda one: (one.told_ms, one.key))

    def mark_done(
        self, ticket: str, shows: Callable[[str], bool] = lambda resource: True
    ) -> list[Correction]:
        """Note that this department has put its own record right; again changes nothing.

        Args:
            ticket: hexadecimal, 64 digits.
            shows: whether the caller may see what is about a resource.

        Raises:
            UnknownTicket: no correction of that dispute is here to be seen.
            StoreDamaged: it cannot be written down.
        """
        held = [one for one in self.listed(shows) if one.ticket == ticket[:_ID]]
        if not held:
            raise UnknownTicket(ticket[:16])
        for one in held:
            if not one.done_ms:
                self._keep(replace(one, done_ms=self._clock.now_ms()))
        return [self._held[one.key] for one in held]

    def _keep(self, one: Correction) -> None:
        self._region.keep(KIND, one.key, one.value())
        self._held[one.key] = one

    def _trim(self) -> None:
        while len(self._held) > MOST:
            oldest = min(self._held.values(), key=lambda one: (not one.done_ms, one.told_ms, one.key))
            self._region.forget(KIND, oldest.key)
            del self._held[oldest.key]
