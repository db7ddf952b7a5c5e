"""Grants are held slim: a row makes the same grant again, and its record is read from the log."""

from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import pytest

from exchange.canonical import GRANT_EVENT, digest
from exchange.errors import StoreDamaged, UnknownGrant
from exchange.grants import Grant, read_event, read_grant, transition
from exchange.v1 import audit_pb2, common_pb2, grant_pb2
from gateway.access.grants import GrantIndex
from gateway.grant_rows import Head, Numbers, Unpacker, pack, template, terms_number, terms_of
from tests.support.region import CIVIL, HEALTH, POLICE, RESOURCE, grant_body, moment, nonce
from tests.support.sealing import NOW_MS

ACCEPT, PAUSE = grant_pb2.GRANT_ACTION_ACCEPT, grant_pb2.GRANT_ACTION_PAUSE
QUOTAS = [grant_pb2.Quota(period=grant_pb2.QUOTA_PERIOD_DAY, exchanges=5)]
NAMES = {0: HEALTH, 1: POLICE, 2: RESOURCE}
NEVER = {"consumer", "provider", "resource"}
CHANGEABLE = [one.name for one in fields(Grant) if one.type in (int, bool, str) and one.name not in NEVER]
NUMBERS = Numbers(0, 1, 2, 7)


def statement(body: bytes) -> common_pb2.Statement:
    return common_pb2.Statement(body=body, signature=nonce(), chain=[nonce()])


def event(grant: Grant, action: int) -> common_pb2.Statement:
    return statement(
        grant_pb2.GrantEventBody(
            nonce=nonce(),
            grant_id=grant.grant_id,
            revision=grant.revision + 1,
            action=grant_pb2.GrantAction.ValueType(action),
            issued_at=moment(NOW_MS),
        ).SerializeToString()
    )


def slim(grant: Grant) -> Grant:
    return replace(grant, record=None)


# -- rows ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quotas", [(), QUOTAS])
@pytest.mark.parametrize("history", [bytes(8), bytes(8) + b"e" * 40])
def test_a_row_makes_the_same_grant_again_whatever_has_happened_to_it(
    quotas: list[grant_pb2.Quota], history: bytes
) -> None:
    body = grant_body(NOW_MS, quotas=quotas)
    terms = terms_of(body)
    unpack = Unpacker(names=NAMES, terms={7: terms})
    applied = slim(read_grant(statement(body)))
    moved = slim(transition(applied, read_event(event(applied, ACCEPT)), event(applied, ACCEPT)))
    extended = replace(moved, not_after_ms=moved.not_after_ms + 1)
    for grant in (applied, moved, extended):
        row = pack(grant, NUMBERS, template(terms), history)
        assert unpack(row) == (grant, history) == unpack(row)
        assert terms_number(row) == 7


@pytest.mark.parametrize("name", CHANGEABLE)
def test_whatever_an_event_may_change_of_a_grant_is_kept(name: str) -> None:
    body = grant_body(NOW_MS)
    terms = terms_of(body)
    grant = slim(read_grant(statement(body)))
    value = getattr(grant, name)
    changed = replace(grant, **{name: not value if isinstance(value, bool) else value * 2 or type(value)(1)})
    row = pack(changed, NUMBERS, template(terms), bytes(8))
    assert Unpacker(names=NAMES, terms={7: terms})(row)[0] == changed != grant


def test_what_a_row_could_not_hold_is_refused_not_lost() -> None:
    body = grant_body(NOW_MS)
    grant = replace(slim(read_grant(statement(body))), purposes=frozenset({"other"}))
    with pytest.raises(TypeError):
        pack(grant, NUMBERS, template(terms_of(body)), bytes(8))


def test_terms_are_what_grants_have_alike_and_nothing_of_their_own() -> None:
    one = terms_of(grant_body(NOW_MS))
    assert one == terms_of(grant_body(NOW_MS + 5, consumer=CIVIL, justification="another"))
    assert one != terms_of(grant_body(NOW_MS, fields=["name"]))


def test_what_is_alike_is_held_once() -> None:
    bodies = [grant_body(NOW_MS, purposes=[name]) for name in ("a", "b")]
    terms = {number: terms_of(body) for number, body in enumerate(bodies)}
    unpack = Unpacker(names=NAMES, terms=terms)
    made = []
    for number, body in enumerate(bodies):
        grant = slim(read_grant(statement(body)))
        row = pack(grant, NUMBERS._replace(terms=number), template(terms[number]), bytes(8))
        made.append(unpack(row)[0])
    assert made[0].fields is made[1].fields and made[0].kinds is made[1].kinds
    assert made[0].purposes != made[1].purposes


