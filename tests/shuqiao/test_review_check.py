"""Whoever draws a sample again finds out a gateway that drew another."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from exchange import errors as e
from exchange.review import RANDOM, RISK, Selected, selection_body
from exchange.v1 import audit_pb2
from gateway.review import selection
from shuqiao.review_check import Checked, check
from shuqiao.trust_files import SIGNED, LogKeys
from tests.support.region import ORIGIN, nonce
from tests.support.review_region import GATEWAY, LOG_KEY, SUN, ZHAO, Served
from tests.support.reviewing import HOUR_MS, signed

KEYS = LogKeys(by_origin={ORIGIN: (bytes(LOG_KEY.verify_key),)}, source=SIGNED)


class ByMetadata(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):  # type: ignore[misc]
    """Says who calls, as mutual TLS would."""

    def _named(self, details: Any) -> Any:
        return details._replace(metadata=[("caller", SUN.identity.uri)])

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(self._named(details), request)

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(self._named(details), request)


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[Served]:
    served = await Served.at(tmp_path)
    await served.exchanges(40)
    await served.exchanges(15, case_number="", time_ms=20 * HOUR_MS)
    yield served
    await served.stop()


async def checked(region: Served, review_id: bytes, keys: LogKeys = KEYS) -> Checked:
    summary = (await region.get(SUN, review_id)).review

    def run() -> Checked:
        with grpc.insecure_channel(f"127.0.0.1:{region.port}") as plain:
            channel = grpc.intercept_channel(plain, ByMetadata())
            return check(channel, summary, keys=keys, anchor=region.anchor)

    return await asyncio.to_thread(run)


async def drawn(region: Served, **changes: Any) -> bytes:
    """Enter a draw, without anybody stating its items."""
    statement = region.draw_statement(**changes)
    await region.enter(audit_pb2.ACT_REVIEW_DRAW, SUN, statement)
    return next(iter(region.state.reviews.unselected())).draw.review_id


async def state(region: Served, review_id: bytes, selected: list[Selected], population: int) -> None:
    body = selection_body(
        nonce=nonce(),
        review_id=review_id,
        selected=selected,
        population=population,
        issued_at_ms=region.clock.ms,
    )
    await region.enter(audit_pb2.ACT_REVIEW_EVENT, GATEWAY, signed(GATEWAY, body))


async def honest_items(region: Served, review_id: bytes) -> tuple[list[Selected], int]:
    return await region.selection._draw(region.state.reviews.one(review_id))


@pytest.mark.parametrize("strategy", [RANDOM, RISK])
@pytest.mark.parametrize("span", [{}, {"first": 7, "end": 52}, {"first": 41, "end": 42}])
async def test_an_honest_draw_is_found_honest(region: Served, strategy: int, span: dict[str, int]) -> None:
    region.draw_on()
    await region.exchanges(3)
    answer = await region.draw(strategy=strategy, count=5, **span)
    await region.exchanges(30)
    found = await checked(region, answer.review_id)
    assert found.honest, found
    assert found.draw.review_id == answer.review_id


async def test_drawing_in_steps_of_any_length_is_the_same(
    region: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    review_id = await drawn(region, strategy=RISK, count=7)
    found = []
    for length in (1, 7, 512):
        monkeypatch.setattr(selection, "STEP", length)
        found.append(await honest_items(region, review_id))
    assert found[0] == found[1] == found[2] and len(found[0][0]) == 7


async def test_an_entry_that_was_exchanged_for_another_is_found(region: Served) -> None:
    review_id = await drawn(region, count=5)
    items, population = await honest_items(region, review_id)
    chosen = {one.index for one in items}
    other = next(index for index in range(40) if index not in chosen)
    swapped = sorted([*items[1:], Selected(index=other, party=items[0].party)], key=lambda one: one.index)
    await state(region, review_id, swapped, population)
    found = await checked(region, review_id)
    assert (found.honest, found.missing, found.extra) == (False, (items[0].index,), (other,))


async def test_a_population_that_was_understated_is_found(region: Served) -> None:
    review_id = await drawn(region, count=5)
    items, population = await honest_items(region, review_id)
    await state(region, review_id, items, population - 1)
    found = await checked(region, review_id)
    assert (found.honest, found.population, found.population_stated) == (False, population, population - 1)


@pytest.mark.parametrize("changes", [{"party": ""}, {"rules": ()}])
async def test_wrong_rules_or_another_party_are_found(region: Served, changes: dict[str, Any]) -> None:
    review_id = await drawn(region, strategy=RISK, count=5)
    items, population = await honest_items(region, review_id)
    told = {"index": items[2].index, "party": items[2].party, "rules": items[2].rules} | changes
    items[2] = Selected(**told)
    await state(region, review_id, items, population)
    found = await checked(region, review_id)
    assert (found.honest, found.wrong) == (False, (items[2].index,))


async def test_a_review_without_items_cannot_be_checked_yet(region: Served) -> None:
    review_id = await drawn(region, count=5)
    with pytest.raises(e.WrongState):
        await checked(region, review_id)


async def test_without_the_logs_key_nothing_is_believed(region: Served) -> None:
    region.draw_on()
    answer = await region.draw(count=5)
    other = LogKeys(by_origin={ORIGIN: (b"\1" * 32,)}, source=SIGNED)
    with pytest.raises(e.ReceiptBroken):
        await checked(region, answer.review_id, other)


async def test_items_that_no_gateway_signed_are_not_believed(
    region: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    review_id = await drawn(region, count=5)
    items, population = await honest_items(region, review_id)
    body = selection_body(
        nonce=nonce(),
        review_id=review_id,
        selected=items,
        population=population,
        issued_at_ms=region.clock.ms,
    )
    monkeypatch.setattr("gateway.review.reviews._check_selection", lambda review, event, who: None)
    await region.enter(audit_pb2.ACT_REVIEW_EVENT, ZHAO, signed(ZHAO, body))
    with pytest.raises(e.RoleNotAllowed):
        await checked(region, review_id)


@pytest.mark.parametrize("which", ["drawn", "passed over", "gap"])
async def test_entries_that_are_not_those_of_the_log_are_found(
    region: Served, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    region.draw_on()
    answer = await region.draw(count=5)
    real = region.log.leaves
    drawn = {item.index for item in (await honest_items(region, answer.review_id))[0]}
    garbled = {"drawn": drawn, "passed over": set(range(20, 40)) - drawn, "gap": set()}[which]

    def leaves(first: int, count: int) -> list[bytes]:
        found = list(real(first, count))
        if which == "gap" and first == 0:
            return []
        return [leaf[::-1] if index in garbled else leaf for index, leaf in enumerate(found, first)]

    monkeypatch.setattr(region.log, "leaves", leaves)
    # Of a gap the gateway may tell itself, where it reads the log and not what it has just entered.
    with pytest.raises((e.ReceiptBroken, e.StoreDamaged) if which == "gap" else e.ReceiptBroken):
        await checked(region, answer.review_id)
