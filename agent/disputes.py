"""Disputes about what this department provides, and what is wrong with the values: opened here alone.

1. A dispute is taken over signed by a steward of who raised it; a step by whoever may take it.
2. What is sealed to this agent is opened when it arrives, for its sealing keys live a day, and kept encrypted
   in the key store; it is shown on this machine only (`shuqiao agent disputes`) and erased with the dispute's
   end. An agent that was away longer than its key lived cannot open it: the dispute says so.
3. Kept are at most 2,000 disputes; of more, those that ended go first, then the oldest.
"""

import json
import sqlite3
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import structlog

from agent.region import RegionView
from exchange import canonical
from exchange.errors import ExchangeError, StoreDamaged
from exchange.keystore import KeyStore
from exchange.sealed_text import open_text
from exchange.tickets import (
    ACKNOWLEDGE,
    ASSIGNED,
    Dispute,
    Standing,
    Ticket,
    check_raiser,
    raised,
    read_event,
    read_ticket,
    step,
)
from exchange.v1 import audit_pb2, common_pb2, ticket_pb2

KIND = "dispute"
MOST = 2000
TEXT = "dispute-"
"""What the name of a kept text begins with, in the key store."""
OPENED, UNOPENED, FOR_ANOTHER, NONE = "opened", "unopened", "for-another-agent", "none"

_log = structlog.get_logger("agent.disputes")

Private = Callable[[bytes], bytes | None]
"""Returns the private sealing key of an id, 16 bytes; None where its time is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disputed:
    """A dispute as it is kept.

    Attributes:
        ticket: id, hexadecimal, 64 digits.
        state: number of a TicketState.
        exchange: the exchange that brought the value, a UUID.
        detail: what became of the sealed text: "opened", "unopened", "for-another-agent" or "none".
        agent: whom it was sealed to.
    """

    ticket: str
    raised_by: str
    resource: str
    exchange: str
    fields: Sequence[str]
    text: str
    raised_ms: int
    state: int
    revision: int
    detail: str
    agent: str

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do."""
        return self.state != ASSIGNED


