"""Whatever is done to the catalogue: nothing is in force that its reviewer did not approve."""

import random
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.catalogue_review import APPROVE, REJECT, SUSPENSION, WITHDRAW, ResourceState
from exchange.errors import ExchangeError
from exchange.resources import Resource, parse_resource
from exchange.v1 import common_pb2
from gateway.directory.catalogue_entry import source_of
from gateway.directory.organisations import Organisation
from gateway.directory.resources import Catalogue
from tests.support.region import CIVIL, DIVISION, HEALTH, POLICE, resource_body
from tests.support.sealing import NOW_MS

PROVIDERS = {"police": POLICE, "civil": CIVIL, "health": HEALTH}
NAMES = ("a", "b")
ITEMS = ("I-1", "I-2")


def organisation(alias: str) -> Organisation:
    return Organisation(
        credit_code=PROVIDERS[alias],
        alias=alias,
        name_zh="单位",
        name_en="Body",
        division=DIVISION,
        issued_at_ms=NOW_MS,
        statement=common_pb2.Statement(),
    )


def version(alias: str, name: str, number: int, item: str) -> Resource:
    body = resource_body(
        NOW_MS, id=f"970100/{alias}/{name}", provider=PROVIDERS[alias], version=number, item=item
    )
    return parse_resource(common_pb2.Statement(body=body))


@dataclass
class Walk:
    """Random steps over a catalogue, those that it refuses left out, and what they should have led to."""

    choose: random.Random
    catalogue: Catalogue = field(default_factory=Catalogue)
    steps: list[tuple[object, ...]] = field(default_factory=list)
    approved: set[tuple[str, int]] = field(default_factory=set)

    def step(self) -> None:
        alias, name = self.choose.choice(tuple(PROVIDERS)), self.choose.choice(NAMES)
        try:
            if self.choose.random() < 0.4:
                self._publish(alias, name)
            else:
                self._change(alias, name)
        except ExchangeError:
            return

    def _publish(self, alias: str, name: str) -> None:
        number, item = self.choose.randint(1, 5), self.choose.choice(ITEMS)
        new, reviewer = version(alias, name, number, item), self.choose.choice(("", PROVIDERS[alias], CIVIL))
        self.catalogue.check(new, organisation(alias))
        self.catalogue.apply(len(self.steps), new, reviewer=reviewer, handed_in_by="li")
        self.steps.append((new, reviewer))
        if not reviewer:
            self.approved.add((new.id, number))

    def _change(self, alias: str, name: str) -> None:
        change = ResourceState(
            id=f"970100/{alias}/{name}",
            version=self.choose.randint(1, 5),
            suspended=False,
            revision=self.catalogue.revision(f"970100/{alias}/{name}") + self.choose.choice((1, 1, 1, 2)),
            issued_at_ms=NOW_MS,
            action=self.choose.choice((SUSPENSION, APPROVE, APPROVE, REJECT, WITHDRAW)),
        )
        self.catalogue.check_state(change)
        self.catalogue.apply_state(change)
        self.steps.append((change,))
        if change.action == APPROVE:
            self.approved.add((change.id, change.version))


def again(steps: list[tuple[object, ...]]) -> Catalogue:
    """Fold the same steps anew."""
    catalogue = Catalogue()
    for index, step in enumerate(steps):
        if isinstance(step[0], ResourceState):
            catalogue.apply_state(step[0])
        else:
            new, reviewer = step
            assert isinstance(new, Resource) and isinstance(reviewer, str)
            catalogue.apply(index, new, reviewer=reviewer, handed_in_by="li")
    return catalogue


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), length=st.integers(1, 60))
def test_only_what_was_approved_is_in_force_and_every_item_has_one_provider(seed: int, length: int) -> None:
    walk = Walk(random.Random(seed))
    for _ in range(length):
        walk.step()
    providers: dict[tuple[str, str], set[str]] = {}
    for entry in walk.catalogue.entries():
        held = walk.catalogue.by_id.get(entry.id)
        assert held is None or (held.id, held.version) in walk.approved
        assert held is None or not entry.withdrawn
        assert len(entry.indexes) == len(set(entry.indexes))
        for source in entry.sources():
            providers.setdefault(source, set()).add(entry.provider)
        if held is not None:
            assert source_of(held) in entry.sources()
    assert all(len(found) == 1 for found in providers.values())
    claimed = {source: frozenset(ids) for source, ids in walk.catalogue._sources.items()}
    assert claimed == {
        source: frozenset(entry.id for entry in walk.catalogue.entries() if source in entry.sources())
        for source in providers
    }
    fresh = again(walk.steps)
    assert dict(fresh.by_id) == dict(walk.catalogue.by_id)
    assert list(fresh.entries()) == list(walk.catalogue.entries())
