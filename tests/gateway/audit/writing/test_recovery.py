"""Attempts to read the log again end when the log is closed."""

import asyncio

from gateway.audit.writing.recovery import Recovery


async def test_no_attempt_is_made_once_it_was_stopped() -> None:
    attempts: list[int] = []
    stopped, going = Recovery(retry_s=0), Recovery(retry_s=0)
    stopped.again(lambda: attempts.append(1))
    stopped.stop()
    later = asyncio.Event()
    going.again(later.set)
    await later.wait()
    assert attempts == []
