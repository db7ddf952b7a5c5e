import copy
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.envelope import (
    MAX_CELL_BYTES,
    SLOT_STEPS,
    ColumnPlan,
    DirectionKey,
    direction_key,
    open_,
    seal,
    slots_of,
)
from exchange.errors import Malformed, Oversized, SealBroken
from exchange.suites import DEFAULT_SUITE, suite
from exchange.v1 import exchange_pb2

SUITE = suite(DEFAULT_SUITE)
SECRET, HEADER = b"s" * 32, b"header"
Values = list[list[bytes | None]]

paddings = st.sampled_from([16, 17, 64, 4096])
values = st.one_of(
    st.none(), st.binary(max_size=100), st.sampled_from([b"", b"\0", b"\x80", b"\x80\0\0", b"\0" * 63])
)


@st.composite
def tables(draw: st.DrawFn, max_records: int = 20) -> tuple[list[ColumnPlan], int]:
    records = draw(st.integers(0, max_records))
    columns = [
        ColumnPlan(
            f"field_{number}", draw(st.lists(values, min_size=records, max_size=records)), draw(paddings)
        )
        for number in range(draw(st.integers(1, 5)))
    ]
    return columns, records


def fresh(header: bytes = HEADER, secret: bytes = SECRET) -> DirectionKey:
    return direction_key(SUITE, secret, header, "request")


def expected(columns: list[ColumnPlan]) -> list[tuple[str, int]]:
    return [(column.name, column.padding) for column in columns]


def plain(columns: list[ColumnPlan]) -> Values:
    return [list(column.values) for column in columns]


def two_by_three() -> list[ColumnPlan]:
    return [ColumnPlan("name", [b"a", None, b"c"], 16), ColumnPlan("address", [b"x", b"y", b"z"], 16)]


@given(tables())
def test_what_was_sealed_opens_to_the_same_values(table: tuple[list[ColumnPlan], int]) -> None:
    columns, records = table
    assert open_(fresh(), seal(fresh(), columns, records), expected(columns)) == plain(columns)


@pytest.mark.parametrize("records", [0, 1, 2, 4, 5, 16, 17, 64, 65, 256, 257, 1000])
def test_every_number_of_records_travels_in_the_next_step_of_slots(records: int) -> None:
    columns = [ColumnPlan("a", [b"v"] * records, 16), ColumnPlan("b", [None] * records, 64)]
    envelope = seal(fresh(), columns, records)
    assert {len(column.cells) for column in envelope.columns} == {slots_of(records)}
    assert slots_of(records) in SLOT_STEPS and slots_of(records) >= records
    assert open_(fresh(), envelope, expected(columns)) == plain(columns)


@given(
    first=st.lists(st.one_of(st.none(), st.binary(max_size=61)), max_size=16),
    second=st.lists(st.one_of(st.none(), st.binary(max_size=61)), max_size=16),
)
def test_presence_null_and_length_within_a_block_do_not_show(first: list[bytes], second: list[bytes]) -> None:
    shapes = [
        [len(cell) for cell in seal(fresh(), [ColumnPlan("a", held, 64)], len(held)).columns[0].cells]
        for held in (first, second)
    ]
    if slots_of(len(first)) == slots_of(len(second)):
        assert shapes[0] == shapes[1]
    assert set(shapes[0] + shapes[1]) == {64 + 16}


