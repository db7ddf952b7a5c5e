"""Tags of subjects: periods, canonical identifiers, keyed hashes, decoys and roots."""

import hashlib
import hmac
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange import subject_tags
from exchange.clock import BEIJING, system_random
from exchange.errors import BadIdentifier, Malformed, Oversized
from exchange.merkle import leaf_hash, root_of

CITIZEN, WITH_X, CODE = "970102199001010011", "97010219900101002X", "91350100M000100Y43"
KEY, OTHER = b"p" * 32, b"g" * 32


def at(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=BEIJING).timestamp() * 1000)  # type: ignore[arg-type, misc]


def test_a_quarter_begins_at_midnight_in_beijing() -> None:
    first = at(2026, 10, 1)
    assert subject_tags.period_of(first - 1) == "2026Q3"
    assert subject_tags.period_of(first) == "2026Q4"
    assert subject_tags.period_start_ms("2026Q4") == first == subject_tags.period_end_ms("2026Q3")
    assert subject_tags.next_period("2026Q4") == "2027Q1"


@given(st.integers(min_value=0, max_value=4_000_000_000_000))
def test_every_time_lies_in_its_own_period(ms: int) -> None:
    period = subject_tags.period_of(ms)
    assert subject_tags.period_start_ms(period) <= ms < subject_tags.period_end_ms(period)


@pytest.mark.parametrize(
    "period", ["", "2026Q5", "2026q4", "2026Q0", "26Q1", "２０２６Q1", "0000Q1", "2026Q1 "]
)
def test_what_is_no_period_is_refused(period: str) -> None:
    with pytest.raises(Malformed):
        subject_tags.check_period(period)


@pytest.mark.parametrize(
    "typed", [WITH_X, WITH_X.lower(), f" {WITH_X} ", "９７０１０２１９９００１０１００２Ｘ"]
)
def test_an_identifier_is_tagged_in_one_form_however_it_was_typed(typed: str) -> None:
    assert subject_tags.canonical_identifier("citizen_id", typed) == WITH_X


def test_an_identifier_with_a_wrong_checksum_is_refused_without_its_value() -> None:
    with pytest.raises(BadIdentifier) as refused:
        subject_tags.canonical_identifier("citizen_id", "970102199001010012")
    assert "97010219900101" not in str(refused.value)


@pytest.mark.parametrize("format", ["", "division", "name"])
def test_a_format_that_names_no_subject_is_refused(format: str) -> None:
    with pytest.raises(Malformed):
        subject_tags.canonical_identifier(format, CITIZEN)


def test_the_two_hashes_are_hmac_sha_256_under_strings_of_their_own() -> None:
    inner = subject_tags.inner_tag(KEY, "citizen_id", CITIZEN)
    text = b"shuqiao/subject-inner/1\0citizen_id\0" + CITIZEN.encode()
    assert inner == hmac.new(KEY, text, hashlib.sha256).digest()
    outer = subject_tags.OuterTags(OTHER).of(inner)
    assert outer == hmac.new(OTHER, b"shuqiao/subject-outer/1\0" + inner, hashlib.sha256).digest()


def test_format_and_key_and_period_key_all_change_a_tag() -> None:
    made = {
        subject_tags.inner_tag(KEY, "citizen_id", CITIZEN),
        subject_tags.inner_tag(OTHER, "citizen_id", CITIZEN),
        subject_tags.inner_tag(KEY, "credit_code", CITIZEN),
        subject_tags.inner_tag(KEY, "citizen_id", WITH_X),
    }
    assert len(made) == 4


@given(st.integers(min_value=0, max_value=256), st.integers(min_value=0, max_value=300))
def test_a_padded_list_has_the_length_of_a_step_whatever_it_holds(real: int, room: int) -> None:
    tags = [subject_tags.inner_tag(KEY, "citizen_id", str(n)) for n in range(real)]
    size = subject_tags.step_of(max(real, room))
    made = subject_tags.padded(tags + tags[:1], size, system_random)
    assert len(made) == size in subject_tags.STEPS
    assert made == sorted(made) and set(tags) <= set(made)
    subject_tags.check_tags("2026Q4", made)


def test_more_tags_than_places_are_refused() -> None:
    with pytest.raises(Oversized):
        subject_tags.padded([bytes([n]) * 32 for n in range(5)], 4, system_random)


def test_a_list_without_period_or_of_a_wrong_form_is_refused() -> None:
    four = sorted(system_random(32) for _ in range(4))
    subject_tags.check_tags("", [])
    subject_tags.check_tags("2026Q4", four)
    for period, tags in (
        ("", four),
        ("2026Q4", []),
        ("now", four),
        ("2026Q4", four[:3]),
        ("2026Q4", four[::-1]),
        ("2026Q4", [four[0]] * 4),
        ("2026Q4", [*four[:3], four[3] + b"\0"]),
        ("2026Q4", [four[3][:31]]),
        ("2026Q4", sorted(system_random(32) for _ in range(257))),
    ):
        with pytest.raises(Malformed):
            subject_tags.check_tags(period, tags)


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=64), st.binary(max_size=200))
def test_the_keyed_hash_is_hmac(key: bytes, domain: bytes, message: bytes) -> None:
    due = hmac.new(key, domain + message, hashlib.sha256).digest()
    assert subject_tags.KeyedHash(key, domain).of(message) == due


@given(st.text(max_size=40))
def test_what_is_tagged_and_what_is_asked_for_have_the_same_form(text: str) -> None:
    try:
        canonical = subject_tags.canonical_identifier("citizen_id", text)
    except BadIdentifier:
        return
    assert subject_tags.tagged_form(text) == canonical


@pytest.mark.parametrize("count", [*range(20), 63, 64, 65, 256])
def test_the_root_agrees_with_the_logs_own(count: int) -> None:
    tags = [number.to_bytes(32, "big") for number in range(count)]
    assert subject_tags.tag_root(tags) == root_of([leaf_hash(tag) for tag in tags])


def test_the_root_is_that_of_rfc_6962_over_the_tags() -> None:
    tags = [bytes([n]) * 32 for n in range(4)]
    leaves = [hashlib.sha256(b"\0" + tag).digest() for tag in tags]
    pairs = [hashlib.sha256(b"\1" + leaves[n] + leaves[n + 1]).digest() for n in (0, 2)]
    assert subject_tags.tag_root(tags) == hashlib.sha256(b"\1" + pairs[0] + pairs[1]).digest()
    assert subject_tags.tag_root(tags[:1]) == leaves[0]


def test_a_joined_list_comes_apart_only_at_whole_tags() -> None:
    tags = [bytes([n]) * 32 for n in range(4)]
    assert subject_tags.split_tags(b"".join(tags)) == tags
    with pytest.raises(Malformed):
        subject_tags.split_tags(b"x" * 33)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (f"complaint of {CITIZEN}", True),
        (f"投诉{WITH_X.lower()}号", True),
        ("case LJ-2026-000123, complaint 17", False),
        ("1" * 19, False),
    ],
)
def test_a_text_with_what_looks_like_a_citizen_id_is_told_apart(text: str, named: bool) -> None:
    assert subject_tags.names_a_person(text) is named


def test_a_credit_code_is_a_subject_too() -> None:
    assert subject_tags.canonical_identifier("credit_code", CODE.lower()) == CODE
