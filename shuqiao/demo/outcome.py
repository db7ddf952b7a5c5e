"""What a demonstration came to: the document that programs get, and what people are shown of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from exchange.errors import ExchangeError
from shuqiao.output import error_document
from shuqiao.words import Text

RELEASED, REFUSED, FAILED = "released", "refused", "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchanged:
    """One exchange, as the department that asked saw it end.

    Args:
        consumer: the agent that asked.
        resource: what was asked for.
        kind: "query" or "verify".
        status: "released", "refused" or "failed".
        fields: what was asked for of it.
        latency_ms: from the question to its outcome, in the department's own system.
        receipt_verified: whether the log entry that came with the outcome was proven here to be in the log.
        reason: why there is no answer; empty where there is one.
    """

    consumer: str
    resource: str
    kind: str
    status: str
    fields: Sequence[str]
    latency_ms: float
    receipt_verified: bool
    reason: str = ""

    def document(self) -> dict[str, object]:
        """Return it as programs get it."""
        told: dict[str, object] = {
            "consumer": self.consumer,
            "resource": self.resource,
            "kind": self.kind,
            "status": self.status,
            "fields": list(self.fields),
            "latency_ms": round(self.latency_ms, 3),
            "receipt_verified": self.receipt_verified,
        }
        return told | ({"reason": self.reason} if self.reason else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """What the offline verification of the log found; the root as hexadecimal."""

    entries: int
    root: str
    verified: bool


@dataclass(slots=True, kw_only=True)
class Outcome:
    """A demonstration's outcome, filled while it goes on.

    Attributes:
        refusals: why each was to be refused, and the reason it was refused for.
        faults: what was not as it must be; empty where all is well.
        error: what ended it before its end.
    """

    scenario: str
    elapsed_s: float = 0.0
    exchanges: list[Exchanged] = field(default_factory=list)
    refusals: list[tuple[Text, str]] = field(default_factory=list)
    audit: Audited = field(default_factory=lambda: Audited(entries=0, root="", verified=False))
    faults: list[str] = field(default_factory=list)
    error: ExchangeError | None = None
    folder: str = ""

    @property
    def ok(self) -> bool:
        """Whether everything was as it must be."""
        return not self.faults and self.error is None and self.audit.verified

    def expect(self, holds: bool, what: str) -> None:
        """Note a fault where something is not as it must be.

        Args:
            holds: whether it is.
            what: the fault, in words without personal values.
        """
        if not holds:
            self.faults.append(what)

    def document(self) -> dict[str, object]:
        """Return the one document that programs get."""
        told: dict[str, object] = {
            "ok": self.ok,
            "scenario": self.scenario,
            "elapsed_s": round(self.elapsed_s, 3),
            "exchanges": [one.document() for one in self.exchanges],
            "refusals": [{"why": f"{why.zh} · {why.en}", "reason": reason} for why, reason in self.refusals],
            "audit": {
                "entries": self.audit.entries,
                "root": self.audit.root,
                "verified": self.audit.verified,
            },
        }
        if self.faults:
            told["faults"] = list(self.faults)
        if self.error is not None:
            told["error"] = error_document(self.error)["error"]
        if self.folder:
            told["folder"] = self.folder
        return told