@settings(max_examples=200)
@given(table=tables(), data=st.data())
def test_no_flipped_bit_opens(table: tuple[list[ColumnPlan], int], data: st.DataObject) -> None:
    columns, records = table
    envelope = seal(fresh(), columns, records)
    column = data.draw(st.integers(0, len(columns) - 1))
    slot = data.draw(st.integers(0, len(envelope.columns[column].cells) - 1))
    cell = bytearray(envelope.columns[column].cells[slot])
    bit = data.draw(st.integers(0, len(cell) * 8 - 1))
    cell[bit // 8] ^= 1 << bit % 8
    envelope.columns[column].cells[slot] = bytes(cell)
    with pytest.raises(SealBroken):
        open_(fresh(), envelope, expected(columns))


@given(st.integers(0, 255))
def test_no_flipped_bit_of_the_commitment_opens(bit: int) -> None:
    envelope = seal(fresh(), two_by_three(), 3)
    commit = bytearray(envelope.commit)
    commit[bit // 8] ^= 1 << bit % 8
    envelope.commit = bytes(commit)
    with pytest.raises(SealBroken, match="commit"):
        open_(fresh(), envelope, expected(two_by_three()))


def _swap_cells(envelope: exchange_pb2.Envelope) -> None:
    cells = envelope.columns[0].cells
    cells[0], cells[2] = cells[2], cells[0]


def _swap_absent_and_present(envelope: exchange_pb2.Envelope) -> None:
    cells = envelope.columns[0].cells
    cells[0], cells[3] = cells[3], cells[0]


def _swap_between_columns(envelope: exchange_pb2.Envelope) -> None:
    one, two = envelope.columns[0].cells, envelope.columns[1].cells
    one[0], two[0] = two[0], one[0]


def _swap_columns(envelope: exchange_pb2.Envelope) -> None:
    held = [copy.deepcopy(column) for column in envelope.columns]
    del envelope.columns[:]
    envelope.columns.extend(reversed(held))


def _swap_columns_under_their_names(envelope: exchange_pb2.Envelope) -> None:
    _swap_columns(envelope)
    envelope.columns[0].name, envelope.columns[1].name = "name", "address"


def _drop_cell(envelope: exchange_pb2.Envelope) -> None:
    del envelope.columns[0].cells[2]


def _shorten_all_columns_to_a_smaller_step(envelope: exchange_pb2.Envelope) -> None:
    for column in envelope.columns:
        del column.cells[1:]


def _repeat_cell(envelope: exchange_pb2.Envelope) -> None:
    envelope.columns[0].cells[1] = envelope.columns[0].cells[0]


def _add_cell(envelope: exchange_pb2.Envelope) -> None:
    for column in envelope.columns:
        column.cells.append(column.cells[0])


def _drop_column(envelope: exchange_pb2.Envelope) -> None:
    del envelope.columns[1]


def _repeat_column(envelope: exchange_pb2.Envelope) -> None:
    envelope.columns.append(envelope.columns[0])


def _truncate_cell(envelope: exchange_pb2.Envelope) -> None:
    envelope.columns[0].cells[0] = envelope.columns[0].cells[0][:-16]


def _empty_cell(envelope: exchange_pb2.Envelope) -> None:
    envelope.columns[0].cells[0] = b""


def _lengthen_cell(envelope: exchange_pb2.Envelope) -> None:
    envelope.columns[0].cells[0] += bytes(16)


def _rename(envelope: exchange_pb2.Envelope) -> None:
    envelope.columns[0].name = "number"


def _clear(envelope: exchange_pb2.Envelope) -> None:
    del envelope.columns[:]


@pytest.mark.parametrize(
    "tamper",
    [
        _swap_cells,
        _swap_absent_and_present,
        _swap_between_columns,
        _swap_columns,
        _swap_columns_under_their_names,
        _drop_cell,
        _shorten_all_columns_to_a_smaller_step,
        _repeat_cell,
        _add_cell,
        _drop_column,
        _repeat_column,
        _truncate_cell,
        _empty_cell,
        _lengthen_cell,
        _rename,
        _clear,
    ],
    ids=lambda tamper: tamper.__name__.strip("_"),
)
def test_an_envelope_that_was_tampered_with_does_not_open(
    tamper: Callable[[exchange_pb2.Envelope], None],
) -> None:
    columns = two_by_three()
    envelope = seal(fresh(), columns, 3)
    assert open_(fresh(), envelope, expected(columns)) == plain(columns)
    tamper(envelope)
    with pytest.raises(SealBroken):
        open_(fresh(), envelope, expected(columns))


def test_another_secret_header_or_direction_does_not_open() -> None:
    envelope = seal(fresh(), two_by_three(), 3)
    for key in (
        fresh(secret=b"t" * 32),
        fresh(header=b"other"),
        direction_key(SUITE, SECRET, HEADER, "response"),
    ):
        with pytest.raises(SealBroken, match="commit"):
            open_(key, envelope, expected(two_by_three()))
        envelope_with_its_commit = copy.deepcopy(envelope)
        envelope_with_its_commit.commit = key.commit
        with pytest.raises(SealBroken, match="cell"):
            open_(key, envelope_with_its_commit, expected(two_by_three()))


def test_columns_open_only_under_the_names_order_and_padding_expected() -> None:
    envelope = seal(fresh(), two_by_three(), 3)
    for other in (
        [("address", 16), ("name", 16)],
        [("name", 16)],
        [("name", 16), ("address", 16), ("number", 16)],
        [("name", 16), ("address", 32)],
        [("name", 16), ("address", 20)],
        [],
    ):
        with pytest.raises(SealBroken):
            open_(fresh(), envelope, other)


def sealed_by_hand(plaintexts: list[list[bytes]]) -> exchange_pb2.Envelope:
    """Seal cells as a peer that holds the key but breaks the rules would."""

    class Raw(bytes):
        def __radd__(self, other: bytes) -> "Raw":
            return self

        def __add__(self, other: bytes) -> "Raw":
            return self

        def ljust(self, width: int, fill: bytes = b" ") -> bytes:  # type: ignore[override]
            return bytes(self)

    columns = [ColumnPlan(f"f{n}", [Raw(cell) for cell in cells], 16) for n, cells in enumerate(plaintexts)]
    return seal(fresh(), columns, len(plaintexts[0]))


VALUE, NULL, ABSENT = (
    b"\2value\x80".ljust(16, b"\0"),
    b"\1\x80".ljust(16, b"\0"),
    b"\0\x80".ljust(16, b"\0"),
)


@pytest.mark.parametrize(
    "cells",
    [
        [[b"\3value\x80".ljust(16, b"\0")]],
        [[bytes(16)]],
        [[b"\2".ljust(16, b"\0")]],
        [[b"\x80".ljust(16, b"\0")]],
        [[b"\1value\x80".ljust(16, b"\0")]],
        [[b"\0value\x80".ljust(16, b"\0")]],
        [[b"\2value\x80".ljust(32, b"\0")]],
        [[b"\1\x80".ljust(32, b"\0")]],
        [[b"\0\x80".ljust(32, b"\0")]],
        [[b"\2value\x81".ljust(16, b"\0")]],
        [[VALUE, ABSENT, VALUE, ABSENT]],
        [[VALUE, ABSENT, NULL, ABSENT]],
        [[VALUE, VALUE, ABSENT, ABSENT], [VALUE, ABSENT, ABSENT, ABSENT]],
    ],
)
def test_cells_that_a_peer_sealed_against_the_rules_are_refused(cells: list[list[bytes]]) -> None:
    envelope = sealed_by_hand(cells)
    with pytest.raises(SealBroken):
        open_(fresh(), envelope, [(f"f{n}", 16) for n in range(len(cells))])


def test_cells_sealed_by_hand_within_the_rules_open() -> None:
    envelope = sealed_by_hand([[VALUE, NULL, ABSENT, ABSENT], [NULL, VALUE, ABSENT, ABSENT]])
    assert open_(fresh(), envelope, [("f0", 16), ("f1", 16)]) == [[b"value", None], [None, b"value"]]


def test_the_bounds_hold_on_both_sides() -> None:
    fits = b"v" * (MAX_CELL_BYTES - 2)
    assert open_(fresh(), seal(fresh(), [ColumnPlan("a", [fits], 64)], 1), [("a", 64)]) == [[fits]]
    with pytest.raises(Oversized):
        seal(fresh(), [ColumnPlan("a", [fits + b"v"], 64)], 1)
    with pytest.raises(Oversized):
        seal(fresh(), [ColumnPlan("a", [b""] * 1001, 64)], 1001)
    with pytest.raises(Oversized):
        seal(fresh(), [ColumnPlan(f"f{n}", [b""], 64) for n in range(65)], 1)
    long_cell = seal(fresh(), [ColumnPlan("a", [b""], 64)], 1)
    long_cell.columns[0].cells[0] = bytes(MAX_CELL_BYTES + 64 + 16)
    with pytest.raises(Oversized):
        open_(fresh(), long_cell, [("a", 64)])
    many = exchange_pb2.Envelope(
        commit=fresh().commit, columns=[exchange_pb2.Column(name="a", cells=[b""])] * 65
    )
    with pytest.raises(Oversized):
        open_(fresh(), many, [("a", 64)] * 65)


def test_a_key_seals_once() -> None:
    key = fresh()
    seal(key, two_by_three(), 3)
    with pytest.raises(ValueError, match="once"):
        seal(key, two_by_three(), 3)


def test_a_column_of_another_length_is_not_sealed() -> None:
    with pytest.raises(ValueError, match="one value per record"):
        seal(fresh(), two_by_three(), 2)


def test_no_two_cells_of_an_envelope_share_a_nonce() -> None:
    class Recorder:
        def __init__(self) -> None:
            self.nonces: list[bytes] = []

        def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes:
            self.nonces.append(nonce)
            return data

        def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes:
            return data

    recorder = Recorder()
    key = DirectionKey(bytes(32), recorder, b"\xff" * 12, bytes(32))
    seal(key, [ColumnPlan(f"f{n}", [b""] * 257, 16) for n in range(64)], 257)
    assert len(set(recorder.nonces)) == len(recorder.nonces) == 64 * 1000


def test_nothing_is_sealed_with_a_padding_outside_16_to_4096() -> None:
    for declared in (0, 1, 15, 4097, -1):
        with pytest.raises(Malformed):
            seal(fresh(), [ColumnPlan("a", [b""], declared)], 1)


def test_an_envelope_without_columns_still_commits_to_its_key() -> None:
    envelope = seal(fresh(), [], 0)
    assert open_(fresh(), envelope, []) == []
    with pytest.raises(SealBroken):
        open_(fresh(header=b"other"), envelope, [])


def test_keys_are_not_shown() -> None:
    key = fresh()
    assert key.nonce0.hex() not in repr(key) and repr(key.nonce0) not in repr(key)
