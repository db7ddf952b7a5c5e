"""Proofs of many entries at once: of sealed ones too, and while they are read the event loop goes on."""

import threading
from pathlib import Path

from exchange.v1 import audit_pb2
from gateway.audit.log import proofs
from tests.support.keeping import KeptLog, aged


async def test_sealed_entries_are_opened_beside_the_event_loop(tmp_path: Path) -> None:
    kept = KeptLog(tmp_path)
    await kept.log.open()
    await kept.append(800)
    await kept.seal()
    readers = set[int]()
    chunk = kept.files.chunk

    def watched(first: int, end: int, number: int) -> object:
        readers.add(threading.get_ident())
        return chunk(first, end, number)

    kept.files.chunk = watched  # type: ignore[method-assign, assignment]
    answer = await proofs.answer(audit_pb2.GetProofsRequest(indexes=[5, 300, 767, 799]), kept.log)
    assert [one.leaf for one in answer.receipts] == [aged(number) for number in (5, 300, 767, 799)]
    assert readers and threading.get_ident() not in readers
    await kept.log.close()