def head_of(unpack: Unpacker, row: bytes) -> Head:
    (head,) = unpack.heads([(7, row)])
    return head


def test_what_is_no_row_is_damage() -> None:
    body = grant_body(NOW_MS)
    terms = terms_of(body)
    row = pack(slim(read_grant(statement(body))), NUMBERS, template(terms), bytes(48))
    unpack = Unpacker(names=NAMES, terms={7: terms})
    assert unpack(row)[1] == bytes(48) and head_of(unpack, row)[-2] == (0, 0)
    for no_head in (b"", row[:40], row[:-1], row[:97], row[:85] + (47).to_bytes(4) + row[89:]):
        with pytest.raises(StoreDamaged):
            head_of(unpack, no_head)
    for elsewhere in (Unpacker(names={}, terms={7: terms}), Unpacker(names=NAMES, terms={7: b"x"})):
        with pytest.raises(StoreDamaged):
            head_of(elsewhere, row)
    other_length = row[:85] + (47).to_bytes(4) + row[89:]
    for damaged in (
        b"",
        row[:40],
        row[:-1],
        row[:97],
        other_length,
        row + b"{",
        row + b"[1]",
        row + b'{"x":1}',
    ):
        with pytest.raises(StoreDamaged):
            unpack(damaged)
    with pytest.raises(StoreDamaged):
        Unpacker(names={}, terms={7: terms})(row)
    with pytest.raises(StoreDamaged):
        Unpacker(names=NAMES, terms={})(row)


RESTING = [
    ({"state": grant_pb2.GRANT_STATE_ACTIVE}, 0, True),
    ({"state": grant_pb2.GRANT_STATE_PAUSED}, 0, True),
    ({"state": grant_pb2.GRANT_STATE_REVOKED, "deleted_before_ms": 5, "since_ms": 4}, 0, True),
    ({"state": grant_pb2.GRANT_STATE_PENDING}, 0, False),
    ({"state": grant_pb2.GRANT_STATE_SUPERVISING}, 0, False),
    ({"state": grant_pb2.GRANT_STATE_ACTIVE}, 30, False),
    ({"state": grant_pb2.GRANT_STATE_ACTIVE, "supervisor": CIVIL}, 0, False),
    ({"state": grant_pb2.GRANT_STATE_ACTIVE, "extended_at_ms": 1}, 0, False),
]


@pytest.mark.parametrize(("changes", "life", "rests"), RESTING)
def test_a_row_rests_where_nothing_can_wait_for_anybody(
    changes: dict[str, Any], life: int, rests: bool
) -> None:
    body = grant_body(NOW_MS, data_life_days=life)
    terms = terms_of(body)
    grant = replace(slim(read_grant(statement(body))), **changes)
    history = (7).to_bytes(8) + (9).to_bytes(8) + bytes(32)
    row = pack(grant, NUMBERS, template(terms), history)
    head = head_of(Unpacker(names=NAMES, terms={7: terms}), row)
    assert head == (7, row, grant.grant_id, HEALTH, POLICE, (7, 9), rests)


# -- the index -------------------------------------------------------------------------------------------


