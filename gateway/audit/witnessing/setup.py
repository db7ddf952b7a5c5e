"""Puts the witnesses of a log together, from a policy that the log can satisfy."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry

from exchange.clock import Clock, Random
from exchange.errors import BadConfiguration
from exchange.identity import Identity
from exchange.witness_policy import NONE, WitnessPolicy, read_policy
from gateway.audit.entries.alerts import Alerts
from gateway.audit.log.audit_log import AuditLog
from gateway.audit.witnessing.client import WitnessClient, new_http
from gateway.audit.witnessing.watched_witness import WatchedWitness
from gateway.audit.witnessing.witness_alerts import WitnessAlerts
from gateway.audit.witnessing.witnessed_file import WitnessedFile
from gateway.audit.witnessing.witnessing import Witnessing
from gateway.config import Witnesses
from gateway.metrics import WitnessMetrics

MAX_WITNESSES = 30
"""A note has room for 32 signatures; the log itself may need two while its key is changed."""


def policy_of_log(path: Path, *, origin: str) -> WitnessPolicy:
    """Read the policy by which a log asks for cosignatures.

    Args:
        path: the file.
        origin: the log's; under which key it is listed is for those who read the log by this file.

    Raises:
        BadConfiguration: as `read_policy`; or the policy names logs and not this one, needs no quorum, or the
            witnesses that have a URL cannot reach it.
    """
    policy = read_policy(path)
    asked = [witness.key for witness in policy.witnesses if witness.url]
    faults = []
    if policy.logs and origin not in {log.origin for log in policy.logs}:
        faults.append(f"{origin} is not among its logs")
    if policy.quorum == NONE:
        faults.append("quorum none: leave policy_file out instead")
    elif not policy.reached(asked):
        faults.append("the witnesses that have a URL are no quorum")
    if len(policy.witnesses) > MAX_WITNESSES:
        faults.append(f"more than {MAX_WITNESSES} witnesses")
    if faults:
        raise BadConfiguration(f"{path}: {'; '.join(faults)}")
    return policy


def witnessing_of(
    settings: Witnesses,
    *,
    folder: Path,
    log: AuditLog,
    log_keys: Callable[[], Sequence[bytes]],
    gateway: Identity,
    append: Callable[[bytes], Awaitable[object]],
    clock: Clock,
    random: Random,
    registry: CollectorRegistry,
) -> Witnessing:
    """Return what keeps a log witnessed; it does nothing where no policy is configured.

    Args:
        settings: the configuration's section.
        folder: the gateway's.
        log: not open yet.
        log_keys: returns its keys.
        gateway: enters the alerts.
        append: appends an administrative entry.
        clock, random: time, and salts of entries.
        registry: for the metrics.

    Raises:
        BadConfiguration: every fault of the policy; or exchanges would be refused for want of witnesses, and
            there is no policy.
    """
    if settings.refuse and settings.policy_file is None:
        raise BadConfiguration("witnesses.refuse: no policy_file")
    files = WitnessedFile(folder=folder)
    policy, witnesses, http = WitnessPolicy((), (), (), NONE), [], None
    if settings.policy_file is not None:
        policy = policy_of_log(settings.policy_file, origin=log.origin)
        http, sizes = new_http(), files.read_sizes()
        witnesses = [
            WatchedWitness(
                witness=witness,
                client=WitnessClient(witness=witness, http=http, timeout_s=settings.timeout_s),
                log=log,
                interval_s=settings.interval_s,
                size=sizes.get(witness.key.text, 0),
            )
            for witness in policy.witnesses
            if witness.url
        ]
    alerts = Alerts(append=append, gateway=gateway, origin=log.origin, clock=clock, random=random)
    return Witnessing(
        policy=policy,
        witnesses=witnesses,
        settings=settings,
        log=log,
        log_keys=log_keys,
        files=files,
        alerts=WitnessAlerts(alerts=alerts, clock=clock),
        metrics=WitnessMetrics(registry, [witness.name for witness in witnesses]),
        clock=clock,
        http=http,
    )
