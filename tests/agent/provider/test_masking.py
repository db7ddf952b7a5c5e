from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.provider.masking import Mask, MaskKind, masker
from exchange.errors import BadConfiguration


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
    assert masker(Mask(kind=kind), "text")(None) is None


def test_a_text_that_is_no_date_cannot_be_generalised():
    with pytest.raises(ValueError, match="no date"):
        masker(Mask(kind=MaskKind.YEAR), "text")("soon")


@pytest.mark.parametrize(
    ("kind", "type"), [(MaskKind.KEEP, "integer"), (MaskKind.YEAR, "integer"), (MaskKind.MONTH, "timestamp")]
)
def test_a_mask_that_does_not_fit_the_type_is_refused(kind, type):
    with pytest.raises(BadConfiguration):
        Mask(kind=kind).check("f", type)
