import asyncio
import threading

import pytest

from agent.provider.connectors.workers import Workers
from exchange.errors import QueueFull, SourceTimeout


async def test_a_call_returns_its_result_or_raises_its_error():
    workers = Workers(name="s", threads=1)
    assert await workers.run(lambda: 7, timeout_s=5) == 7
    with pytest.raises(KeyError):
        await workers.run(lambda: {}["x"], timeout_s=5)
    workers.close()


async def test_a_time_out_raised_by_the_call_itself_is_not_taken_for_ours():
    def fail():
        raise TimeoutError

    workers = Workers(name="s", threads=1)
    with pytest.raises(TimeoutError):
        await workers.run(fail, timeout_s=5)
    workers.close()


async def test_hanging_calls_hold_their_threads_and_no_more_are_made():
    release = threading.Event()
    workers = Workers(name="s", threads=2, waiting=3)
    for _ in range(5):
        with pytest.raises(SourceTimeout):
            await workers.run(release.wait, timeout_s=0.01)
    assert workers.threads == 2
    with pytest.raises(QueueFull):
        await workers.run(release.wait, timeout_s=0.01)
    release.set()
    workers.close()


async def test_a_call_that_nobody_waits_for_is_skipped():
    release, begun, ran = threading.Event(), threading.Event(), []
    workers = Workers(name="s", threads=1)

    def hold():
        begun.set()
        release.wait()

    held = asyncio.create_task(workers.run(hold, timeout_s=20))
    await asyncio.to_thread(begun.wait)
    with pytest.raises(SourceTimeout):
        await workers.run(lambda: ran.append(1), timeout_s=0.01)
    release.set()
    await held
    assert await workers.run(lambda: "next", timeout_s=20) == "next"
    assert ran == []
    workers.close()


async def test_the_interrupt_is_called_for_a_running_call_only():
    release, begun = threading.Event(), threading.Event()
    workers, interrupted = Workers(name="s", threads=1), []

    def hold():
        begun.set()
        release.wait()

    def interrupt(what):
        interrupted.append(what)

    held = asyncio.create_task(workers.run(hold, timeout_s=20, interrupt=lambda: interrupt("running")))
    await asyncio.to_thread(begun.wait)
    with pytest.raises(SourceTimeout):
        await workers.run(hold, timeout_s=0.01, interrupt=lambda: interrupt("waiting"))
    held.cancel()
    with pytest.raises(asyncio.CancelledError):
        await held
    assert interrupted == ["running"]
    release.set()
    workers.close()
