"""Whatever is tried, a provider lets nothing pass that its gateway would not, and nothing after a closing.

Where no number is used twice both let the same pass; of a number's second case a provider may not have been
told enough, and refuses.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cases import AgentCases
from agent.region import RegionView
from agent.region_rules import AgentRules
from exchange import errors as e
from exchange.cases import CHANGE, CLOSE, DAY_MS, OPEN, check, read_case
from exchange.identity import Role
from exchange.v1 import audit_pb2, directory_pb2
from tests.support.casework import MATTER, step
from tests.support.region import CIVIL, HEALTH, ORIGIN, POLICE, Authority, Region, moment

AUTHORITY = Authority()
PARTIES = (HEALTH, POLICE, CIVIL)
AGENTS = [AUTHORITY.person(Role.AGENT, "one", code) for code in PARTIES]
NUMBERS = ("LJ-1", "LJ-2", "LJ-3")


class Provider:
    """The agent of POLICE, told of what its gateway tells it."""

    def __init__(self, region: Region, folder: Path) -> None:
        trust = region.feed.current
        self.view = RegionView(
            path=folder / "region.db",
            origin=ORIGIN,
            anchor=region.anchor,
            trust=lambda: trust,
            clock=region.clock,
        )
        self.cases = AgentCases(region=self.view, rules=AgentRules(region=self.view), organisation=POLICE)
        region.registrar.subscribe(self._told)
        self._region = region

    def _told(self, index: int, leaf: bytes, entry: audit_pb2.AuditEntry) -> None:
        if self._region.registrar.visible(entry, POLICE):
            self.view.take_event(directory_pb2.Event(index=index, leaf=leaf))


@pytest.fixture
async def region(tmp_path: Path) -> Region:
    made = Region(tmp_path, authority=AUTHORITY)
    for number, code in enumerate(PARTIES):
        await made.add(code, f"org-{number}")
    return made


@pytest.fixture
def provider(region: Region, tmp_path: Path) -> Iterator[Provider]:
    (tmp_path / "agent").mkdir()
    made = Provider(region, tmp_path / "agent")
    yield made
    made.view.close()


def _passing(holder: object, now_ms: int) -> set[tuple[str, str]]:
    """Return the numbers and consumers of exchanges with POLICE that a holder of cases lets pass."""
    passing = set()
    for number in NUMBERS:
        for consumer in PARTIES:
            try:
                held = holder.get(number)  # type: ignore[attr-defined]
                check(held, consumer=consumer, provider=POLICE, matter=MATTER, now_ms=now_ms)
            except e.CaseNotOpen:
                continue
            passing.add((number, consumer))
    return passing


@pytest.mark.parametrize("seed", range(6))
async def test_a_provider_lets_nothing_pass_that_its_gateway_would_not(
    region: Region, provider: Provider, seed: int
) -> None:
    chance = random.Random(seed)
    taken = closed = 0
    seen: set[str] = set()
    reused = False
    over: dict[str, int] = {}
    for _ in range(120):
        region.clock.ms += chance.choice((0, 1, 1000, 3_600_000, DAY_MS // 3))
        now_ms, number, signer = region.clock.ms, chance.choice(NUMBERS), chance.choice(AGENTS)
        action, revision = chance.choice(((OPEN, 1), (CHANGE, 2), (CHANGE, 3), (CLOSE, 2), (CLOSE, 3)))
        held = region.state.cases.get(number)
        if held is not None and chance.random() < 0.7:
            # Otherwise hardly anything would follow what is.
            signer = next(one for one in AGENTS if one.identity.organisation == held.lead)
            action, revision = chance.choice((CHANGE, CHANGE, CLOSE)), held.revision + 1
        lead = signer.identity.organisation if chance.random() < 0.9 else HEALTH
        others = [code for code in PARTIES if code != lead]
        statement = step(
            signer,
            now_ms,
            case_number=number,
            action=action,
            revision=revision,
            lead=lead,
            participants=chance.sample(others, chance.randint(1, 2)),
            expires_at=moment(now_ms + chance.choice((3_600_000, 5 * DAY_MS, 9 * DAY_MS))),
        )
        try:
            await region.enter(audit_pb2.ACT_CASE, signer, statement)
        except e.ExchangeError:
            assert _agree(region, provider, reused)
            continue
        taken += 1
        if read_case(statement.body).closed:
            closed += 1
            over[number] = now_ms
        elif action == OPEN:
            assert now_ms >= over.pop(number, 0) + DAY_MS
        if action == OPEN:
            reused |= number in seen
            seen.add(number)
        assert _agree(region, provider, reused)
        assert not {number for number, _ in _passing(region.state.cases, now_ms)} & over.keys()
    assert taken > 5 and closed > 0


def _agree(region: Region, provider: Provider, reused: bool) -> bool:
    at_gateway = _passing(region.state.cases, region.clock.ms)
    at_provider = _passing(provider.cases, region.clock.ms)
    return at_provider <= at_gateway if reused else at_provider == at_gateway
