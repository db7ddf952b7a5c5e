import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from exchange.canonical import BUNDLE, digest
from exchange.errors import (
    BadSignature,
    BundleRollback,
    BundleStale,
    CertificateExpired,
    ClockSkew,
    ExchangeError,
    Malformed,
    Oversized,
    Revoked,
    RoleNotAllowed,
    StoreDamaged,
    WrongSuite,
)
from exchange.identity import Role
from exchange.keys import BundleBook, OwnKeys, PeerKeys, key_id, open_bundle
from exchange.keystore import MemoryKeyStore
from exchange.statement import StatementSigner
from exchange.suites import X25519_SUITE, XWING_SUITE, suite
from exchange.v1 import common_pb2, directory_pb2
from tests.support.sealing import CONSUMER, NOW_MS, PROVIDER, StillClock
from tests.support.small_authority import DAY_MS, SmallAuthority, trust_list

HOUR_MS = 3_600_000
AGENT = "police-1"
Body = directory_pb2.KeyBundleBody


class World:
    """An authority, an agent with keys, and a clock."""

    def __init__(self) -> None:
        self.clock = StillClock()
        self.authority = SmallAuthority()
        self.anchor = self.authority.anchor()
        self.signer = self.authority.signer(PROVIDER, AGENT)
        self.keystore = MemoryKeyStore()
        self.own = self.start()

    def start(self, number: int = XWING_SUITE) -> OwnKeys:
        return OwnKeys(
            keystore=self.keystore,
            clock=self.clock,
            organisation=PROVIDER,
            agent=AGENT,
            signer=self.signer,
            suite=number,
        )

    def open(self, statement: common_pb2.Statement | None = None) -> PeerKeys:
        return open_bundle(statement or self.own.bundle, self.anchor, at_ms=self.clock.ms, trust=None)

    def book(self, path: Path | None = None) -> BundleBook:
        return BundleBook(anchor=self.anchor, path=path, clock=self.clock)

    def altered(
        self, change: Callable[[Body], None], signer: StatementSigner | None = None
    ) -> common_pb2.Statement:
        body = Body.FromString(self.own.bundle.body)
        change(body)
        return (signer or self.signer).sign(BUNDLE, body.SerializeToString())

    def confirm(self) -> None:
        self.own.confirm(self.own.seq, self.own.bundle_digest)

    def chain(self, length: int, *, step_ms: int = 13 * HOUR_MS) -> list[common_pb2.Statement]:
        statements = [self.own.bundle]
        while len(statements) < length:
            self.confirm()
            self.clock.ms += step_ms
            assert self.own.rotate_if_due()
            statements.append(self.own.bundle)
        return statements

    def fork(self, statement: common_pb2.Statement) -> common_pb2.Statement:
        body = Body.FromString(statement.body)
        body.nonce = b"f" * 16
        return self.signer.sign(BUNDLE, body.SerializeToString())


@pytest.fixture
def world() -> World:
    return World()


def test_a_bundle_certifies_the_keys_that_the_agent_holds(world: World) -> None:
    peer = world.open()
    assert (peer.organisation, peer.agent, peer.seq, peer.previous) == (PROVIDER, AGENT, 1, b"")
    assert peer.digest == world.own.bundle_digest == digest(BUNDLE, world.own.bundle.body)
    assert peer.signing[world.own.signing_kid].public == bytes(world.own.signing_key.verify_key)
    kid, key = peer.sealing_key(XWING_SUITE, now_ms=NOW_MS)
    private, chosen = world.own.sealing_private(kid), suite(XWING_SUITE)
    assert private is not None
    assert chosen.unwrap(private, b"info", chosen.wrap(key.public, b"info", b"s" * 32)) == b"s" * 32


def test_a_key_id_is_made_of_use_suite_and_key() -> None:
    expected = hashlib.sha256(b"shuqiao/key/1\0" + b"\x02" + b"\x00\x02" + b"public").digest()[:16]
    assert key_id(2, 2, b"public") == expected
    assert len({key_id(1, 0, b"k"), key_id(2, 0, b"k"), key_id(2, 1, b"k"), key_id(2, 1, b"l")}) == 4


def _set_times(issued_ms: int, expires_ms: int) -> Callable[[Body], None]:
    def change(body: Body) -> None:
        body.issued_at.FromMilliseconds(issued_ms)
        body.expires_at.FromMilliseconds(expires_ms)

    return change


def _stretch(place: int, days: int) -> Callable[[Body], None]:
    def change(body: Body) -> None:
        key = body.keys[place]
        key.not_after.FromMilliseconds(key.not_before.ToMilliseconds() + days * DAY_MS + 1)

    return change


