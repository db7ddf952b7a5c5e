import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange import session
from exchange.errors import BundleStale, SealBroken, WrongSuite
from exchange.session import ConsumerSessions, ProviderSessions, Session, session_info
from exchange.suites import SUITES, X25519_SUITE, suite
from tests.support.sealing import NOW_MS, StillClock, header_of, numbered_random, parties

SUITE = suite(X25519_SUITE)
PRIVATE, PUBLIC = SUITE.generate(numbered_random())
LATER_MS = NOW_MS + 3_600_000


def consumer(clock: StillClock, **options: int) -> ConsumerSessions:
    return ConsumerSessions(clock=clock, random=numbered_random(b"sessions"), **options)


def begun(clock: StillClock) -> Session:
    return consumer(clock).current(SUITE, parties(), PUBLIC, until_ms=LATER_MS)


@pytest.mark.parametrize("number", SUITES)
def test_a_provider_unwraps_the_secret_that_the_consumer_drew(number: int) -> None:
    clock, chosen = StillClock(), suite(number)
    private, public = chosen.generate()
    made = consumer(clock).current(chosen, parties(), public, until_ms=LATER_MS)
    header = header_of(parties(), suite=number, session_id=made.id, expiry_ms=made.expiry_ms)
    assert ProviderSessions(clock=clock).secret(header, made.wrap, private) == made.secret


@pytest.mark.parametrize(
    "change",
    [
        {"consumer_organisation": "91350100M000100Y43"},
        {"consumer_agent": "health-2"},
        {"consumer_kid": b"d" * 16},
        {"provider_organisation": "91350100M000100Y43"},
        {"provider_agent": "police-2"},
        {"provider_kid": b"q" * 16},
    ],
)
@pytest.mark.parametrize("warm", [False, True])
def test_a_wrap_pasted_into_a_request_between_others_does_not_open(
    change: dict[str, str], warm: bool
) -> None:
    clock = StillClock()
    made, provider = begun(clock), ProviderSessions(clock=clock)
    own = {"suite": X25519_SUITE, "session_id": made.id, "expiry_ms": made.expiry_ms}
    if warm:
        provider.secret(header_of(parties(), **own), made.wrap, PRIVATE)
    with pytest.raises(SealBroken):
        provider.secret(header_of(parties(**change), **own), made.wrap, PRIVATE)


def test_a_wrap_under_another_session_id_expiry_or_suite_does_not_open() -> None:
    clock = StillClock()
    made, provider = begun(clock), ProviderSessions(clock=clock)
    own = {"suite": X25519_SUITE, "session_id": made.id, "expiry_ms": made.expiry_ms}
    provider.secret(header_of(parties(), **own), made.wrap, PRIVATE)
    for change in (
        {"session_id": bytes(16)},
        {"session_id": b""},
        {"expiry_ms": made.expiry_ms + 1},
        {"suite": 2},
    ):
        with pytest.raises(SealBroken):
            provider.secret(header_of(parties(), **(own | change)), made.wrap, PRIVATE)
    for number in (0, 0x0101, 0x10001):
        with pytest.raises(WrongSuite):
            provider.secret(header_of(parties(), **(own | {"suite": number})), made.wrap, PRIVATE)


def test_an_altered_wrap_is_refused_even_while_the_true_one_is_remembered() -> None:
    clock = StillClock()
    made, provider = begun(clock), ProviderSessions(clock=clock)
    header = header_of(parties(), suite=X25519_SUITE, session_id=made.id, expiry_ms=made.expiry_ms)
    provider.secret(header, made.wrap, PRIVATE)
    for wrap in (made.wrap[:-1] + bytes([made.wrap[-1] ^ 1]), made.wrap + b"\0", b""):
        with pytest.raises(SealBroken):
            provider.secret(header, wrap, PRIVATE)


