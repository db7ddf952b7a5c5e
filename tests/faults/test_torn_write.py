"""A last write that reached the disk in part: the log says so, or it was never acknowledged."""

from pathlib import Path

import pytest

from exchange.errors import ExchangeError, LogBehind, LogForked, StoreDamaged
from gateway.audit.writing.folder import sequencer_in
from tests.support.audit import SIGNER
from tests.support.failing_writer import check, writer
from tests.support.fault_disk import FaultDisk


@pytest.mark.parametrize("torn", [1, 512, 4096, 20_000])
@pytest.mark.parametrize("how", ["cut off", "zeroed", "flipped"])
async def test_a_torn_last_write_of_something_acknowledged_is_refused_and_never_signed_over(
    tmp_path: Path, torn: int, how: str
) -> None:
    folder = tmp_path / "log"
    disk = FaultDisk(folder=folder, plan=tmp_path / "plan")
    with writer(folder, disk) as child:
        child.take(300)
        child.until("well") if "well" not in child.said else None
    # Killed without closing: the newest groups are in the journal alone, the last of it acknowledged or not.
    journal = folder / "audit.db-wal"
    whole = journal.read_bytes()
    assert len(whole) > 2 * torn
    end = {"cut off": b"", "zeroed": bytes(torn), "flipped": bytes(byte ^ 0xFF for byte in whole[-torn:])}[
        how
    ]
    journal.write_bytes(whole[:-torn] + end)
    log = sequencer_in(folder, signer=SIGNER)
    try:
        await log.open()
    except ExchangeError as refusal:
        assert isinstance(refusal, (LogBehind, LogForked, StoreDamaged)), refusal
        return
    # It opened: then nothing that was acknowledged is missing.
    await log.close()
    assert check(folder, child.acknowledged) > max(child.acknowledged)


async def test_a_journal_torn_in_its_middle_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    disk = FaultDisk(folder=folder, plan=tmp_path / "plan")
    with writer(folder, disk) as child:
        child.take(2000)
    journal = folder / "audit.db-wal"
    whole = journal.read_bytes()
    middle = len(whole) // 2
    journal.write_bytes(whole[:middle] + bytes(4096) + whole[middle + 4096 :])
    with pytest.raises((LogBehind, LogForked, StoreDamaged)):
        await sequencer_in(folder, signer=SIGNER).open()
