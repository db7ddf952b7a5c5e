import re
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.provider.masking import REDACT, Mask, MaskKind, mask_of, masker, stricter
from agent.provider.pseudonyms import Pseudonyms, pseudonyms_in
from exchange.clock import system_random
from exchange.errors import BadConfiguration
from exchange.field_rules import MaskRule
from exchange.keystore import MemoryKeyStore


@pytest.mark.parametrize(
    ("first", "last", "text", "masked"),
    [
        (1, 0, "张三丰", "张**"),
        (0, 1, "张三丰", "**丰"),
        (6, 4, "970102199001010011", "970102********0011"),
        (1, 1, "张三", "**"),
        (1, 0, "张", "*"),
        (0, 0, "张三", "**"),
        (3, 0, "", ""),
    ],
)
def test_the_ends_that_are_kept_are_kept_and_the_rest_is_hidden(first, last, text, masked):
    assert masker(Mask(kind=MaskKind.KEEP, first=first, last=last), "text")(text) == masked


@given(st.text(min_size=1), st.integers(0, 20), st.integers(0, 20))
def test_a_mask_always_hides_something_and_never_the_length(text, first, last):
    masked = masker(Mask(kind=MaskKind.KEEP, first=first, last=last), "text")(text)
    assert len(masked) == len(text)
    assert "*" in masked


@pytest.mark.parametrize(
    ("kind", "type", "value", "masked"),
    [
        (MaskKind.YEAR, "date", date(1990, 5, 17), date(1990, 1, 1)),
        (MaskKind.MONTH, "date", date(1990, 5, 17), date(1990, 5, 1)),
        (MaskKind.YEAR, "text", "1990-05-17", "1990"),
        (MaskKind.MONTH, "text", "1990-05-17", "1990-05"),
        (MaskKind.REDACT, "text", "secret", "***"),
        (MaskKind.REDACT, "integer", 7, None),
    ],
)
def test_dates_are_generalised_and_values_redacted(kind, type, value, masked):
    assert masker(Mask(kind=kind), type)(value) == masked


@pytest.mark.parametrize("kind", list(MaskKind))
def test_nothing_stays_nothing(kind):
    assert masker(Mask(kind=kind, first=1, band=1), "text", lambda text: "p" + text)(None) is None


def test_a_text_that_is_no_date_cannot_be_generalised():
    with pytest.raises(ValueError, match="no date"):
        masker(Mask(kind=MaskKind.YEAR), "text")("soon")


@pytest.mark.parametrize(
    ("kind", "type"), [(MaskKind.KEEP, "integer"), (MaskKind.YEAR, "integer"), (MaskKind.MONTH, "timestamp")]
)
def test_a_mask_that_does_not_fit_the_type_is_refused(kind, type):
    with pytest.raises(BadConfiguration):
        Mask(kind=kind).check("f", type)


@pytest.mark.parametrize(
    ("first", "text", "masked"),
    [
        (2, "970102", "97"),
        (4, "970102199001010011", "9701"),
        (6, "970102", "******"),
        (4, "97", "****"),
        (2, "东桥区示范路", "**"),
        (2, "９７０１", "**"),
        (2, "97东桥区", "**"),
        (6, "97010219900101001X", "970102"),
    ],
)
def test_a_code_is_cut_to_its_first_digits_and_what_is_no_longer_code_is_hidden(first, text, masked):
    assert masker(Mask(kind=MaskKind.PREFIX, first=first), "text")(text) == masked


@pytest.mark.parametrize(
    ("type", "value", "band", "masked"),
    [
        ("integer", 37, 10, 30),
        ("integer", 40, 10, 40),
        ("integer", -1, 10, -10),
        ("decimal", Decimal("37.5"), 10, Decimal(30)),
        ("decimal", Decimal("-0.1"), 10, Decimal(-10)),
        (
            "decimal",
            Decimal("12345678901234567890123456789012345.67"),
            10,
            Decimal("12345678901234567890123456789012340"),
        ),
    ],
)
def test_a_number_is_rounded_down_to_its_band(type, value, band, masked):
    assert masker(Mask(kind=MaskKind.BAND, band=band), type)(value) == masked


def test_a_pseudonym_is_stable_for_one_consumer_purpose_and_field_and_for_no_other():
    pseudonyms = Pseudonyms(bytes(32))
    one = pseudonyms.of("consumer", "purpose", "field", "value")
    assert one == Pseudonyms(bytes(32)).of("consumer", "purpose", "field", "value")
    assert re.fullmatch(r"[0-9a-f]{32}", one)
    others = {
        pseudonyms.of("other", "purpose", "field", "value"),
        pseudonyms.of("consumer", "other", "field", "value"),
        pseudonyms.of("consumer", "purpose", "other", "value"),
        pseudonyms.of("consumer", "purpose", "field", "other"),
        pseudonyms.of("consumerp", "urpose", "field", "value"),
        Pseudonyms(b"\1" * 32).of("consumer", "purpose", "field", "value"),
    }
    assert len(others) == 6 and one not in others


