"""Replaces small files so that a crash at any line leaves the old content or the new, never a part."""

import os
import secrets
from pathlib import Path


def replace_file(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Write a file's whole content durably.

    A crash before the rename leaves a stray temporary file beside the old content, which is harmless.

    Args:
        path: the file; its folder exists.
        content: what it is to hold.
        mode: permissions of the file.

    Raises:
        OSError: it could not be written; the old content stands.
    """
    draft = write_draft(path, content, mode=mode)
    try:
        os.replace(draft, path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def create_file(path: Path, content: bytes, *, mode: int = 0o600) -> bool:
    """Write a file durably unless it is there already.

    Returns:
        Whether it was written.

    Raises:
        OSError: it could not be written.
    """
    draft = write_draft(path, content, mode=mode)
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


def write_draft(path: Path, content: bytes, *, mode: int) -> Path:
    """Write the content durably to a new file beside the path and return its path."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            # Whatever the process's mask is: some files are for everybody, and say so.
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    return draft


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
