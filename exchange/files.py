"""Reads files that people name: never more than a bound, and what is wrong is said with the file's name."""

from pathlib import Path

from exchange.errors import BadConfiguration


def read_bounded(path: Path, most: int) -> bytes:
    """Return a file's content.

    Args:
        path: the file.
        most: bytes.

    Raises:
        BadConfiguration: it cannot be read, or is larger.
    """
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise BadConfiguration(f"{path}: {error.strerror}") from error
    if len(content) > most:
        raise BadConfiguration(f"{path}: larger than {most} bytes")
    return content