def _recompute(key: directory_pb2.Key, public: bytes) -> None:
    key.public_key = public
    key.kid = key_id(key.use, key.suite, public)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda body: setattr(body, "nonce", b"short"), Malformed),
        (lambda body: setattr(body, "seq", 0), Malformed),
        (lambda body: setattr(body, "previous", bytes(32)), Malformed),
        (lambda body: setattr(body, "seq", 2), Malformed),
        (lambda body: body.ClearField("keys"), Malformed),
        (lambda body: body.keys.extend([body.keys[0]] * 15), Oversized),
        (lambda body: body.keys.append(body.keys[0]), Malformed),
        (lambda body: setattr(body.keys[0], "kid", b"k" * 16), Malformed),
        (lambda body: setattr(body.keys[1], "public_key", bytes(1216)), Malformed),
        (lambda body: setattr(body.keys[1], "suite", X25519_SUITE), Malformed),
        (lambda body: setattr(body.keys[1], "suite", 1 << 16), Malformed),
        (lambda body: _recompute(body.keys[0], bytes(31)), Malformed),
        (lambda body: _recompute(body.keys[1], bytes(1215)), Malformed),
        (_stretch(0, 31), Malformed),
        (_stretch(1, 1), Malformed),
        (lambda body: body.keys[1].not_after.CopyFrom(body.keys[1].not_before), Malformed),
        (
            lambda body: body.expires_at.FromSeconds(253402300799) or setattr(body.expires_at, "nanos", -1),
            Malformed,
        ),
        (_set_times(NOW_MS, NOW_MS + DAY_MS + 1), Malformed),
        (_set_times(NOW_MS, NOW_MS), Malformed),
        (_set_times(NOW_MS + 60_001, NOW_MS + HOUR_MS), ClockSkew),
        (_set_times(NOW_MS - DAY_MS, NOW_MS), BundleStale),
        (lambda body: setattr(body, "organisation", CONSUMER), RoleNotAllowed),
        (lambda body: setattr(body, "agent", "police-2"), RoleNotAllowed),
    ],
)
def test_a_bundle_that_breaks_a_rule_is_refused(
    world: World, change: Callable[[Body], None], error: type[ExchangeError]
) -> None:
    with pytest.raises(error):
        world.open(world.altered(change))


def test_a_key_of_an_unknown_suite_or_use_is_left_out(world: World) -> None:
    def change(body: Body) -> None:
        for use, number in ((2, 0x0101), (9, 0)):
            key = body.keys.add()
            key.CopyFrom(body.keys[1])
            key.use, key.suite = use, number  # type: ignore[assignment]
            _recompute(key, b"public")

    peer = world.open(world.altered(change))
    assert len(peer.signing) == len(peer.sealing) == 1


def test_a_bundle_signed_by_another_agent_role_or_root_is_refused(world: World) -> None:
    same = lambda body: None  # noqa: E731
    for organisation, name, role in (
        (PROVIDER, "police-2", Role.AGENT),
        (CONSUMER, AGENT, Role.AGENT),
        (PROVIDER, AGENT, Role.STEWARD),
    ):
        with pytest.raises(RoleNotAllowed):
            world.open(world.altered(same, world.authority.signer(organisation, name, role=role)))
    with pytest.raises(BadSignature):
        world.open(world.altered(same, SmallAuthority().signer(PROVIDER, AGENT)))


def test_an_altered_bundle_is_refused(world: World) -> None:
    statement = world.own.bundle
    statement.body = statement.body.replace(AGENT.encode(), b"police-2")
    with pytest.raises(BadSignature):
        world.open(statement)
    statement.body = b"\xff"
    with pytest.raises(Malformed):
        world.open(statement)
    statement.body = bytes(65 * 1024)
    with pytest.raises(Oversized):
        world.open(statement)


def test_a_bundle_does_not_outlive_its_certificate(world: World) -> None:
    short = world.authority.signer(PROVIDER, AGENT, not_after_ms=NOW_MS + HOUR_MS)
    with pytest.raises(Malformed):
        world.open(world.altered(lambda body: None, short))
    world.signer, world.keystore = short, MemoryKeyStore()
    world.own = world.start()
    assert world.open().expires_at_ms == NOW_MS + HOUR_MS
    world.confirm()
    world.clock.ms += HOUR_MS
    with pytest.raises(CertificateExpired):
        world.own.rotate_if_due()
    world.own.use_signer(world.authority.signer(PROVIDER, AGENT))
    assert world.own.rotate_if_due() and world.open().seq == 2


