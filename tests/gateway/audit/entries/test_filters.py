"""What an EntryFilter means, in the predicate and in the search's SQL."""

import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.errors import Malformed
from exchange.v1 import audit_pb2, reason_pb2
from gateway.audit.entries.filter_words import MAX_WORDS, short_hash, words
from gateway.audit.entries.filters import Filter, facts_of, prefixes
from gateway.audit.projections.projection_file import Projected
from gateway.audit.projections.search_query import walk
from gateway.audit.projections.search_rows import SearchContent
from tests.support import entries
from tests.support.region import HEALTH, POLICE


def database(leaves: list[bytes]) -> sqlite3.Connection:
    content, db = SearchContent(), sqlite3.connect(":memory:", isolation_level=None)
    db.executescript(content.schema)
    parsed = [
        Projected(index, leaf, audit_pb2.AuditEntry.FromString(leaf)) for index, leaf in enumerate(leaves)
    ]
    for at in range(0, len(parsed), 7):
        content.add(db, parsed[at : at + 7])
    return db


def found(db: sqlite3.Connection, wanted: Filter, size: int, newest_first: bool, limit: int) -> list[int]:
    """Walk to the end, from page to page: a page's time may be over at any window."""
    indexes: list[int] = []
    low, high = 0, size
    while True:
        position = None
        for step in walk(db, wanted, low=low, high=high, newest_first=newest_first, limit=limit):
            position = step.position
            if step.index is not None:
                indexes.append(step.index)
        if position is None:
            return indexes
        low, high = (low, position) if newest_first else (position, high)


@settings(max_examples=300, deadline=None)
@given(
    leaves=st.lists(entries.leaves(), max_size=40),
    asked=st.lists(entries.filters(), min_size=1, max_size=6),
    newest_first=st.booleans(),
    limit=st.integers(min_value=1, max_value=5),
)
def test_predicate_and_sql_agree_on_every_entry(
    leaves: list[bytes], asked: list[audit_pb2.EntryFilter], newest_first: bool, limit: int
) -> None:
    db = database(leaves)
    for message in asked:
        wanted = Filter(message)
        fitting = [index for index, leaf in enumerate(leaves) if wanted.fits(facts_of(leaf))]
        assert found(db, wanted, len(leaves), newest_first, limit) == fitting[:: -1 if newest_first else 1]
    db.close()


def test_the_generated_filters_fit_some_entries_and_not_others() -> None:
    """Otherwise the test above would show nothing."""
    tally = {"fits": 0, "does not": 0}

    @settings(max_examples=500, deadline=None, database=None, derandomize=True)
    @given(leaf=entries.leaves(), asked=entries.filters())
    def count(leaf: bytes, asked: audit_pb2.EntryFilter) -> None:
        wanted = Filter(asked)
        if not wanted.everything:
            tally["fits" if wanted.fits(facts_of(leaf)) else "does not"] += 1

    count()
    assert min(tally.values()) > 0


@pytest.mark.parametrize(
    "asked",
    [
        {"organisation": "police"},
        {"organisation": POLICE + "X"},
        {"resource": "*"},
        {"resource": "/*"},
        {"resource": "970100*"},
        {"resource": "970100/*/household"},
        {"resource": "970100//*"},
        {"resource": "970100/police/household/*"},
        {"resource": "x" * 201},
        {"purpose": "a\nb"},
        {"case_number": "x" * 201},
        {"actor": "x" * 256},
        {"decisions": [0]},
        {"decisions": [9]},
        {"decisions": [1, 2, 3, 1]},
        {"reasons": [0]},
        {"reasons": [1] * 33},
        {"acts": [999]},
        {"acts": [10] * 33},
        {"grant_id": b"x" * 31},
        {"since_ms": -1},
        {"until_ms": -1},
        {"since_ms": 5, "until_ms": 5},
    ],
)
def test_a_filter_out_of_bounds_is_refused_by_the_name_of_its_part(asked: dict[str, object]) -> None:
    with pytest.raises(Malformed) as caught:
        Filter(audit_pb2.EntryFilter(**asked))  # type: ignore[arg-type]
    assert caught.value.subject == f"filter.{'until_ms' if len(asked) == 2 else next(iter(asked))}"


def test_a_resource_is_below_its_whole_parts_only() -> None:
    assert prefixes("970100/police/household") == ("970100", "970100/police")
    assert prefixes("970100") == ()
    below = Filter(audit_pb2.EntryFilter(resource="970100/pol/*"))
    entry = audit_pb2.AuditEntry()
    entry.exchange.resource = "970100/police/household"
    assert not below.fits(facts_of(entry.SerializeToString()))


def test_a_refusal_is_an_outcome_wherever_it_happened() -> None:
    refused = Filter(audit_pb2.EntryFilter(decisions=[audit_pb2.DECISION_REFUSED]))
    counted, act, exchange = audit_pb2.AuditEntry(), audit_pb2.AuditEntry(), audit_pb2.AuditEntry()
    counted.refusals.count = 3
    act.administrative.act = audit_pb2.ACT_REFUSED
    exchange.exchange.decision = audit_pb2.DECISION_REFUSED
    assert all(refused.fits(facts_of(one.SerializeToString())) for one in (counted, act, exchange))
    act.administrative.act = audit_pb2.ACT_READ
    assert not refused.fits(facts_of(act.SerializeToString()))


def test_the_words_name_no_case_and_no_operator() -> None:
    asked = audit_pb2.EntryFilter(
        organisation=HEALTH,
        decisions=[audit_pb2.DECISION_REFUSED],
        case_number="LJ-2026-000017",
        operator="op-17",
        since_ms=1,
    )
    told = words(Filter(asked))
    assert told == (
        f"organisation={HEALTH} decision=refused case=#{short_hash('case', 'LJ-2026-000017')} "
        f"operator=#{short_hash('operator', 'op-17')} since=1"
    )
    assert len(short_hash("case", "x")) == 8 and short_hash("case", "x") != short_hash("operator", "x")
    assert words(Filter(audit_pb2.EntryFilter())) == "everything"


@pytest.mark.parametrize("name", ["resource", "purpose", "matter", "actor"])
def test_the_words_name_no_person_who_was_looked_for_in_the_wrong_place(name: str) -> None:
    told = words(Filter(audit_pb2.EntryFilter(**{name: "11010519491231002X"})))
    assert told == f"{name}=#{short_hash(name, '11010519491231002X')}"


def test_words_too_long_to_be_told_are_told_by_their_digest() -> None:
    long = audit_pb2.EntryFilter(reasons=[number for number in reason_pb2.Reason.values() if number][:32])
    other = audit_pb2.EntryFilter(reasons=long.reasons[:31])
    told = words(Filter(long))
    assert len(told) == MAX_WORDS and Filter(long).digest.hex()[:16] in told and told != words(Filter(other))


def test_a_leaf_that_cannot_be_parsed_is_no_entry_that_could_be_asked_for() -> None:
    assert facts_of(b"\xff").kind == 0