class AgentDisputes:
    """Takes disputes over and keeps them.

    Args:
        region: tells of events and keeps what was taken.
        keystore: keeps the texts, encrypted.
        organisation, agent: this department's credit code, and this agent's name.
        private: the agent's sealing keys.
    """

    acts: Collection[int] = frozenset({audit_pb2.ACT_TICKET, audit_pb2.ACT_TICKET_EVENT})

    def __init__(
        self, *, region: RegionView, keystore: KeyStore, organisation: str, agent: str, private: Private
    ) -> None:
        self._region = region
        self._keystore = keystore
        self._organisation = organisation
        self._agent = agent
        self._private = private
        self._held = _read(region.kept(KIND))
        region.add(self)

    def take(self, act: audit_pb2.AdministrativeEntry, index: int, at_ms: int) -> None:
        """Take a dispute or a step over; see `agent.region.EventRegister`."""
        if act.act == audit_pb2.ACT_TICKET:
            self._raise(act.statement, at_ms)
        else:
            self._step(act.statement, at_ms)

    def _raise(self, statement: common_pb2.Statement, at_ms: int) -> None:
        ticket = read_ticket(statement)
        dispute, name = ticket.dispute, ticket.ticket_id.hex()
        if dispute is None or dispute.provider != self._organisation or name in self._held:
            return
        (signer,) = self._region.signers([statement], canonical.TICKET, at_ms=at_ms)
        check_raiser(ticket, signer)
        # The text is durable before the dispute is: a crash in between opens it again.
        detail = self._open(ticket)
        self._keep(
            Disputed(
                ticket=name,
                raised_by=ticket.raised_by,
                resource=dispute.resource,
                exchange=str(uuid.UUID(bytes=dispute.exchange_id)),
                fields=sorted(dispute.fields),
                text=ticket.text,
                raised_ms=at_ms,
                state=ASSIGNED,
                revision=0,
                detail=detail,
                agent=dispute.sealed.agent if dispute.sealed else "",
            )
        )
        self._trim()

    def _open(self, ticket: Ticket) -> str:
        assert ticket.dispute is not None
        sealed = ticket.dispute.sealed
        if sealed is None:
            return NONE
        if sealed.agent != self._agent:
            return FOR_ANOTHER
        private = self._private(sealed.kid)
        if private is None:
            return UNOPENED
        try:
            text = open_text(
                sealed,
                private,
                raised_by=ticket.raised_by,
                provider=ticket.dispute.provider,
                nonce=ticket.nonce,
                exchange_id=ticket.dispute.exchange_id,
            )
        except ExchangeError as error:
            _log.warning("text of a dispute not opened", name=ticket.name, reason=error.name)
            return UNOPENED
        self._keystore.put(f"{TEXT}{ticket.ticket_id.hex()}", text)
        return OPENED

    def _step(self, statement: common_pb2.Statement, at_ms: int) -> None:
        event = read_event(statement)
        held = self._held.get(event.ticket_id.hex())
        if held is None or event.action == ACKNOWLEDGE or event.revision <= held.revision:
            return
        (signer,) = self._region.signers([statement], canonical.TICKET_EVENT, at_ms=at_ms)
        after = step(self._standing(held), event, signer)
        held = replace(held, state=after.state, revision=after.revision)
        self._keep(held)
        if held.ended:
            # A crash before this line leaves the text until the next start looks for what has ended.
            self._keystore.delete(f"{TEXT}{held.ticket}")

    def erase_ended(self) -> None:
        """Erase the texts of disputes that have ended or are kept no longer; once, at the start."""
        open_ = {f"{TEXT}{one.ticket}" for one in self._held.values() if not one.ended}
        for name in self._keystore.names():
            if name.startswith(TEXT) and name not in open_:
                self._keystore.delete(name)

    def _standing(self, held: Disputed) -> Standing:
        """Return where a dispute stands, as far as the next step needs it."""
        dispute = Dispute(
            resource=held.resource,
            provider=self._organisation,
            exchange_id=uuid.UUID(held.exchange).bytes,
            fields=frozenset(held.fields),
        )
        ticket = Ticket(
            ticket_id=bytes.fromhex(held.ticket),
            nonce=b"",
            raised_by=held.raised_by,
            text=held.text,
            issued_at_ms=held.raised_ms,
            dispute=dispute,
            demand=None,
        )
        state = ticket_pb2.TicketState.ValueType(held.state)
        return replace(raised(ticket), state=state, revision=held.revision)

    def _keep(self, one: Disputed) -> None:
        self._region.keep(KIND, one.ticket, json.dumps(asdict(one), ensure_ascii=False).encode())
        self._held[one.ticket] = one

    def _trim(self) -> None:
        while len(self._held) > MOST:
            oldest = min(self._held.values(), key=lambda one: (not one.ended, one.raised_ms, one.ticket))
            self._region.forget(KIND, oldest.ticket)
            self._keystore.delete(f"{TEXT}{oldest.ticket}")
            del self._held[oldest.ticket]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A dispute with what is wrong, for the people of this department; None where that is not here."""

    dispute: Disputed
    detail: str | None


def show_disputes(folder: Path, keystore: KeyStore) -> list[Shown]:
    """Return the disputes that an agent keeps, oldest first; the agent may be running.

    Args:
        folder: the agent's.
        keystore: the agent's.

    Raises:
        StoreDamaged: they cannot be read.
    """
    held = sorted(_read(read_kept(folder, KIND)).values(), key=lambda one: (one.raised_ms, one.ticket))
    return [Shown(dispute=one, detail=_text(keystore, one)) for one in held]


def read_kept(folder: Path, kind: str) -> Mapping[str, bytes]:
    """Return what an agent keeps of a kind, read beside it.

    Raises:
        StoreDamaged: it cannot be read.
    """
    path = folder / "region.db"
    try:
        db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            return dict(db.execute("SELECT key, value FROM kept WHERE kind = ?", (kind,)))
        finally:
            db.close()
    except sqlite3.Error as error:
        raise StoreDamaged(f"{path.name}: {error.sqlite_errorname}") from error


def _text(keystore: KeyStore, one: Disputed) -> str | None:
    held = keystore.get(f"{TEXT}{one.ticket}")
    return None if held is None else held.decode("utf-8", "replace")


def _read(kept: Mapping[str, bytes]) -> dict[str, Disputed]:
    return {key: Disputed(**json.loads(value)) for key, value in kept.items()}