def test_a_revoked_key_is_left_out_and_a_revoked_certificate_refused(world: World) -> None:
    statement, kid = world.own.bundle, world.own.signing_kid
    revoking = trust_list(revoked_kids=frozenset({kid}))
    assert kid not in open_bundle(statement, world.anchor, at_ms=NOW_MS, trust=revoking).signing
    serial = x509.load_der_x509_certificate(statement.chain[0]).serial_number
    with pytest.raises(Revoked):
        open_bundle(
            statement, world.anchor, at_ms=NOW_MS, trust=trust_list(revoked_serials=frozenset({serial}))
        )


def test_no_sealing_key_is_given_out_that_is_over_revoked_or_of_another_suite(world: World) -> None:
    peer = world.open()
    kid, _ = peer.sealing_key(XWING_SUITE, now_ms=NOW_MS)
    for number, now_ms, revoked in (
        (X25519_SUITE, NOW_MS, b""),
        (XWING_SUITE, NOW_MS + DAY_MS, b""),
        (XWING_SUITE, NOW_MS - DAY_MS, b""),
        (XWING_SUITE, NOW_MS, kid),
    ):
        with pytest.raises(BundleStale):
            peer.sealing_key(number, now_ms=now_ms, trust=trust_list(revoked_kids=frozenset({revoked})))


def test_the_longest_lived_sealing_key_is_given_out(world: World) -> None:
    first, _ = world.open().sealing_key(XWING_SUITE, now_ms=NOW_MS)
    world.chain(2)
    peer = world.open()
    assert first in peer.sealing
    assert peer.sealing_key(XWING_SUITE, now_ms=world.clock.ms)[0] != first


def test_a_sealing_key_is_erased_when_its_day_is_over(world: World) -> None:
    (kid,) = world.open().sealing
    secret = world.own.sealing_private(kid)
    world.chain(2)
    assert world.own.sealing_private(kid) == secret
    world.clock.ms = NOW_MS + DAY_MS + 2 * 60_000
    assert world.own.sealing_private(kid) is None
    world.own.rotate_if_due()
    assert secret not in [world.keystore.get(name) for name in world.keystore.names()]
    assert kid.hex() not in "".join(world.keystore.names())


def test_a_signing_key_is_replaced_after_a_week_and_its_public_part_stays_for_a_day(world: World) -> None:
    first, secret = world.own.signing_kid, bytes(world.own.signing_key)
    world.chain(14, step_ms=12 * HOUR_MS)
    assert world.own.signing_kid == first
    world.confirm()
    world.clock.ms += 12 * HOUR_MS
    world.own.rotate_if_due()
    assert world.own.signing_kid == first
    world.confirm()
    assert world.own.signing_kid != first and first in world.open().signing
    assert secret not in [world.keystore.get(name) for name in world.keystore.names()]


def test_nothing_is_due_within_half_a_bundles_life(world: World) -> None:
    world.confirm()
    assert not world.own.rotate_if_due()
    world.clock.ms += 11 * HOUR_MS
    assert not world.own.rotate_if_due()
    world.clock.ms += HOUR_MS
    assert world.own.rotate_if_due() and world.own.seq == 2


def test_what_is_sent_goes_by_the_bundle_that_the_log_holds_until_it_ends(world: World) -> None:
    world.confirm()
    held, ends_ms = world.own.bundle_digest, world.open().expires_at_ms
    world.clock.ms += 12 * HOUR_MS
    assert world.own.rotate_if_due() and world.own.bundle_digest != held == world.own.spoken_digest
    second = world.own.bundle_digest
    world.clock.ms = ends_ms
    assert not world.own.rotate_if_due() and world.own.spoken_digest == second
    world.confirm()
    assert world.own.seq == 3 and world.own.spoken_digest == second


@pytest.mark.parametrize("confirmed", [True, False])
def test_another_certificate_signs_a_bundle_of_its_own_at_once(world: World, confirmed: bool) -> None:
    if confirmed:
        world.confirm()
    first, keys = world.own.bundle, world.own.signing_kid
    assert not world.own.rotate_if_due()
    world.signer = world.authority.signer(PROVIDER, AGENT)
    again = world.start()
    assert again.bundle.chain[0] == world.signer.certificate != first.chain[0]
    assert again.signing_kid == keys
    assert again.seq == (2 if confirmed else 1)


def test_a_bundle_that_an_ending_certificate_cut_short_is_renewed_with_the_next_one(world: World) -> None:
    ends_ms = NOW_MS + HOUR_MS
    world.keystore = MemoryKeyStore()
    world.signer = world.authority.signer(PROVIDER, AGENT, not_after_ms=ends_ms)
    world.own = world.start()
    world.confirm()
    assert world.open().expires_at_ms == ends_ms
    world.own.use_signer(world.authority.signer(PROVIDER, AGENT))
    assert world.own.rotate_if_due() and world.open().expires_at_ms > ends_ms


