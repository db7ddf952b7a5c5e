"""Time and randomness."""

import itertools

from exchange.clock import NonceSource


def test_nonces_are_handed_out_once_and_in_full() -> None:
    counter = itertools.count()
    source = NonceSource(
        draw=lambda count: bytes(next(counter) % 256 for _ in range(count)), reserve_bytes=32
    )
    drawn = b"".join(source(size) for size in (16, 16, 16, 10, 16))
    assert len(drawn) == 74
    assert len(set(drawn)) == len(drawn)


def test_more_than_the_reserve_is_drawn_at_once() -> None:
    asked: list[int] = []

    def draw(count: int) -> bytes:
        asked.append(count)
        return bytes(count)

    assert len(NonceSource(draw=draw, reserve_bytes=32)(100)) == 100
    assert asked == [100]