def test_a_session_that_ended_or_lives_longer_than_five_minutes_is_refused() -> None:
    clock = StillClock()
    made, provider = begun(clock), ProviderSessions(clock=clock)
    header = header_of(parties(), suite=X25519_SUITE, session_id=made.id, expiry_ms=made.expiry_ms)
    provider.secret(header, made.wrap, PRIVATE)
    for now_ms in (
        made.expiry_ms + session.SKEW_MS,
        made.expiry_ms - session.LIFETIME_MS - session.SKEW_MS - 1,
    ):
        clock.ms = now_ms
        with pytest.raises(SealBroken):
            provider.secret(header, made.wrap, PRIVATE)


def test_a_remembered_secret_needs_no_private_key_and_is_forgotten_after_its_session() -> None:
    clock = StillClock()
    made, provider = begun(clock), ProviderSessions(clock=clock)
    header = header_of(parties(), suite=X25519_SUITE, session_id=made.id, expiry_ms=made.expiry_ms)
    provider.secret(header, made.wrap, PRIVATE)
    assert provider.secret(header, made.wrap, b"") == made.secret
    clock.ms = made.expiry_ms + session.SKEW_MS
    provider.forget_ended()
    clock.ms = NOW_MS
    with pytest.raises(SealBroken):
        provider.secret(header, made.wrap, b"")


def test_a_consumer_uses_one_session_until_it_nears_its_end() -> None:
    clock = StillClock()
    sessions = consumer(clock)
    first = sessions.current(SUITE, parties(), PUBLIC, until_ms=LATER_MS)
    assert first.expiry_ms == NOW_MS + session.LIFETIME_MS
    clock.ms = first.expiry_ms - session.MARGIN_MS - 1
    assert sessions.current(SUITE, parties(), PUBLIC, until_ms=LATER_MS) is first
    clock.ms += 1
    assert sessions.current(SUITE, parties(), PUBLIC, until_ms=LATER_MS) is not first


def test_a_session_serves_65536_exchanges_and_no_more() -> None:
    sessions = consumer(StillClock())
    made = {sessions.current(SUITE, parties(), PUBLIC, until_ms=LATER_MS).id for _ in range(1 << 16)}
    assert len(made) == 1
    assert sessions.current(SUITE, parties(), PUBLIC, until_ms=LATER_MS).id not in made


def test_a_session_ends_no_later_than_the_providers_key() -> None:
    sessions = consumer(StillClock())
    assert sessions.current(SUITE, parties(), PUBLIC, until_ms=NOW_MS + 60_000).expiry_ms == NOW_MS + 60_000
    with pytest.raises(BundleStale):
        sessions.current(SUITE, parties(consumer_agent="late"), PUBLIC, until_ms=NOW_MS)


def test_each_pair_of_keys_has_a_session_of_its_own_and_the_least_used_is_forgotten_first() -> None:
    sessions = consumer(StillClock(), max_sessions=2)

    def of(agent: str) -> Session:
        return sessions.current(SUITE, parties(provider_agent=agent), PUBLIC, until_ms=LATER_MS)

    one, two = of("1"), of("2")
    assert of("1") is one
    of("3")
    assert of("1") is one and of("2") is not two


def test_a_consumer_forgets_ended_sessions() -> None:
    clock = StillClock()
    sessions = consumer(clock)
    first = sessions.current(SUITE, parties(), PUBLIC, until_ms=LATER_MS)
    clock.ms = first.expiry_ms
    sessions.forget_ended()
    clock.ms = NOW_MS
    assert sessions.current(SUITE, parties(), PUBLIC, until_ms=LATER_MS) is not first


def test_a_sessions_secret_is_not_shown() -> None:
    made = begun(StillClock())
    assert made.secret.hex() not in repr(made) and repr(made.secret) not in repr(made)


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3)), min_size=2, max_size=2, unique=True))
def test_no_two_pairs_of_names_share_an_info(names: list[tuple[str, str]]) -> None:
    infos = {
        session_info(
            suite=1,
            **parties(consumer_organisation=first, consumer_agent=second)._asdict(),
            session_id=bytes(16),
            expiry_ms=0,
        )
        for first, second in names
    }
    assert len(infos) == 2
