"""A segment opens chunk by chunk as it was sealed, or not at all."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.errors import BadConfiguration, StoreDamaged
from exchange.segment import (
    CHUNK_ENTRIES,
    MAX_HEADER_BYTES,
    Header,
    Item,
    SegmentCipher,
    chunk_places,
    pack_table,
    read_header,
)

KEY, OTHER_KEY = bytes(range(32)), bytes(32)


def header(first: int = 256, end: int = 768, origin: str = "970100.yunchuan.example/gateway-1") -> Header:
    return Header(origin=origin, first=first, end=end, salt=b"s" * 16, hashes=b"h" * 32)


def items(seed: int = 0) -> list[Item]:
    return [Item(b"leaf %d" % (seed + number)) for number in range(CHUNK_ENTRIES)]


def test_a_header_reads_back_and_says_how_long_it_is() -> None:
    for origin in ("x", "970100.yunchuan.example/gateway-1", "o" * 255):
        made = header(origin=origin)
        content = made.to_bytes()
        assert len(content) <= MAX_HEADER_BYTES
        assert read_header(content + b"more") == (made, len(content))
        assert made.chunks == 2


@pytest.mark.parametrize(
    ("first", "end"), [(0, 0), (256, 256), (0, 100), (1, 257), (512, 256), (0, (1 << 20) + 256)]
)
def test_a_range_that_is_not_whole_tiles_is_neither_written_nor_read(first: int, end: int) -> None:
    with pytest.raises(BadConfiguration):
        header(first, end).to_bytes()
    content = bytearray(header().to_bytes())
    content[-64:-48] = struct.pack(">QQ", first, end)
    with pytest.raises(StoreDamaged):
        read_header(bytes(content))


def test_an_origin_that_is_empty_or_too_long_is_refused() -> None:
    for origin in ("", "o" * 256):
        with pytest.raises(BadConfiguration):
            header(origin=origin).to_bytes()


@given(st.binary(max_size=MAX_HEADER_BYTES))
def test_no_header_is_read_from_anything_else(content: bytes) -> None:
    for start in (content, b"shuqiao-segment/1\n" + content):
        try:
            found, length = read_header(start)
        except StoreDamaged:
            continue
        assert found.to_bytes() == start[:length]


leaf = st.binary(max_size=300)
beside = st.lists(st.binary(max_size=40), max_size=3).map(tuple)


@settings(max_examples=20)
@given(st.lists(st.builds(Item, leaf, beside), min_size=1, max_size=8))
def test_entries_and_what_is_beside_them_come_back_byte_for_byte(some: list[Item]) -> None:
    whole = (some * CHUNK_ENTRIES)[:CHUNK_ENTRIES]
    cipher = SegmentCipher(key=KEY, header=header())
    assert cipher.open(1, cipher.seal(1, whole)) == whole


def test_the_longest_leaves_come_back_too() -> None:
    longest = [Item(bytes([number]) * 65_535) for number in range(CHUNK_ENTRIES)]
    cipher = SegmentCipher(key=KEY, header=header())
    assert cipher.open(0, cipher.seal(0, longest)) == longest


@pytest.mark.parametrize("wrong", [[], items()[1:], [*items(), Item(b"")], [Item(bytes(65_536))] * 256])
def test_what_is_not_256_entries_of_fitting_length_is_not_sealed(wrong: list[Item]) -> None:
    with pytest.raises(BadConfiguration):
        SegmentCipher(key=KEY, header=header()).seal(0, wrong)


def test_a_chunk_opens_only_under_its_key_header_and_number() -> None:
    cipher = SegmentCipher(key=KEY, header=header())
    sealed = cipher.seal(0, items())
    for key, other, number in (
        (OTHER_KEY, header(), 0),
        (KEY, header(), 1),
        (KEY, header(512, 1024), 0),
        (KEY, header(origin="another"), 0),
        (KEY, Header(origin=header().origin, first=256, end=768, salt=b"t" * 16, hashes=b"h" * 32), 0),
    ):
        with pytest.raises(StoreDamaged, match=f"chunk {number}"):
            SegmentCipher(key=key, header=other).open(number, sealed)


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_a_chunk_with_one_changed_byte_does_not_open(at: int, flip: int) -> None:
    cipher = SegmentCipher(key=KEY, header=header())
    sealed = bytearray(cipher.seal(0, items()))
    sealed[at % len(sealed)] ^= flip
    with pytest.raises(StoreDamaged):
        cipher.open(0, bytes(sealed))


def test_what_was_sealed_in_another_form_does_not_open() -> None:
    import zlib

    cipher = SegmentCipher(key=KEY, header=header())
    plain = b"".join(b"\0\1x\0\0" for _ in range(CHUNK_ENTRIES))
    for packed in (
        b"not compressed",
        zlib.compress(plain[:-1]),
        zlib.compress(plain + b"x"),
        zlib.compress(plain) + b"x",
        zlib.compress(plain)[:-1],
        zlib.compress(b""),
        zlib.compress(b"\xff" * 2000),
    ):
        sealed = cipher._aead.encrypt((0).to_bytes(12, "big"), packed, cipher._bound)
        with pytest.raises(StoreDamaged):
            cipher.open(0, sealed)
    good = cipher._aead.encrypt((0).to_bytes(12, "big"), zlib.compress(plain), cipher._bound)
    assert cipher.open(0, good) == [Item(b"x")] * CHUNK_ENTRIES


def test_a_table_that_does_not_fill_the_file_is_refused() -> None:
    made = header()
    begins = len(made.to_bytes())
    table = pack_table([100, 200])
    size = begins + 300 + len(table)
    assert chunk_places(made, begins, size, table) == [(begins, 100), (begins + 100, 200)]
    for wrong_size, wrong_table in (
        (size - 1, table),
        (size + 1, table),
        (size, pack_table([100, 201])),
        (size, table[:-1]),
        (size, pack_table([300])),
        (size, pack_table([284, 16])),
        (size, pack_table([2**32 - 1, 1])),
    ):
        with pytest.raises(StoreDamaged):
            chunk_places(made, begins, wrong_size, wrong_table)


def test_a_key_of_a_wrong_length_is_refused() -> None:
    with pytest.raises(BadConfiguration):
        SegmentCipher(key=b"short", header=header())