def test_keys_sequence_and_bundle_survive_a_restart(world: World) -> None:
    world.chain(3)
    again = world.start()
    assert again.bundle == world.own.bundle and again.bundle_digest == world.own.bundle_digest
    assert again.signing_kid == world.own.signing_kid and bytes(again.signing_key) == bytes(
        world.own.signing_key
    )
    (newest, _) = world.open().sealing_key(XWING_SUITE, now_ms=world.clock.ms)
    assert again.sealing_private(newest) == world.own.sealing_private(newest) is not None


def test_a_start_erases_strays_and_finds_missing_keys(world: World) -> None:
    world.keystore.put("key-" + "00" * 16, b"stray")
    world.start()
    assert "key-" + "00" * 16 not in world.keystore.names()
    world.keystore.delete("key-" + world.own.signing_kid.hex())
    with pytest.raises(StoreDamaged):
        world.start()
    world.keystore.put("bundle-state", b"{}{")
    with pytest.raises(StoreDamaged):
        world.start()


def test_there_is_no_next_bundle_before_the_newest_is_confirmed(world: World) -> None:
    world.clock.ms += 13 * HOUR_MS
    assert not world.own.rotate_if_due() and world.own.seq == 1
    assert world.own.confirm(1, world.own.bundle_digest) and world.own.seq == 2


def test_a_bundle_that_expired_unconfirmed_is_made_anew_under_its_sequence(world: World) -> None:
    first = world.own.bundle_digest
    world.clock.ms += DAY_MS
    assert world.own.rotate_if_due()
    assert world.own.seq == 1 and world.own.bundle_digest != first
    assert world.open().seq == 1


def test_the_chain_goes_on_from_an_earlier_attempt_that_was_logged_after_all(world: World) -> None:
    first = world.own.bundle_digest
    world.clock.ms += DAY_MS
    world.own.rotate_if_due()
    assert world.own.confirm(1, first)
    assert (world.open().seq, world.open().previous) == (2, first)


def test_a_bundle_in_our_name_that_we_did_not_make_is_told(world: World) -> None:
    for seq in (1, 2):
        with pytest.raises(BundleRollback):
            world.own.confirm(seq, bytes(32))
    world.confirm()
    assert not world.own.confirm(1, world.own.bundle_digest)
    with pytest.raises(BundleRollback):
        world.own.confirm(1, bytes(32))


def test_a_change_of_suite_makes_a_sealing_key_for_it(world: World) -> None:
    world.confirm()
    world.own.use_suite(X25519_SUITE)
    assert world.own.rotate_if_due()
    assert {key.suite for key in world.open().sealing.values()} == {X25519_SUITE, XWING_SUITE}
    with pytest.raises(WrongSuite):
        world.own.use_suite(9)


