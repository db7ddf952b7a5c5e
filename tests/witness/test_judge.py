import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from exchange.add_checkpoint import SIZE_TYPE, AddCheckpoint
from exchange.checkpoint import Checkpoint, LogSigner
from exchange.cosignature import add_lines, cosignatures_of, verified_lines
from tests.support.witnesses import (
    ORIGIN,
    SIGNER,
    START_MS,
    FailingStore,
    GrowingLog,
    MemoryWitnessStore,
    StillClock,
    cosigner,
    witness,
)
from witness.judge import Reply
from witness.store import Held, SqliteWitnessStore

KEY = cosigner().key


def cosigned(reply: Reply, log: GrowingLog, size: int | None = None) -> int:
    """The time of a cosignature that verifies over a head of the log."""
    assert reply.status == 200, reply
    note = log.note(size)
    lines = verified_lines(log.head(size).text, reply.body.decode(), KEY)
    return cosignatures_of(add_lines(note, lines), [KEY])[0][1]


def conflict(reply: Reply) -> int:
    assert (reply.status, reply.kind) == (409, SIZE_TYPE)
    return int(reply.body)


def test_a_log_that_grows_is_cosigned_each_time_with_the_time() -> None:
    log, clock = GrowingLog(5), StillClock()
    judge = witness(MemoryWitnessStore(), clock=clock)
    assert cosigned(judge.add_checkpoint(log.request(0)), log) == START_MS // 1000
    log.grow(7)
    clock.ms += 5000
    assert cosigned(judge.add_checkpoint(log.request(5)), log) == START_MS // 1000 + 5


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_every_growth_of_a_log_is_cosigned(steps: list[int]) -> None:
    log, judge, old = GrowingLog(0), witness(MemoryWitnessStore()), 0
    for step in steps:
        log.grow(step)
        cosigned(judge.add_checkpoint(log.request(old)), log)
        old = len(log.hashes)


def test_the_same_head_is_cosigned_again() -> None:
    log, judge = GrowingLog(5), witness(MemoryWitnessStore())
    judge.add_checkpoint(log.request(0))
    cosigned(judge.add_checkpoint(log.request(5)), log)


def test_a_wrong_old_size_is_answered_with_the_size_that_is_held() -> None:
    log, judge = GrowingLog(9), witness(MemoryWitnessStore())
    judge.add_checkpoint(log.request(0, 5))
    for old in (0, 3, 9):
        assert conflict(judge.add_checkpoint(log.request(old))) == 5


def test_an_older_head_is_never_cosigned_after_a_newer_one() -> None:
    log, judge = GrowingLog(9), witness(MemoryWitnessStore())
    judge.add_checkpoint(log.request(0))
    for old in (0, 4, 5):
        assert conflict(judge.add_checkpoint(log.request(old, 5))) == 9
    assert judge.add_checkpoint(AddCheckpoint(9, b"", log.note(5)).body).status == 400


def test_another_head_of_the_same_size_is_a_conflict() -> None:
    log, judge = GrowingLog(9), witness(MemoryWitnessStore())
    judge.add_checkpoint(log.request(0))
    assert conflict(judge.add_checkpoint(log.fork(3, 6).request(9))) == 9


def test_a_fork_is_not_cosigned_whatever_proof_comes_with_it() -> None:
    log, judge = GrowingLog(9), witness(MemoryWitnessStore())
    judge.add_checkpoint(log.request(0))
    fork = log.fork(8, 5)
    for proof in (fork.proof(9), fork.proof(8), log.proof(9), b"", bytes(32 * 63)):
        assert judge.add_checkpoint(AddCheckpoint(9, proof, fork.note()).body).status == 422
    cosigned(judge.add_checkpoint(log.grow(1).request(9)), log)


@pytest.mark.parametrize("old", [0, 5])
def test_a_proof_where_none_belongs_is_refused(old: int) -> None:
    log, judge = GrowingLog(5), witness(MemoryWitnessStore())
    if old:
        judge.add_checkpoint(log.request(0))
    assert judge.add_checkpoint(AddCheckpoint(old, bytes(32), log.note()).body).status == 422


def test_an_empty_head_with_a_root_of_its_own_is_a_conflict() -> None:
    note = SIGNER.sign(Checkpoint(ORIGIN, 0, bytes(32)))
    reply = witness(MemoryWitnessStore()).add_checkpoint(AddCheckpoint(0, b"", note).body)
    assert conflict(reply) == 0


def test_a_log_that_is_not_on_the_list_is_unknown() -> None:
    other = LogSigner(origin="970200.yunchuan.example/gateway-1", key=SigningKey(bytes(range(32))))
    request = GrowingLog(3, signer=other).request(0)
    assert witness(MemoryWitnessStore()).add_checkpoint(request).status == 404


def test_a_head_that_the_log_did_not_sign_is_refused_and_leaves_nothing_behind() -> None:
    store = MemoryWitnessStore()
    thief = LogSigner(origin=ORIGIN, key=SigningKey(b"\x33" * 32))
    assert witness(store).add_checkpoint(GrowingLog(3, signer=thief).request(0)).status == 403
    assert store.heads == {}


def test_signatures_of_unknown_keys_beside_the_logs_own_are_passed_over() -> None:
    log = GrowingLog(3)
    note = add_lines(log.note(), [cosigner(9).cosign(log.head().text, time_s=1).line.rstrip("\n")])
    reply = witness(MemoryWitnessStore()).add_checkpoint(AddCheckpoint(0, b"", note).body)
    cosigned(reply, log)


