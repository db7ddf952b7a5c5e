"""Traces over real TLS and by the command: two consumers, two providers, the authority and a gateway."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exchange.subject_tags import OuterTags, inner_tag, period_of
from exchange.v1 import agent_pb2, audit_pb2, common_pb2
from tests.support.house import question, until
from tests.support.traced_house import CIVIL, POLICE, TracedHouse, traced_house

pytestmark = pytest.mark.system


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[TracedHouse]:
    async with traced_house(tmp_path) as made:
        yield made


async def test_every_exchange_about_a_person_is_found_across_two_consumers_and_two_providers(
    it: TracedHouse,
) -> None:
    health, civil = it.house.consumer, it.civil
    spouse_claim = agent_pb2.NamedValue(name="spouse_id", value=it.people[1].citizen_id)
    about_first = [
        await it.household(health, 0),
        await it.household(civil, 0),
        await it.marriage(0),  # The answer names the second person.
        await it.marriage(0, kind=common_pb2.KIND_VERIFY, fields=["spouse_id"], claims=[spouse_claim]),
    ]
    for other in range(2, 6):
        await it.household(health, other)
        await it.marriage(other)
    nobody = await it.marriage(100)
    assert await it.trace(0) == about_first
    assert await it.trace(1) == about_first[2:]
    assert await it.trace(100) == [nobody]
    assert await it.trace(150) == []
    entries = [it.entry(index) for index in about_first]
    assert {one.consumer_organisation for one in entries} == {CIVIL, it.house.consumer._who.organisation}
    assert {one.provider_organisation for one in entries} == {CIVIL, POLICE}
    await until(lambda: not it.house.provider.journal.open_items, "the provider has its receipts")
    assert it.house.provider.provider.fault is None and civil.provider.fault is None


async def test_found_or_not_the_entry_has_as_many_tags(it: TracedHouse) -> None:
    found, none = it.entry(await it.marriage(0)), it.entry(await it.marriage(100))
    assert found.tag_count == none.tag_count == 4
    assert found.tag_period == none.tag_period == period_of(it.house.region.clock.now_ms())
    assert it.entry(await it.household(it.civil, 0)).tag_count == 1


async def test_what_failed_after_it_was_opened_is_found_too(it: TracedHouse) -> None:
    person, path = it.people[0].citizen_id, it.house.folder / "marriage.db"
    _change(path, f"INSERT INTO marriage SELECT '{person}', 'yes', spouse_id FROM marriage LIMIT 5")
    too_many = await it.marriage(0)
    _change(path, "DROP TABLE marriage")
    failed = await it.marriage(0)
    decisions = [it.entry(index).decision for index in (too_many, failed)]
    assert audit_pb2.DECISION_RELEASED not in decisions
    assert await it.trace(0) == [too_many, failed] and await it.trace(2) == []


def _change(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as database:
        database.execute(statement)
    database.close()


async def test_a_case_is_told_whole_also_what_the_gateway_refused(it: TracedHouse) -> None:
    health, case = it.house.consumer, {"case_number": "LJ-2026-9"}
    course = [
        await it.household(health, 0, **case),
        await it.household(health, 0, fields=["name", "address"], **case),
        await it.household(health, 1, purpose="marketing", **case),
        await it.marriage(0, **case),
    ]
    await it.household(health, 0)
    told = await it.shuqiao("sun", "audit", "trace", "--case", "LJ-2026-9", "--why", "audit 3")
    assert [one["index"] for one in told.document["entries"]] == course
    assert [one["decision"] for one in told.document["entries"]] == [
        "released",
        "released",
        "refused",
        "released",
    ]


async def test_a_trace_is_entered_with_who_and_why_and_without_whom(it: TracedHouse) -> None:
    await it.household(it.house.consumer, 0)
    await it.trace(0)
    size = it.house.log_size
    acts = [
        audit_pb2.AuditEntry.FromString(leaf).administrative
        for leaf in it.house.gateway.sequencer.leaves(0, size)
    ]
    (read,) = [act for act in acts if act.act == audit_pb2.ACT_READ]
    assert read.actor.endswith("/officer/zhao") and read.subject.endswith(" complaint 17")
    assert read.subject.startswith("Trace subject ")


async def test_neither_side_alone_can_enumerate(it: TracedHouse) -> None:
    """The gateway holds lists and its own keys, providers and authority the others; no folder holds both."""
    person = it.people[0].citizen_id
    await it.household(it.house.consumer, 0)
    await it.trace(0)
    period = period_of(it.house.region.clock.now_ms())
    providers_key = it.house.region.running.authority.tags.keys()[period]
    gateways_key = it.house.gateway.tag_keys._keystore.get(f"tags-{period.lower()}")
    inner = inner_tag(providers_key, "citizen_id", person)
    assert gateways_key is not None
    outer = OuterTags(gateways_key).of(inner)
    await it.house.gateway.evidence.tagged.caught_up(it.house.log_size)
    folder = it.house.folder
    gateway = _bytes_below(folder / "gateway-1")
    others = _bytes_below(folder / "authority") + _bytes_below(folder / "police-1")
    assert outer in gateway
    for secret in (inner, providers_key, person.encode(), inner.hex().encode()):
        assert secret not in gateway
    for secret in (outer, gateways_key):
        assert secret not in others
    assert person.encode() not in _bytes_below(folder / "authority")
    # A consumer that asks for nothing but its own holds no key at all.
    assert it.house.consumer.tag_keys.present(it.house.region.clock.now_ms()) is None


def _bytes_below(folder: Path) -> bytes:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return b"".join(path.read_bytes() for path in files)


async def test_an_erased_key_ends_traces_and_only_for_its_own_side(it: TracedHouse) -> None:
    index = await it.household(it.house.consumer, 0)
    assert await it.trace(0) == [index]
    period = it.house.gateway.tag_keys.periods[0]
    told = await it.shuqiao("wang", "certs", "erase-tag-key", period)
    assert told.code == 1 and told.document["error"]["code"] == "MALFORMED"
    await it.house.gateway.evidence.tag_terms.erase(period)
    assert await it.trace(0) == []
    again = await it.shuqiao("sun", "audit", "trace", "--case", "LJ-2026-1", "--why", "audit 3")
    assert [one["index"] for one in again.document["entries"]] == [index]


async def test_a_key_of_a_quarter_that_is_over_goes_when_two_people_say_so(it: TracedHouse) -> None:
    rules, officer = it.house.region.running.authority.tags, it.house.identities["zhao"].identity()
    rules._keystore.put("tags-2020q1", b"k" * 32)
    told = [
        await it.shuqiao(who, "certs", "erase-tag-key", "2020Q1") for who in ("zhao", "zhao", "sun", "wang")
    ]
    assert [one.code for one in told] == [0, 1, 1, 0]
    assert told[0].document["needs"] == "second-person" and told[3].document["needs"] == "erased"
    assert [one.document["error"]["code"] for one in told[1:3]] == [
        "SECOND_PERSON_REQUIRED",
        "ROLE_NOT_ALLOWED",
    ]
    assert "tags-2020q1" not in rules._keystore.names()
    tags = rules.derive("citizen_id", it.people[0].citizen_id, "complaint 17", by=officer)
    assert "2020Q1" not in tags and len(tags) in (1, 2)


async def test_a_provider_without_a_key_answers_nothing_sealed(it: TracedHouse) -> None:
    police = it.house.provider
    held, police.tag_keys._keys, police.tag_keys._present = police.tag_keys._keys, {}, None
    response = await it.house.consumer.consumer.ask(question(it.people[0]))
    assert response.failure.reason and response.HasField("receipt")
    entry = audit_pb2.AuditEntry.FromString(response.receipt.receipt.leaf).exchange
    assert entry.decision == audit_pb2.DECISION_FAILED and entry.tag_count == 0
    police.tag_keys._keys = held
    assert await it.household(it.house.consumer, 0)