@pytest.fixture(params=["memory", "file"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "bundles.db" if request.param == "file" else None


def test_a_book_follows_the_chain_and_knows_the_newest_and_the_one_before(
    world: World, path: Path | None
) -> None:
    book, statements = world.book(path), world.chain(3, step_ms=12 * HOUR_MS)
    digests = [digest(BUNDLE, statement.body) for statement in statements]
    world.clock.ms = NOW_MS
    assert book.accept(statements[:1], None).seq == 1
    world.clock.ms = NOW_MS + 12 * HOUR_MS
    assert book.accept(statements[1:2], None).seq == 2
    assert [book.by_digest(one) is not None for one in digests] == [True, True, False]
    world.clock.ms = NOW_MS + 24 * HOUR_MS
    assert book.accept(statements[1:], None).seq == 3
    assert [book.by_digest(one) is not None for one in digests] == [False, True, True]
    newest = book.newest(PROVIDER, AGENT)
    assert (
        newest is not None and newest.digest == digests[2] and book.mark(PROVIDER, AGENT) == (3, digests[2])
    )
    book.close()


def test_bundles_missed_are_taken_together_though_they_have_expired(world: World, path: Path | None) -> None:
    book, statements = world.book(path), world.chain(8)
    world.clock.ms, now_ms = NOW_MS, world.clock.ms
    book.accept(statements[:1], None)
    world.clock.ms = now_ms
    assert book.accept(statements[1:], None).seq == 8
    assert book.by_digest(digest(BUNDLE, statements[6].body)) is not None
    assert book.by_digest(digest(BUNDLE, statements[0].body)) is None


def test_lower_sequences_forks_and_gaps_are_refused(world: World, path: Path | None) -> None:
    book, statements = world.book(path), world.chain(5, step_ms=12 * HOUR_MS)
    book.accept(statements[3:4], None)
    forked_now, forked_next = world.fork(statements[3]), world.fork(statements[4])
    after_fork = Body.FromString(forked_next.body)
    after_fork.previous = digest(BUNDLE, forked_now.body)
    for offered in (
        [statements[2], forked_now],
        [forked_now],
        [forked_now, world.signer.sign(BUNDLE, after_fork.SerializeToString())],
        [world.signer.sign(BUNDLE, after_fork.SerializeToString())],
        [statements[2], statements[4]],
        [statements[4], statements[3]],
    ):
        with pytest.raises(BundleRollback):
            book.accept(offered, None)
    assert book.mark(PROVIDER, AGENT) == (4, digest(BUNDLE, statements[3].body))
    assert book.accept(statements[3:], None).seq == 5
    with pytest.raises(BundleRollback):
        book.accept(statements[3:4], None)


def test_a_gap_after_the_mark_is_refused(world: World) -> None:
    book, statements = world.book(), world.chain(3, step_ms=12 * HOUR_MS)
    world.clock.ms = NOW_MS
    book.accept(statements[:1], None)
    world.clock.ms = NOW_MS + 24 * HOUR_MS
    with pytest.raises(BundleRollback):
        book.accept(statements[2:], None)


def test_a_mark_survives_a_restart_and_refuses_a_rollback(world: World, tmp_path: Path) -> None:
    book, statements = world.book(tmp_path / "bundles.db"), world.chain(2, step_ms=12 * HOUR_MS)
    book.accept(statements[1:], None)
    book.close()
    again = world.book(tmp_path / "bundles.db")
    assert again.newest(PROVIDER, AGENT) is None
    with pytest.raises(BundleRollback):
        again.accept(statements[:1], None)
    assert again.accept(statements[1:], None).seq == 2
    again.close()


def test_keys_are_not_used_where_the_mark_could_not_be_written(world: World, tmp_path: Path) -> None:
    book = world.book(tmp_path / "bundles.db")
    book.close()
    with pytest.raises(StoreDamaged):
        book.accept([world.own.bundle], None)
    assert book.newest(PROVIDER, AGENT) is None and book.mark(PROVIDER, AGENT) is None


def test_a_damaged_book_is_told(world: World, tmp_path: Path) -> None:
    (tmp_path / "bundles.db").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreDamaged):
        world.book(tmp_path / "bundles.db")


def test_a_bundle_below_the_trust_lists_least_sequence_is_refused(world: World) -> None:
    book, trust = world.book(), trust_list(least_seq={(PROVIDER, AGENT): 2})
    with pytest.raises(BundleRollback):
        book.accept([world.own.bundle], trust)
    assert book.accept(world.chain(2)[1:], trust).seq == 2


def test_keys_of_an_expired_bundle_are_not_given_out(world: World) -> None:
    book = world.book()
    book.accept([world.own.bundle], None)
    world.clock.ms += DAY_MS
    assert book.newest(PROVIDER, AGENT) is None and book.by_digest(world.own.bundle_digest) is None


def test_a_newer_trust_list_drops_what_it_revokes_and_the_mark_stays(world: World) -> None:
    book = world.book()
    book.accept([world.own.bundle], None)
    assert book.recheck(trust_list()) == []
    revoking = trust_list(revoked_kids=frozenset({world.own.signing_kid}))
    assert book.recheck(revoking) == []
    held = book.newest(PROVIDER, AGENT)
    assert held is not None and not held.signing and book.by_digest(held.digest) is held
    ((organisation, agent, error),) = book.recheck(trust_list(least_seq={(PROVIDER, AGENT): 2}))
    assert (organisation, agent) == (PROVIDER, AGENT) and isinstance(error, BundleRollback)
    assert book.newest(PROVIDER, AGENT) is None and book.by_digest(world.own.bundle_digest) is None
    assert book.mark(PROVIDER, AGENT) == (1, world.own.bundle_digest)


def test_bundles_of_several_agents_none_or_too_many_are_refused(world: World) -> None:
    def change(body: Body) -> None:
        body.agent, body.seq, body.previous = "police-2", 2, world.own.bundle_digest

    other = world.altered(change, world.authority.signer(PROVIDER, "police-2"))
    for offered, error in (
        ([world.own.bundle, other], Malformed),
        ([], Malformed),
        ([other] * 1025, Oversized),
    ):
        with pytest.raises(error):
            world.book().accept(offered, None)
