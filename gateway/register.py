"""A part of the region's state that is folded from acts of its own: rules, cases, stops, tickets and so on.

What a register takes over it was asked about before (`check`); what is in the log it never refuses. It holds
its state in memory, and the fold keeps the leaves of its acts, so that a start folds them again.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from exchange.trust import TrustList, Verified
from exchange.v1 import audit_pb2, common_pb2
from gateway.audience import Audience


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A statement that is handed in, its signatures verified.

    Attributes:
        act: what it is to do.
        signer: who signed it; the caller.
        others: who signed the same body besides, each another person or agent.
        now_ms: Unix milliseconds.
        trust: the newest trust list.
    """

    act: "audit_pb2.Act.ValueType"
    statement: common_pb2.Statement
    signer: Verified
    others: Sequence[Verified]
    now_ms: int
    trust: TrustList


@dataclass(frozen=True, slots=True)
class Forgotten:
    """An entry that makes nothing of the state any more.

    Attributes:
        index: of the entry.
        organisations: who was told of it.
    """

    index: int
    organisations: frozenset[str]


class Register(Protocol):
    """Decides about some acts and holds what they make."""

    @property
    def acts(self) -> Collection["audit_pb2.Act.ValueType"]:
        """Its acts; no other register has one of them. Their domains stand in `gateway.state.DOMAINS`."""
        ...

    def check(self, submitted: Submitted) -> str:
        """Refuse a statement that breaks a rule; change nothing.

        Returns:
            What it is about, for the log entry: an id or name.

        Raises:
            ExchangeError: the rule that it breaks.
        """
        ...

    def apply(self, index: int, entry: audit_pb2.AuditEntry) -> None:
        """Take over an entry of the log; ExchangeError or KeyError where it does not fit what came before."""
        ...

    def audience(self, entry: audit_pb2.AuditEntry) -> Audience:
        """Return who is told of an entry that was applied."""
        ...


class Forgetting(Protocol):
    """A register whose entries count only for a time: no start need fold them again after that."""

    def forgotten(self) -> Sequence[Forgotten]:
        """Return the entries that count no more, each once; none until it is worth their removal."""
        ...
