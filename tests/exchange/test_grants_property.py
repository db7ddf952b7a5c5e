"""No sequence of operations lets a field through that no grant in force gives.

Grants are applied for, decided by whoever likes to, catalogue versions and rules come and go, time passes.
After each step somebody asks for something; whatever passes `exchange.grants.check` must be given by a plain
reading of what was done (`Story`), which shares no code with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from exchange import errors as e
from exchange.grant_events import apply_event, follow, supervisor_of
from exchange.grants import Grant, check, check_application, read_event, read_grant
from exchange.identity import Identity, Role
from exchange.region_rules import RegionRules, Supervisor
from exchange.resources import parse_resource
from exchange.trust import Verified
from exchange.v1 import common_pb2, directory_pb2, grant_pb2
from tests.support.granting import BUREAU
from tests.support.region import CIVIL, DOMAIN, HEALTH, POLICE, grant_body, item, moment, nonce, resource_body
from tests.support.sealing import NOW_MS

DAY_MS = 24 * 3600 * 1000
FIELDS = ("name", "address", "station")
UNCONDITIONAL, NOT_SHARED = directory_pb2.SHARE_TYPE_UNCONDITIONAL, directory_pb2.SHARE_TYPE_NOT_SHARED
ACTIONS = tuple(name for name in grant_pb2.GrantAction.keys() if not name.endswith("UNSPECIFIED"))  # noqa: SIM118
SIGNERS = tuple(
    Identity(DOMAIN, "970100", role, organisation, "one")
    for organisation in (POLICE, HEALTH, BUREAU, CIVIL)
    for role in (Role.STEWARD, Role.AGENT)
)
NO_CERTIFICATE: Any = None  # who signed is all that counts here


@dataclass
class Story:
    """What was done to one grant, read plainly."""

    fields: frozenset[str]
    matters: frozenset[str]
    steps: frozenset[str]
    consumer: str
    begin_ms: int
    end_ms: int
    accepted: bool = False
    waits: str = ""
    paused: bool = False
    over: bool = False
    extension_ms: int = 0

    def take(self, action: str, signer: Identity, supervised: bool, unconditional: bool, end_ms: int) -> None:
        """Note what somebody did, where it counts; never more than that person may."""
        provider = signer.organisation == POLICE and signer.role is Role.STEWARD
        consumer = signer.organisation == self.consumer and signer.role is Role.STEWARD
        agent = signer.organisation == POLICE and signer.role is Role.AGENT and unconditional
        bureau = signer.organisation == BUREAU and signer.role is Role.STEWARD
        if action == "ACCEPT" and (provider or agent) and not self.accepted:
            self.accepted, self.waits = True, "grant" if supervised else ""
        elif action == "SUPERVISE" and bureau and self.waits:
            if self.waits == "extension":
                self.end_ms = self.extension_ms
            self.waits = ""
        elif action == "OVERRULE" and bureau and self.waits:
            self.over |= self.waits == "grant"
            self.waits = ""
        elif action == "EXTEND" and provider and self.accepted and not self.waits:
            if supervised:
                self.extension_ms, self.waits = end_ms, "extension"
            else:
                self.end_ms = end_ms
        elif action == "PAUSE" and provider:
            self.paused = True
        elif action == "RESUME" and provider:
            self.paused = False
        elif (action in ("REVOKE", "REJECT") and provider) or (action in ("REVOKE", "EXIT") and consumer):
            self.over = True

    def gives(self, consumer: str, fields: Sequence[str], matter: str, step: str, now_ms: int) -> bool:
        """Whether the grant gives these fields to that consumer now."""
        in_force = self.accepted and self.waits != "grant" and not self.paused and not self.over
        return (
            in_force
            and consumer == self.consumer
            and self.begin_ms <= now_ms < self.end_ms
            and set(fields) <= self.fields
            and (not self.matters or matter in self.matters)
            and (not self.steps or f"{matter}/{step}" in self.steps)
        )


@dataclass
class World:
    """A catalogue entry, rules, grants and the time."""

    now_ms: int = NOW_MS
    rules: RegionRules = field(default_factory=RegionRules)
    shares: dict[str, int] = field(default_factory=lambda: {"name": 2, "address": 2, "station": 1})
    version: int = 1
    suspended: bool = False
    grants: list[Grant] = field(default_factory=list)
    followed: list[Grant] = field(default_factory=list)
    stories: list[Story] = field(default_factory=list)
    passed: int = 0

    def __post_init__(self) -> None:
        self.catalogue()

    def catalogue(self) -> None:
        """Publish the entry as it is now."""
        fields = [item(name, 2, share, legal_basis="Act 5") for name, share in self.shares.items()]
        body = resource_body(self.now_ms, version=self.version, fields=fields)
        self.resource = parse_resource(common_pb2.Statement(body=body), suspended=self.suspended)

    def apply(self, consumer: str, fields: frozenset[str], scope: int, days: int) -> None:
        shape: dict[str, Any] = (
            {"matters": []},
            {"matters": ["newborn"]},
            {"matters": ["newborn"], "steps": ["newborn/file"]},
        )[scope]
        body = grant_body(
            self.now_ms,
            consumer=consumer,
            fields=sorted(fields),
            not_after=moment(self.now_ms + days * DAY_MS),
            **shape,
        )
        grant = read_grant(common_pb2.Statement(body=body))
        try:
            check_application(
                grant, self.resource, rules=self.rules, government=lambda _: True, now_ms=self.now_ms
            )
        except e.ExchangeError:
            return
        self.grants.append(grant)
        self.followed.append(grant)
        begin_ms, end_ms = self.now_ms - 1000, self.now_ms + days * DAY_MS
        matters, steps = frozenset(shape["matters"]), frozenset(shape.get("steps", ()))
        self.stories.append(Story(fields, matters, steps, consumer, begin_ms, end_ms))

    def decide(self, which: int, action: str, signer: Identity, skew: int, days: int) -> None:
        if not self.grants:
            return
        at = which % len(self.grants)
        grant, resource = self.grants[at], self.resource
        end_ms = self.now_ms + days * DAY_MS
        moments: dict[str, Any] = {}
        if action == "EXTEND":
            moments["not_after"] = moment(end_ms)
        elif action == "ATTEST_DELETION":
            moments["deleted_before"] = moment(self.now_ms)
        statement = common_pb2.Statement(
            body=grant_pb2.GrantEventBody(
                nonce=nonce(),
                grant_id=grant.grant_id,
                revision=max(1, grant.revision + 1 + skew),
                action=grant_pb2.GrantAction.Value(f"GRANT_ACTION_{action}"),
                issued_at=moment(self.now_ms),
                **moments,
            ).SerializeToString()
        )
        verified = Verified(identity=signer, certificate=NO_CERTIFICATE, serial=1, not_after_ms=self.now_ms)
        unconditional = all(self.shares.get(name) == UNCONDITIONAL for name in self.stories[at].fields)
        supervised = bool(self.rules.supervisors) and not unconditional
        try:
            moved = apply_event(grant, statement, verified, resource, self.rules)
        except e.ExchangeError:
            return
        self.grants[at] = moved
        self.stories[at].take(action, signer, supervised, unconditional, end_ms)
        by = supervisor_of(self.followed[at], resource, self.rules)
        self.followed[at] = follow(self.followed[at], read_event(statement), statement, supervisor=by)

    def publish(self, name: str, share: int) -> None:
        self.version += 1
        self.shares[name] = share
        self.catalogue()

    def ask(self, which: int, consumer: str, fields: list[str], matter: str, step: str) -> None:
        """Ask both whoever decides and whoever follows; what passes must be given."""
        if not self.grants:
            return
        at = which % len(self.grants)
        resource = self.resource
        for grant in (self.grants[at], self.followed[at]):
            try:
                check(
                    grant,
                    resource,
                    consumer=consumer,
                    government=True,
                    kind=common_pb2.KIND_QUERY,
                    fields=fields,
                    purpose="birth",
                    matter=matter,
                    step=step,
                    case_number="1",
                    now_ms=self.now_ms,
                )
            except e.ExchangeError:
                continue
            assert self.stories[at].gives(consumer, fields, matter, step, self.now_ms)
            assert all(self.shares.get(name, NOT_SHARED) != NOT_SHARED for name in fields)
            assert not self.suspended
            self.passed += 1

    def ask_for_what_was_applied_for(self) -> None:
        """Ask of each grant for all that its application names: what comes nearest to passing."""
        for at, story in enumerate(self.stories):
            self.ask(at, story.consumer, sorted(story.fields), "newborn", "file")


SUPERVISED = RegionRules(supervisors={POLICE: Supervisor(organisation=BUREAU, grants=True, catalogue=False)})
WHICH = st.integers(0, 3)
NAMES = st.sampled_from(FIELDS)
TELLING = st.sampled_from([name.removeprefix("GRANT_ACTION_") for name in ACTIONS])
FITTING = st.sampled_from(
    [("ACCEPT", 0), ("SUPERVISE", 4), ("EXTEND", 0), ("PAUSE", 0), ("RESUME", 0), ("ACCEPT", 1)]
)
APPLY = st.tuples(
    st.just("apply"),
    st.sampled_from([HEALTH, HEALTH, CIVIL]),
    st.frozensets(NAMES, min_size=1),
    st.integers(0, 2),
    st.sampled_from([30, 400]),
)
OPERATIONS = st.one_of(
    APPLY,
    # Mostly the right person at the right revision, so that much comes into force; otherwise anybody.
    *[st.tuples(st.just("fitting"), st.integers(0, 1), FITTING, st.sampled_from([200, 500]))] * 4,
    st.tuples(st.just("fitting"), WHICH, FITTING, st.sampled_from([200, 500])),
    st.tuples(
        st.just("decide"),
        WHICH,
        TELLING,
        st.sampled_from(SIGNERS),
        st.sampled_from([0, 0, 0, -1, 1]),
        st.sampled_from([20, 500]),
    ),
    st.tuples(st.just("publish"), NAMES, st.sampled_from([1, 2, 2, 3])),
    st.tuples(st.just("suspend"), st.booleans()),
    st.tuples(st.just("rules"), st.booleans()),
    st.tuples(st.just("wait"), st.sampled_from([1, 40, 300])),
)
ASKED = st.tuples(
    WHICH,
    st.sampled_from([HEALTH, HEALTH, HEALTH, CIVIL]),
    st.lists(NAMES, min_size=1, max_size=3),
    st.sampled_from(["newborn", "newborn", "marriage"]),
    st.sampled_from(["file", "file", ""]),
)


def run(world: World, operation: tuple[Any, ...]) -> None:
    kind, *rest = operation
    if kind == "apply":
        world.apply(*rest)
    elif kind == "decide":
        world.decide(*rest)
    elif kind == "fitting":
        which, (action, signer), days = rest
        world.decide(which, action, SIGNERS[signer], 0, days)
    elif kind == "publish":
        world.publish(*rest)
    elif kind == "suspend":
        (world.suspended,) = rest
        world.catalogue()
    elif kind == "rules":
        world.rules = SUPERVISED if rest[0] else RegionRules()
    else:
        world.now_ms += rest[0] * DAY_MS


def test_no_sequence_of_operations_lets_an_ungranted_field_through() -> None:
    passed = 0

    @settings(max_examples=60, deadline=None, database=None)
    @given(
        st.booleans(),
        st.lists(st.tuples(APPLY, st.booleans()), min_size=1, max_size=2),
        st.lists(st.tuples(OPERATIONS, ASKED), min_size=10, max_size=30),
    )
    def holds(supervised: bool, applications: list[Any], steps: list[Any]) -> None:
        nonlocal passed
        world = World(rules=SUPERVISED if supervised else RegionRules())
        for at, (application, accepted) in enumerate(applications):
            run(world, application)
            if accepted:
                world.decide(at, "ACCEPT", SIGNERS[0], 0, 0)
                world.ask_for_what_was_applied_for()
        for operation, asked in steps:
            run(world, operation)
            world.ask(*asked)
            world.ask_for_what_was_applied_for()
        passed += world.passed

    holds()
    # A property of refusals alone would hold of a check that refuses everything.
    assert passed > 20
