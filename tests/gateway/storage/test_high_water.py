"""The high-water copy as a file."""

from pathlib import Path

import pytest

from exchange.errors import AuditUnavailable
from gateway.storage.high_water import SLOT_BYTES, HighWaterFile


def test_a_file_that_was_never_made_is_told_apart(tmp_path: Path) -> None:
    assert HighWaterFile(path=tmp_path / "high-water").read() is None


def test_the_newest_note_and_the_one_before_are_kept(tmp_path: Path) -> None:
    copy = HighWaterFile(path=tmp_path / "high-water")
    for number in range(5):
        copy.write(f"note {number}\n\n— name\n")
    assert sorted(copy.read() or []) == ["note 3\n\n— name\n", "note 4\n\n— name\n"]
    copy.close()
    again = HighWaterFile(path=tmp_path / "high-water")
    again.write("note 5\n")
    assert "note 5\n" in (again.read() or [])
    again.close()


def test_a_torn_slot_leaves_the_other(tmp_path: Path) -> None:
    path = tmp_path / "high-water"
    copy = HighWaterFile(path=path)
    copy.write("one\n")
    copy.write("two\n")
    copy.close()
    content = bytearray(path.read_bytes())
    content[SLOT_BYTES : SLOT_BYTES + 3] = b"\xff\xff\xff"
    path.write_bytes(content)
    assert "one\n" in (HighWaterFile(path=path).read() or [])


def test_its_length_never_changes(tmp_path: Path) -> None:
    copy = HighWaterFile(path=tmp_path / "high-water")
    for number in range(4):
        copy.write("x" * number * 100 + "\n")
        assert (tmp_path / "high-water").stat().st_size == 2 * SLOT_BYTES
    copy.close()


def test_what_cannot_be_written_or_is_too_long_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(AuditUnavailable):
        HighWaterFile(path=tmp_path / "no folder" / "high-water").write("note\n")
    with pytest.raises(AuditUnavailable):
        HighWaterFile(path=tmp_path / "high-water").write("x" * (SLOT_BYTES + 1))