def test_while_a_log_changes_its_key_either_key_may_sign() -> None:
    new = LogSigner(origin=ORIGIN, key=SigningKey(b"\x44" * 32))
    judge = witness(MemoryWitnessStore(), keys=[SIGNER.public_key, new.public_key])
    log = GrowingLog(3)
    cosigned(judge.add_checkpoint(log.request(0)), log)
    log.signer = new
    cosigned(judge.add_checkpoint(log.grow(2).request(3)), log)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 0\n\n",
        b"old 0\n\nno note\n",
        GrowingLog(3).request(0).replace(b"\n3\n", b"\n03\n"),
        GrowingLog(3).request(0) + b"x" * 30_000,
        GrowingLog(3).request(0)[:-1],
    ],
)
def test_what_is_no_request_is_bad(body: bytes) -> None:
    assert witness(MemoryWitnessStore()).add_checkpoint(body).status == 400


@given(st.binary(max_size=300))
def test_no_body_makes_the_witness_fail_or_sign(body: bytes) -> None:
    judge = witness(MemoryWitnessStore())
    for tried in (body, GrowingLog(3).request(0) + body[:40], b"old 0\n\n" + body):
        assert judge.add_checkpoint(tried).status in (200, 400, 403, 404) and (
            judge.add_checkpoint(tried).status != 200 or tried == GrowingLog(3).request(0)
        )


def test_a_clock_that_went_back_a_little_repeats_the_time_of_the_last_cosignature() -> None:
    log, clock = GrowingLog(3), StillClock()
    judge = witness(MemoryWitnessStore(), clock=clock)
    first = cosigned(judge.add_checkpoint(log.request(0)), log)
    clock.ms -= 60_000
    assert cosigned(judge.add_checkpoint(log.grow(1).request(3)), log) == first


def test_a_clock_that_went_back_far_signs_nothing_until_it_has_caught_up() -> None:
    log, clock, store = GrowingLog(3), StillClock(), MemoryWitnessStore()
    judge = witness(store, clock=clock)
    judge.add_checkpoint(log.request(0))
    held = store.held(ORIGIN)
    clock.ms -= 62_000
    assert judge.add_checkpoint(log.grow(1).request(3)).status == 503
    assert store.held(ORIGIN) == held
    clock.ms += 62_000
    cosigned(judge.add_checkpoint(log.request(3)), log)


def test_a_head_that_could_not_be_persisted_is_not_cosigned_and_the_next_try_is(tmp_path: Path) -> None:
    store, log = FailingStore(folder=tmp_path, make=True), GrowingLog(3)
    judge = witness(store)
    judge.add_checkpoint(log.request(0))
    store.fault = "lost"
    assert judge.add_checkpoint(log.grow(4).request(3)).status == 503
    assert store.held(ORIGIN).size == 3
    cosigned(judge.add_checkpoint(log.request(3)), log)
    store.close()


def test_a_head_that_was_persisted_although_it_failed_is_not_rolled_back(tmp_path: Path) -> None:
    store, log = FailingStore(folder=tmp_path, make=True), GrowingLog(3)
    judge = witness(store)
    judge.add_checkpoint(log.request(0))
    store.fault = "kept"
    assert judge.add_checkpoint(log.grow(4).request(3)).status == 503
    assert conflict(judge.add_checkpoint(log.fork(3, 9).request(3))) == 7
    cosigned(judge.add_checkpoint(log.request(7)), log)
    store.close()


def test_a_request_that_was_overtaken_while_it_was_judged_is_a_conflict() -> None:
    log = GrowingLog(20)

    class Overtaken(MemoryWitnessStore):
        def replace(self, origin: str, expected: Held, new: Held) -> bool:
            if new.size == 10:
                # The race of the specification: another request with a larger size comes in between.
                super().replace(origin, expected, Held(20, log.head().root, 1, log.note()))
            return super().replace(origin, expected, new)

    store = Overtaken()
    judge = witness(store)
    judge.add_checkpoint(log.request(0, 5))
    assert conflict(judge.add_checkpoint(log.request(5, 10))) == 20
    assert store.held(ORIGIN).size == 20


def test_racing_requests_never_roll_back_and_never_cosign_two_branches(tmp_path: Path) -> None:
    store, log = SqliteWitnessStore(folder=tmp_path, make=True), GrowingLog(4)
    judge = witness(store)
    judge.add_checkpoint(log.request(0))
    fork = log.fork(4, 60)
    log.grow(60)
    requests = [side.request(4, size) for size in range(5, 64) for side in (log, fork)]
    start = threading.Barrier(8)

    def ask(part: list[bytes]) -> list[Reply]:
        start.wait(30)
        return [judge.add_checkpoint(request) for request in part]

    with ThreadPoolExecutor(8) as pool:
        replies = [reply for part in pool.map(ask, [requests[n::8] for n in range(8)]) for reply in part]
    signed = [reply for reply in replies if reply.status == 200]
    assert len(signed) == 1
    assert all(reply.status == 409 for reply in replies if reply.status != 200)
    held = store.held(ORIGIN)
    assert verified_lines(held.note.rpartition("\n\n")[0] + "\n", signed[0].body.decode(), KEY)
    store.close()
