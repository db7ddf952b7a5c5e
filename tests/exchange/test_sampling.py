"""Samples that anybody can draw again."""

import hashlib
from collections import Counter

import pytest

from exchange.errors import Malformed
from exchange.sampling import MAX_WEIGHT, Sampler, seed_of

SALT, REVIEW = bytes(range(16)), bytes(range(32))


def drawn(seed: bytes, weights: dict[int, int], count: int) -> list[int]:
    sampler = Sampler(seed=seed, count=count)
    for index, weight in weights.items():
        sampler.offer(index, weight)
    return sampler.drawn()


def numbered(number: int) -> bytes:
    return seed_of(number.to_bytes(16, "big"), REVIEW)


def test_the_seed_is_the_digest_of_salt_and_draw() -> None:
    assert seed_of(SALT, REVIEW) == hashlib.sha256(b"shuqiao/sample/1\0" + SALT + REVIEW).digest()
    assert seed_of(SALT, REVIEW).hex() == VECTOR_SEED


@pytest.mark.parametrize(("salt", "review"), [(b"", REVIEW), (SALT, b"x"), (SALT + b"x", REVIEW)])
def test_a_seed_of_parts_of_another_length_is_refused(salt: bytes, review: bytes) -> None:
    with pytest.raises(Malformed):
        seed_of(salt, review)


def test_the_sample_is_that_of_the_vectors_on_every_platform() -> None:
    even = dict.fromkeys(range(1000), 1)
    assert drawn(seed_of(SALT, REVIEW), even, 8) == VECTOR_EVEN
    heavy = {index: 1 + index % 7 for index in range(1000)}
    assert drawn(seed_of(SALT, REVIEW), heavy, 8) == VECTOR_HEAVY
    far = dict.fromkeys(range(2**40, 2**40 + 1000), 1)
    assert drawn(seed_of(SALT, REVIEW), far, 3) == VECTOR_FAR


def test_a_place_is_the_smallest_of_an_entrys_tickets() -> None:
    seed = seed_of(SALT, REVIEW)

    def place(index: int, weight: int) -> bytes:
        named = seed + index.to_bytes(8, "big")
        return min(hashlib.sha256(named + number.to_bytes(4, "big")).digest() for number in range(weight))

    weights = {index: index % 5 for index in range(200)}
    due = sorted((place(index, weight), index) for index, weight in weights.items() if weight)[:20]
    assert drawn(seed, weights, 20) == sorted(index for _, index in due)


def test_the_order_of_offers_does_not_matter() -> None:
    weights = {index: 1 + index % 3 for index in range(300)}
    backwards = dict(reversed(weights.items()))
    assert drawn(numbered(1), weights, 25) == drawn(numbered(1), backwards, 25)


def test_where_there_are_fewer_entries_than_wanted_all_are_drawn_once() -> None:
    sampler = Sampler(seed=numbered(2), count=10)
    for index in range(4):
        sampler.offer(index, 3)
    assert (sampler.drawn(), sampler.population) == ([0, 1, 2, 3], 4)


def test_what_has_no_weight_is_never_drawn_and_not_counted() -> None:
    sampler = Sampler(seed=numbered(3), count=10)
    sampler.offer(0, 0)
    sampler.offer(1, 1)
    assert (sampler.drawn(), sampler.population) == ([1], 1)


def test_weights_beyond_the_largest_count_as_the_largest() -> None:
    assert drawn(numbered(4), {0: 10**9, 1: 1, 2: 2}, 2) == drawn(numbered(4), {0: MAX_WEIGHT, 1: 1, 2: 2}, 2)


def test_every_entry_is_drawn_equally_often() -> None:
    counts = Counter(
        index for number in range(2000) for index in drawn(numbered(number), dict.fromkeys(range(20), 1), 5)
    )
    expected = 2000 * 5 / 20
    # Chi-squared of 19 degrees of freedom exceeds 43.8 once in a thousand times; the seeds are fixed.
    assert sum((counts[index] - expected) ** 2 / expected for index in range(20)) < 43.8


def test_an_entry_of_weight_three_is_drawn_first_three_times_as_often() -> None:
    weights = {0: 3, 1: 1, 2: 1, 3: 1}
    counts = Counter(drawn(numbered(number), weights, 1)[0] for number in range(6000))
    assert abs(counts[0] - 3000) < 4 * (6000 * 0.25) ** 0.5
    assert all(abs(counts[index] - 1000) < 4 * (6000 * 5 / 36) ** 0.5 for index in (1, 2, 3))


def test_another_salt_draws_another_sample() -> None:
    even = dict.fromkeys(range(1000), 1)
    assert len({tuple(drawn(numbered(number), even, 5)) for number in range(200)}) == 200


VECTOR_SEED = "699d52e6d4c604b53cee26e3113385136ee8d570cca9f72f1b466f42f2706739"
VECTOR_EVEN = [256, 293, 352, 370, 499, 554, 879, 934]
VECTOR_HEAVY = [96, 172, 370, 377, 500, 537, 670, 879]
VECTOR_FAR = [1099511628311, 1099511628321, 1099511628496]