def test_the_key_of_pseudonyms_is_made_once_and_kept():
    keystore = MemoryKeyStore()
    first, again = (pseudonyms_in(keystore, system_random) for _ in range(2))
    assert first.of("c", "p", "f", "v") == again.of("c", "p", "f", "v")
    other = pseudonyms_in(MemoryKeyStore(), system_random)
    assert other.of("c", "p", "f", "v") != first.of("c", "p", "f", "v")


KEEP, PREFIX, BAND, PSEUDONYM = MaskKind.KEEP, MaskKind.PREFIX, MaskKind.BAND, MaskKind.PSEUDONYM
YEAR, MONTH = Mask(kind=MaskKind.YEAR), Mask(kind=MaskKind.MONTH)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (None, None, None),
        (None, YEAR, YEAR),
        (Mask(kind=KEEP, first=3, last=1), REDACT, REDACT),
        (
            Mask(kind=KEEP, first=3, last=1),
            Mask(kind=KEEP, first=1, last=4),
            Mask(kind=KEEP, first=1, last=1, short=5),
        ),
        (Mask(kind=PREFIX, first=4), Mask(kind=PREFIX, first=2), Mask(kind=PREFIX, first=2, short=4)),
        (Mask(kind=PREFIX, first=4), Mask(kind=KEEP, first=1, last=4), Mask(kind=PREFIX, first=1, short=5)),
        (Mask(kind=PREFIX, first=4), Mask(kind=KEEP, last=4), REDACT),
        (Mask(kind=BAND, band=4), Mask(kind=BAND, band=6), Mask(kind=BAND, band=12)),
        (Mask(kind=BAND, band=10**18), Mask(kind=BAND, band=7), REDACT),
        (YEAR, MONTH, YEAR),
        (YEAR, Mask(kind=KEEP, first=2), REDACT),
        (Mask(kind=PSEUDONYM), Mask(kind=PSEUDONYM), Mask(kind=PSEUDONYM)),
        (Mask(kind=PSEUDONYM), MONTH, Mask(kind=PSEUDONYM, within=MONTH)),
        (Mask(kind=PSEUDONYM, within=MONTH), YEAR, Mask(kind=PSEUDONYM, within=YEAR)),
        (Mask(kind=PSEUDONYM, within=MONTH), Mask(kind=KEEP, first=1), REDACT),
    ],
)
def test_of_two_masks_the_one_that_shows_no_more_than_either_applies(one, other, both):
    assert stricter(one, other) == both
    assert stricter(other, one) == both


_text_masks = st.one_of(
    st.builds(Mask, kind=st.just(KEEP), first=st.integers(0, 8), last=st.integers(0, 8)),
    st.builds(Mask, kind=st.just(PREFIX), first=st.integers(1, 8)),
    st.just(REDACT),
)


@given(st.from_regex(r"[0-9]{1,8}[0-9X东]{0,4}", fullmatch=True), _text_masks, _text_masks)
def test_no_combination_shows_a_character_that_one_of_the_two_hides(text, one, other):
    both = masker(stricter(one, other), "text")(text)
    alone = [masker(mask, "text")(text) for mask in (one, other)]
    if both == "***":
        return
    for at, character in enumerate(both):
        if character != "*":
            assert character == text[at]
            assert all(at < len(each) and each[at] == character for each in alone)


@pytest.mark.parametrize(
    ("mask", "type"),
    [
        (Mask(kind=PREFIX, first=2), "integer"),
        (Mask(kind=PREFIX), "text"),
        (Mask(kind=BAND, band=5), "text"),
        (Mask(kind=BAND), "integer"),
        (Mask(kind=KEEP, first=1, band=3), "text"),
        (Mask(kind=PSEUDONYM), "integer"),
    ],
)
def test_masks_of_codes_numbers_and_pseudonyms_must_fit_too(mask, type):
    with pytest.raises(BadConfiguration):
        mask.check("f", type)


@pytest.mark.parametrize("kind", list(MaskKind))
def test_every_way_to_hide_is_one_of_the_catalogues(kind):
    assert mask_of(MaskRule(kind=kind.number, first=1, last=2, band=3)) == Mask(
        kind=kind, first=1, last=2, band=3
    )
