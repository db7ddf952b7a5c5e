"""Judges a witnessed checkpoint as a reader of the log does: by the log's keys and a policy of its own."""

from pathlib import Path
from typing import Any

from exchange.checkpoint import open_checkpoint, part_note
from exchange.cosignature import cosignatures_of, parse_cosignature
from exchange.errors import LogForked, ReceiptBroken
from exchange.witness_policy import WitnessPolicy, read_policy
from shuqiao.trust_files import LogKeys
from shuqiao.views import unix_ms

MAX_CALENDAR_S = 253_402_300_799


def judged(newest: str, witnessed: str, *, log_keys: LogKeys, policy_file: Path | None) -> dict[str, Any]:
    """Return what a gateway's checkpoints say of its witnesses.

    Args:
        newest: the newest checkpoint, a signed note.
        witnessed: the newest one that witnesses cosigned, with their signatures; may be empty.
        log_keys: the logs' keys.
        policy_file: who counts; without it nothing of the witnesses is verified.

    Returns:
        With "quorum" true, false, or None where there is no policy; and each witness with its time.

    Raises:
        ReceiptBroken: a checkpoint is not the log's, or a witness's signature does not verify.
        LogForked: the two do not agree.
        BadConfiguration: the policy cannot be read, or has faults.
    """
    origin = newest.partition("\n")[0]
    head = open_checkpoint(newest, origin=origin, log_keys=log_keys.of(origin))
    size, policy = 0, read_policy(policy_file) if policy_file else None
    if witnessed:
        older = open_checkpoint(witnessed, origin=origin, log_keys=log_keys.of(origin))
        if older.size > head.size or (older.size == head.size and older.root != head.root):
            raise LogForked(f"sizes {older.size} and {head.size}")
        size = older.size
    return {
        "ok": True,
        "origin": origin,
        "size": head.size,
        "witnessed_size": size,
        "quorum": _reached(witnessed, policy) if policy else None,
        "witnesses": _by_policy(witnessed, policy) if policy else _as_stated(witnessed),
        "checkpoint": witnessed,
    }


def _reached(note: str, policy: WitnessPolicy) -> bool:
    return bool(note) and policy.reached([key for key, _ in cosignatures_of(note, policy.keys)])


def _by_policy(note: str, policy: WitnessPolicy) -> list[dict[str, Any]]:
    times = dict(cosignatures_of(note, policy.keys)) if note else {}
    return [
        {
            "name": one.name,
            "cosigned": one.key in times,
            "time": _moment(times[one.key]) if one.key in times else "",
        }
        for one in policy.witnesses
    ]


def _as_stated(note: str) -> list[dict[str, Any]]:
    """Return what the lines say; the log's own line and lines of other kinds are passed over."""
    found = []
    for line in part_note(note)[1] if note else ():
        try:
            stated = parse_cosignature(line)
        except ReceiptBroken:
            continue
        found.append({"name": stated.name, "cosigned": None, "time": _moment(stated.time_s)})
    return found


def _moment(time_s: int) -> str:
    """Return a time as RFC 3339; the bare number where no calendar reaches it."""
    return unix_ms(time_s * 1000) if time_s <= MAX_CALENDAR_S else str(time_s)
