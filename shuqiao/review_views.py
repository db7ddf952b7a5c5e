"""Reviews in words: what the entries of draws and steps say, and what was found."""

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from exchange.v1 import audit_pb2, common_pb2, review_pb2

View = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What two people found.

    Attributes:
        review_id: 32 bytes.
        item: index of the entry that was reviewed.
        text: what was found.
        confirmed_by: SPIFFE id of the second of the two.
        time_ms: when it was confirmed, Unix milliseconds.
    """

    review_id: bytes
    item: int
    text: str
    confirmed_by: str
    time_ms: int


def finding(entry: audit_pb2.AuditEntry) -> Finding | None:
    """Return what was found, where an entry closes an item of a review with a finding; None for all others.

    It is the confirming step: before it one person's word stands alone.
    """
    told = entry.administrative
    if told.act != audit_pb2.ACT_REVIEW_EVENT:
        return None
    try:
        body = review_pb2.ReviewEventBody.FromString(told.statement.body)
    except DecodeError:
        return None
    if body.action != review_pb2.REVIEW_ACTION_CONFIRM or body.verdict != review_pb2.REVIEW_VERDICT_FINDING:
        return None
    return Finding(
        review_id=body.review_id,
        item=body.item,
        text=body.text,
        confirmed_by=told.actor,
        time_ms=entry.time_ms,
    )


def act(told: audit_pb2.AdministrativeEntry) -> View:
    """Return what the entry of a draw or step says; nothing for other acts and for what cannot be read.

    The names begin with "review_", so that they stand beside those of every entry.
    """
    read = {audit_pb2.ACT_REVIEW_DRAW: draw, audit_pb2.ACT_REVIEW_EVENT: event}.get(told.act)
    if read is None:
        return {}
    try:
        said = read(told.statement)
    except DecodeError:
        return {}
    return {name if name == "review_id" else f"review_{name}": value for name, value in said.items()}


def draw(statement: common_pb2.Statement) -> View:
    """Return what was drawn from."""
    body = review_pb2.ReviewDrawBody.FromString(statement.body)
    return {
        "action": "draw",
        "strategy": strategy(body.strategy),
        "first": body.first,
        "end": body.end,
        "count": body.count,
        "organisation": body.organisation,
        "resource": body.resource,
        "note": body.note,
        "head_size": body.head.size,
    }


def event(statement: common_pb2.Statement) -> View:
    """Return one step."""
    body = review_pb2.ReviewEventBody.FromString(statement.body)
    view: View = {"action": action(body.action), "review_id": body.review_id.hex()}
    if body.action == review_pb2.REVIEW_ACTION_SELECT:
        items = [one.index for one in body.selected]
        return view | {"items": items, "population": body.population}
    return view | {
        "item": body.item,
        "revision": body.revision,
        "assignee": body.assignee,
        "verdict": verdict(body.verdict),
        "text": body.text,
    }


def summary(told: review_pb2.ReviewSummary) -> View:
    """Return a review in short."""
    view: View = {
        "review_id": told.review_id.hex(),
        "draw_index": told.draw_index,
        "selection_index": told.selection_index,
        "drawn_ms": told.drawn_ms,
        "items": told.items,
        "closed": told.closed,
        "findings": told.findings,
    }
    if told.HasField("draw"):
        view |= {"drawer": told.drawer, "population": told.population, "draw": draw(told.draw)}
    return view


def strategy(number: "review_pb2.ReviewStrategy.ValueType") -> str:
    """Return "random" or "risk"."""
    return _word(review_pb2.ReviewStrategy.Name(number), "REVIEW_STRATEGY_")


def action(number: "review_pb2.ReviewAction.ValueType") -> str:
    """Return for example "assign"."""
    return _word(review_pb2.ReviewAction.Name(number), "REVIEW_ACTION_")


def verdict(number: "review_pb2.ReviewVerdict.ValueType") -> str:
    """Return "in_order" or "finding", empty for none."""
    return _word(review_pb2.ReviewVerdict.Name(number), "REVIEW_VERDICT_") if number else ""


def state(number: "review_pb2.ReviewItemState.ValueType") -> str:
    """Return for example "justified"."""
    return _word(review_pb2.ReviewItemState.Name(number), "REVIEW_ITEM_STATE_")


def rule(number: "review_pb2.ReviewRule.ValueType") -> str:
    """Return for example "no_case"."""
    return _word(review_pb2.ReviewRule.Name(number), "REVIEW_RULE_")


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()
