"""How long the log's thread has been silent is told of the disk, not of an event loop that is busy."""

import asyncio
import threading

from gateway.audit.writing.commit_thread import CommitThread


async def test_it_is_at_its_work_until_that_is_done_whether_or_not_the_event_loop_has_heard() -> None:
    thread, go_on, done = CommitThread(), threading.Event(), threading.Event()
    heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    assert thread.handed_s == 0

    def work(word: str) -> str:
        go_on.wait(20)
        return word

    thread.hand(work, lambda job: heard.set_result(job.result()), "written")
    first = thread.handed_s
    assert thread.handed_s > first > 0
    # In its thread, once the work is done; the event loop is kept from hearing of it meanwhile.
    thread._worker.submit(done.set)
    go_on.set()
    assert done.wait(20) and not heard.done()
    assert thread.handed_s == 0
    assert await heard == "written"
    thread.close()
