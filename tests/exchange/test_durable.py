"""Small files are replaced whole, with the permissions that they are written with."""

import os
import stat
from pathlib import Path

from exchange.durable import create_file, replace_file


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_has_its_own_permissions_whatever_the_mask_is(tmp_path: Path) -> None:
    os.umask(0o177)
    replace_file(tmp_path / "open", b"1", mode=0o644)
    replace_file(tmp_path / "secret", b"2")
    assert create_file(tmp_path / "made", b"3", mode=0o644)
    assert [mode(tmp_path / name) for name in ("open", "secret", "made")] == [0o644, 0o600, 0o644]


def test_what_is_there_is_replaced_whole_or_left(tmp_path: Path) -> None:
    path = tmp_path / "one"
    replace_file(path, b"a longer content")
    replace_file(path, b"short")
    assert not create_file(path, b"another")
    assert path.read_bytes() == b"short" and [each.name for each in tmp_path.iterdir()] == ["one"]
