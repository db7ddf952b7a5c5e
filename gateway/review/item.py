"""One item of a review and what may be done to it. Pure.

1. A step has the next revision and fits the item's state; of two that race one is refused.
2. Officers and auditors assign, close, confirm, contest and reopen. Whoever the entry is about, and whoever
   has ever justified the item, does none of it.
3. An item is justified by a steward of the organisation that answers for the entry. Where none does, by the
   person whose act it records, or by an administrator.
4. The assignee states the outcome. "In order" needs a justification; a finding needs a text only, so that
   silence keeps no item open.
5. A second officer or auditor confirms the same outcome, or contests it. Only then is the item closed.
6. A reopened item is justified and closed anew, again by two.
"""

from dataclasses import dataclass, replace

from exchange.errors import NoIdentity, RoleNotAllowed, SecondPersonRequired, WrongState
from exchange.identity import Identity, Role, parse_uri
from exchange.review import (
    ASSIGN,
    CLOSE,
    CONFIRM,
    CONTEST,
    FINDING,
    IN_ORDER,
    JUSTIFY,
    REOPEN,
    Event,
    Selected,
)
from exchange.v1 import review_pb2

REVIEWERS = frozenset({Role.OFFICER, Role.AUDITOR})
MAX_REVISIONS = 100
"""After so many steps an item can only be closed and confirmed, so that its history stays small."""

DRAWN = review_pb2.REVIEW_ITEM_STATE_DRAWN
ASSIGNED = review_pb2.REVIEW_ITEM_STATE_ASSIGNED
JUSTIFIED = review_pb2.REVIEW_ITEM_STATE_JUSTIFIED
CLOSING = review_pb2.REVIEW_ITEM_STATE_CLOSING
CLOSED = review_pb2.REVIEW_ITEM_STATE_CLOSED
NO_VERDICT = review_pb2.REVIEW_VERDICT_UNSPECIFIED

_FROM: dict[int, frozenset[int]] = {
    ASSIGN: frozenset({DRAWN, ASSIGNED, JUSTIFIED}),
    JUSTIFY: frozenset({ASSIGNED, JUSTIFIED}),
    CLOSE: frozenset({ASSIGNED, JUSTIFIED}),
    CONFIRM: frozenset({CLOSING}),
    CONTEST: frozenset({CLOSING}),
    REOPEN: frozenset({CLOSED}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An item as it stands.

    Attributes:
        state: a ReviewItemState.
        revision: of the last step, 0 before the first.
        assignee: SPIFFE id of who looks at it; empty before the first assignment.
        justified: whether it was explained since it was drawn or reopened.
        justifiers: SPIFFE ids of everybody who has ever explained it.
        closer: SPIFFE id of who stated the outcome; empty before.
        verdict: the outcome; NO_VERDICT before.
        history: indexes of the log entries of its steps.
    """

    selected: Selected
    state: "review_pb2.ReviewItemState.ValueType" = DRAWN
    revision: int = 0
    assignee: str = ""
    justified: bool = False
    justifiers: frozenset[str] = frozenset()
    closer: str = ""
    verdict: "review_pb2.ReviewVerdict.ValueType" = NO_VERDICT
    history: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """What errors call it."""
        return f"item {self.selected.index}"


def sees(who: Identity, selected: Selected) -> bool:
    """Return whether somebody may see an item: overseers all, others what they answer for."""
    if who.role in REVIEWERS:
        return True
    if who.role is Role.STEWARD:
        return selected.organisation == who.organisation
    return who.role is Role.ADMIN and not selected.organisation


def step(item: Item, event: Event, who: Identity, index: int) -> Item:
    """Return the item after a step.

    Args:
        item: as it stands.
        event: not SELECT.
        who: signed it.
        index: of the step's log entry.

    Raises:
        WrongState: not the next revision, not possible now, or another verdict than the one to be confirmed.
        RoleNotAllowed: it is not this person's to do.
        SecondPersonRequired: it must be somebody else.
    """
    states = _FROM.get(event.action, frozenset())
    if event.revision != item.revision + 1 or item.state not in states:
        raise WrongState(item.name)
    if event.revision > MAX_REVISIONS and event.action not in (CLOSE, CONFIRM):
        raise WrongState(f"{item.name} revision {event.revision}")
    if event.action == JUSTIFY:
        _check_answers(item, who)
    else:
        _check_reviewer(item, who)
    return replace(_moved(item, event, who), revision=event.revision, history=(*item.history, index))


def _check_answers(item: Item, who: Identity) -> None:
    selected = item.selected
    if selected.organisation:
        allowed = who.role is Role.STEWARD and who.organisation == selected.organisation
    else:
        allowed = who.role is Role.ADMIN or who.uri == selected.person
    if not allowed:
        raise RoleNotAllowed(item.name)


def _check_reviewer(item: Item, who: Identity) -> None:
    if who.role not in REVIEWERS:
        raise RoleNotAllowed(item.name)
    _check_apart(item, who.uri)


def _check_apart(item: Item, uri: str) -> None:
    if uri == item.selected.person or uri in item.justifiers:
        raise SecondPersonRequired(f"{item.name} concerns {uri}")


def _moved(item: Item, event: Event, who: Identity) -> Item:
    action = event.action
    if action == ASSIGN:
        _check_assignee(item, event.assignee, who)
        return replace(item, state=_waiting(item.justified), assignee=event.assignee)
    if action == JUSTIFY:
        return replace(item, state=JUSTIFIED, justified=True, justifiers=item.justifiers | {who.uri})
    if action == CLOSE:
        return _closing(item, event.verdict, who)
    if action == REOPEN:
        return replace(item, state=ASSIGNED, justified=False, closer="", verdict=NO_VERDICT)
    if who.uri == item.closer:
        raise SecondPersonRequired(item.name)
    if action == CONTEST:
        return replace(item, state=_waiting(item.justified), closer="", verdict=NO_VERDICT)
    if event.verdict != item.verdict:
        raise WrongState(f"{item.name} verdict")
    return replace(item, state=CLOSED)


def _closing(item: Item, verdict: int, who: Identity) -> Item:
    if who.uri != item.assignee:
        raise RoleNotAllowed(f"{item.name} is assigned to another")
    if verdict != FINDING and not item.justified:
        raise WrongState(f"{item.name} is not justified")
    stated = FINDING if verdict == FINDING else IN_ORDER
    return replace(item, state=CLOSING, closer=who.uri, verdict=stated)


def _check_assignee(item: Item, uri: str, who: Identity) -> None:
    try:
        assignee = parse_uri(uri)
    except NoIdentity as error:
        raise RoleNotAllowed("assignee") from error
    if assignee.role not in REVIEWERS or assignee.trust_domain != who.trust_domain:
        raise RoleNotAllowed("assignee")
    _check_apart(item, uri)


def _waiting(justified: bool) -> "review_pb2.ReviewItemState.ValueType":
    return JUSTIFIED if justified else ASSIGNED