class Log:
    """Entries by index."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []

    def enter(self, told: common_pb2.Statement) -> int:
        entry = audit_pb2.AuditEntry(version=1)
        entry.administrative.statement.CopyFrom(told)
        self.entries.append(entry.SerializeToString())
        return len(self.entries) - 1

    def leaf(self, index: int) -> bytes:
        return self.entries[index]


def test_a_record_is_read_from_the_log_and_nothing_of_it_is_held() -> None:
    log, index = Log(), GrantIndex()
    applied = statement(grant_body(NOW_MS))
    grant = read_grant(applied)
    index.add(log.enter(applied), grant)
    log.enter(statement(b"something else"))
    steps = []
    for action in (ACCEPT, PAUSE):
        held = index.one(grant.grant_id)
        told = event(held, action)
        moved = transition(held, read_event(told), told)
        index.update(log.enter(told), moved, digest(GRANT_EVENT, told.body))
        steps.append(told)
    record = index.record(grant.grant_id, log.leaf)
    assert record == grant_pb2.GrantRecord(
        grant_id=grant.grant_id,
        grant=applied,
        events=steps,
        state=grant_pb2.GRANT_STATE_PAUSED,
        revision=2,
    )
    assert index.one(grant.grant_id).record is None
    assert index.indexes(grant.grant_id) == [0, 2, 3]
    assert index.index_of(grant.grant_id) == 0
    assert index.index_of(grant.grant_id, digest(GRANT_EVENT, steps[1].body)) == 3
    assert index.index_of(grant.grant_id, digest(GRANT_EVENT, b"other")) is None
    for unknown in (b"", bytes(32)):
        assert index.index_of(unknown) is None
        with pytest.raises(UnknownGrant):
            index.record(unknown, log.leaf)


def test_grants_are_found_by_use_and_listed_by_party_in_the_order_of_application() -> None:
    index, places = GrantIndex(), {}
    uses = [(HEALTH, RESOURCE), (CIVIL, RESOURCE), (HEALTH, RESOURCE), (HEALTH, "970100/police/other")] * 2
    for number, (consumer, resource) in enumerate(uses):
        grant = read_grant(statement(grant_body(NOW_MS, consumer=consumer, resource=resource)))
        index.add(10 * number, grant)
        places[10 * number] = grant.grant_id
    assert [one.grant_id for one in index.find(HEALTH, RESOURCE)] == [places[at] for at in (0, 20, 40, 60)]
    assert [one.grant_id for one in index.find(CIVIL, RESOURCE)] == [places[10], places[50]]
    assert index.find(CIVIL, "970100/police/other") == index.find(POLICE, RESOURCE) == []
    for party, due in ((None, range(0, 80, 10)), (POLICE, range(0, 80, 10)), (CIVIL, (10, 50))):
        seen, after = [], -1
        while page := index.page(party, after, 3):
            seen += [one.index for one in page]
            assert [one.grant.grant_id for one in page] == [places[one.index] for one in page]
            after = page[-1].index
        assert seen == list(due)
    assert all(one.index < two.index for one, two in pairwise(index.page(None, 15, 99)))
    assert index.page("nobody", -1, 9) == []
    index.clear()
    assert not index and index.page(None, -1, 9) == []


def test_packed_grants_are_found_listed_and_changed_like_others() -> None:
    grown, rows, terms = GrantIndex(), [], terms_of(grant_body(NOW_MS))
    for number, consumer in enumerate((HEALTH, CIVIL, HEALTH)):
        applied = read_grant(statement(grant_body(NOW_MS, consumer=consumer)))
        told = event(applied, ACCEPT)
        moved = slim(transition(slim(applied), read_event(told), told))
        grown.add(10 * number, applied)
        grown.update(10 * number + 1, moved, digest(GRANT_EVENT, told.body))
        numbers = NUMBERS._replace(consumer=(HEALTH, POLICE, RESOURCE, CIVIL).index(consumer))
        rows.append((10 * number, pack(moved, numbers, template(terms), grown.history(moved.grant_id))))

    def restored() -> GrantIndex:
        index = GrantIndex()
        told = index.restore(rows, Unpacker(names=[HEALTH, POLICE, RESOURCE, CIVIL], terms={7: terms}))
        assert {party: list(told[party]) for party in told} == {
            HEALTH: [0, 1, 20, 21],
            CIVIL: [10, 11],
            POLICE: [0, 1, 10, 11, 20, 21],
        }
        assert list(index) == list(grown) and len(index) == 3 and not list(index.opened())
        return index

    for ask in (
        lambda index: [index.find(who, RESOURCE) for who in (HEALTH, CIVIL, POLICE)],
        lambda index: index.page(POLICE, -1, 9),
        lambda index: [index.get(one) for one in (*grown, bytes(32))],
        lambda index: [index.indexes(one) for one in grown],
        lambda index: [index.index_of(one) for one in (*grown, bytes(32))],
    ):
        assert ask(restored()) == ask(grown)  # type: ignore[no-untyped-call]
    changed = restored()
    first = next(iter(grown))
    told = event(grown.one(first), PAUSE)
    for index in (grown, changed):
        held = index.one(first) if index is grown else grown.one(first)
        index.update(30, replace(held, state=grant_pb2.GRANT_STATE_PAUSED), digest(GRANT_EVENT, told.body))
    assert changed.one(first) == grown.one(first) and changed.history(first) == grown.history(first)
    changed.add(40, later := read_grant(statement(grant_body(NOW_MS, consumer=CIVIL))))
    assert [one.grant_id for one in changed.find(CIVIL, RESOURCE)] == [list(grown)[1], later.grant_id]


def test_an_index_that_cannot_be_restored_is_empty() -> None:
    index, body = GrantIndex(), grant_body(NOW_MS)
    grant, terms = slim(read_grant(statement(body))), terms_of(body)
    row = pack(grant, NUMBERS, template(terms), bytes(8))
    with pytest.raises(StoreDamaged):
        index.restore([(0, row), (1, row[:50])], Unpacker(names=NAMES, terms={7: terms}))
    assert not index and index.get(grant.grant_id) is None and index.page(None, -1, 9) == []
