"""Who reviews a version of a catalogue entry, and what is done to an entry after it was handed in (ADR 0024).

Gateway and agents decide alike: what a gateway put in force that nobody reviewed, no agent does.

1. A supervisor named by the region's rules reviews; otherwise, where the rules ask for review, another
   steward of the provider than the one who handed the version in. What held when it was handed in counts.
2. The provider's stewards suspend, resume and withdraw, and may take back what waits for review.
"""

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from exchange.canonical import NONCE_BYTES
from exchange.errors import Malformed, RoleNotAllowed, SecondPersonRequired, WrongState
from exchange.identity import Identity, Role
from exchange.region_rules import RegionRules
from exchange.resources import check_text, split_id
from exchange.timestamps import milliseconds
from exchange.v1 import common_pb2, directory_pb2

SUSPENSION = directory_pb2.RESOURCE_ACTION_UNSPECIFIED
APPROVE = directory_pb2.RESOURCE_ACTION_APPROVE
REJECT = directory_pb2.RESOURCE_ACTION_REJECT
WITHDRAW = directory_pb2.RESOURCE_ACTION_WITHDRAW

_ACTIONS = frozenset(directory_pb2.ResourceAction.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceState:
    """What is done to a catalogue entry: a ResourceStateBody, well formed.

    Attributes:
        action: a ResourceAction; unspecified for a suspension or its end.
    """

    id: str
    version: int
    suspended: bool
    revision: int
    issued_at_ms: int
    action: int

    @property
    def reviews(self) -> bool:
        """Whether it is about a version that waits for review."""
        return self.action in (APPROVE, REJECT)


def read_state(statement: common_pb2.Statement) -> ResourceState:
    """Return the change of state that a statement holds. Signature and signer are not looked at.

    Raises:
        Malformed, Oversized, BadIdentifier: the body breaks a rule.
    """
    try:
        body = directory_pb2.ResourceStateBody.FromString(statement.body)
    except DecodeError as error:
        raise Malformed("resource state") from error
    split_id(body.id)
    if len(body.nonce) != NONCE_BYTES or not body.HasField("issued_at"):
        raise Malformed("nonce or issued_at")
    if body.action not in _ACTIONS or (body.suspended and body.action != SUSPENSION):
        raise Malformed("action")
    check_text(body.note, "note")
    return ResourceState(
        id=body.id,
        version=body.version,
        suspended=body.suspended,
        revision=body.revision,
        issued_at_ms=milliseconds(body.issued_at, "issued_at"),
        action=body.action,
    )


def reviewer_of(rules: RegionRules, provider: str) -> str:
    """Return the credit code of whose stewards review a provider's new versions; empty for nobody's.

    Args:
        rules: as they stand when the version is handed in.
        provider: credit code.
    """
    return rules.supervisor_of_catalogue(provider) or (provider if rules.catalogue_review else "")


def check_state_signer(
    change: ResourceState, signer: Identity, *, provider: str, reviewer: str = "", handed_in_by: str = ""
) -> None:
    """Refuse a change of state that its signer may not make.

    Args:
        change: what is done.
        signer: who signed it.
        provider: credit code of the entry's provider.
        reviewer: of a version in review: credit code of whose stewards review it.
        handed_in_by: of a version in review: the SPIFFE id of who handed it in.

    Raises:
        RoleNotAllowed: no steward of the provider or, of a review, of the reviewer.
        WrongState: a review, and nothing waits for one.
        SecondPersonRequired: who handed the version in would approve it.
    """
    if signer.role is not Role.STEWARD:
        raise RoleNotAllowed(change.id)
    if change.reviews and not reviewer:
        raise WrongState(change.id)
    if change.action == APPROVE:
        if signer.organisation != reviewer:
            raise RoleNotAllowed(change.id)
        if signer.uri == handed_in_by:
            raise SecondPersonRequired(change.id)
        return
    allowed = {provider, reviewer} if change.action == REJECT else {provider}
    if signer.organisation not in allowed:
        raise RoleNotAllowed(change.id)
