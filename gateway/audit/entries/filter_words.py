"""A filter in words that may go into the log: who reads what is an entry, whom they look for is not.

Cases and operators are named by a short hash: it shows that two questions were the same, not about whom. So
is whatever else looks like a person's id, which somebody may have typed where it does not belong.
"""

import hashlib
from collections.abc import Iterable

from exchange.subject_tags import names_a_person
from exchange.v1 import audit_pb2, reason_pb2
from gateway.audit.entries.filters import DOMAIN, Filter

MAX_WORDS = 160


def words(wanted: Filter) -> str:
    """Return what is asked for, at most 160 characters; one too long to be told ends with its digest."""
    told = " ".join(f"{name}={value}" for name, value in _told(wanted.message))
    if len(told) <= MAX_WORDS:
        return told or "everything"
    mark = f" … filter {wanted.digest.hex()[:16]}"
    return told[: MAX_WORDS - len(mark)] + mark


def short_hash(kind: str, text: str) -> str:
    """Return the 8 hexadecimal digits by which the log names a case or operator that was asked for."""
    return hashlib.sha256(DOMAIN + f"{kind}\0{text}".encode()).hexdigest()[:8]


def _told(asked: audit_pb2.EntryFilter) -> Iterable[tuple[str, object]]:
    if asked.organisation:
        yield "organisation", asked.organisation
    if asked.decisions:
        yield (
            "decision",
            ",".join(_name(audit_pb2.Decision.Name(one), "DECISION_") for one in asked.decisions),
        )
    if asked.reasons:
        yield "reason", ",".join(_name(reason_pb2.Reason.Name(one), "REASON_") for one in asked.reasons)
    if asked.acts:
        yield "act", ",".join(_name(audit_pb2.Act.Name(one), "ACT_") for one in asked.acts)
    if asked.case_number:
        yield "case", "#" + short_hash("case", asked.case_number)
    if asked.operator:
        yield "operator", "#" + short_hash("operator", asked.operator)
    if asked.since_ms:
        yield "since", asked.since_ms
    if asked.until_ms:
        yield "until", asked.until_ms
    if asked.grant_id:
        yield "grant", asked.grant_id.hex()[:16]
    for name in ("resource", "purpose", "matter", "actor"):
        text = getattr(asked, name)
        if text:
            yield name, "#" + short_hash(name, text) if names_a_person(text) else text


def _name(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()
