"""Every metric of the gateway, in one place: names constant, labels bounded, children resolved once."""

from collections import Counter as Tally
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from exchange.v1 import audit_pb2, reason_pb2
from gateway.record import Exchange

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class PathMetrics:
    """What the path counts.

    Args:
        registry: where the metrics are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        exchanges = Counter(
            "shuqiao_exchanges", "Concluded exchanges by decision", ["decision"], registry=registry
        )
        self._decisions = {
            value: exchanges.labels(name.removeprefix("DECISION_").lower())
            for name, value in audit_pb2.Decision.items()
            if value
        }
        reasons = Counter(
            "shuqiao_refusals", "Refused or failed exchanges by reason", ["reason"], registry=registry
        )
        self._reasons = {
            value: reasons.labels(name.removeprefix("REASON_")) for name, value in reason_pb2.Reason.items()
        }
        self.unmatched = Counter("shuqiao_unmatched_answers", "Answers to nothing pending", registry=registry)
        self.withheld = Counter(
            "shuqiao_withheld", "Exchanges whose entry could not be made durable", registry=registry
        )
        self.unforeseen = Counter(
            "shuqiao_unforeseen", "Exceptions that nobody foresaw, in single exchanges", registry=registry
        )
        self._latency = Histogram(
            "shuqiao_exchange_seconds",
            "From admission to release, the slowest of each batch",
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )

    def concluded(self, exchanges: list[Exchange]) -> None:
        """Count a batch of concluded exchanges, once per batch and label; what is owed was counted before."""
        exchanges = [exchange for exchange in exchanges if not exchange.owed]
        if not exchanges:
            return
        for decision, count in Tally(exchange.decision for exchange in exchanges).items():
            self._decisions[decision].inc(count)
        failed = Tally(exchange.error.reason for exchange in exchanges if exchange.error is not None)
        for reason, count in failed.items():
            self._reasons[reason].inc(count)
        self._latency.observe(max(exchange.elapsed_us() for exchange in exchanges) / 1e6)


class GatewayMetrics:
    """What is read off the gateway when it is scraped.

    Args:
        registry: where the metrics are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.ready = Gauge("shuqiao_ready", "1 while exchanges can succeed", registry=registry)
        self.links = Gauge("shuqiao_links", "Linked agents", registry=registry)
        self.pending = Gauge("shuqiao_pending", "Exchanges that wait for a provider", registry=registry)
        self.log_size = Gauge("shuqiao_log_entries", "Entries of the audit log", registry=registry)
        self.scrub_position = Gauge(
            "shuqiao_scrub_position", "Index that the scrub of the audit log has reached", registry=registry
        )
        self.scrub_passes = Gauge(
            "shuqiao_scrub_passes",
            "How often the scrub has found the whole audit log whole",
            registry=registry,
        )
        self.trust_age = Gauge(
            "shuqiao_trust_list_age_seconds", "Age of the trust list held", registry=registry
        )


class RiskMetrics:
    """What the risk rules did; read off when it is scraped.

    Args:
        registry: where the metrics are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.findings = Gauge(
            "shuqiao_risk_findings", "Findings entered in the log since the start", registry=registry
        )
        self.holds = Gauge("shuqiao_risk_holds", "Consumers' exchanges held back: holds", registry=registry)
        self.cells = Gauge("shuqiao_risk_cells", "Cells of the risk rules' windows", registry=registry)
        self.lost = Gauge(
            "shuqiao_risk_lost",
            "Cells, holds, findings and exchanges that the risk rules dropped for want of room",
            registry=registry,
        )
        self.rebuilt = Gauge(
            "shuqiao_risk_rebuilt", "1 while the risk rules' windows are whole", registry=registry
        )
        self.readable = Gauge(
            "shuqiao_risk_rules_readable", "1 while the risk rules in force can be read", registry=registry
        )


class WitnessMetrics:
    """What is known of the witnesses.

    Args:
        registry: where the metrics are registered.
        names: of the witnesses, as the policy has them; at most 30.
    """

    def __init__(self, registry: CollectorRegistry, names: Sequence[str]) -> None:
        self.entries = Gauge(
            "shuqiao_witnessed_entries", "Entries below the newest head with a quorum", registry=registry
        )
        self.age = Gauge(
            "shuqiao_unwitnessed_age_seconds", "Age of the oldest entry without a quorum", registry=registry
        )
        well = Gauge(
            "shuqiao_witness_well",
            "1 while a witness cosigns what it is asked",
            ["witness"],
            registry=registry,
        )
        cosigned = Gauge(
            "shuqiao_witness_entries", "Entries below a witness's newest head", ["witness"], registry=registry
        )
        shown = [name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for name in names]
        self.well = [well.labels(name) for name in shown]
        self.cosigned = [cosigned.labels(name) for name in shown]
