"""A file with the index from which to go on, kept durably by whoever follows the log."""

import json
from pathlib import Path

from exchange.durable import replace_file
from exchange.errors import BadConfiguration

MAX_BYTES = 4096


class Cursor:
    """The place that was reached in one log.

    Written after what comes before it is out of the program's hands. A crash in between repeats entries at
    the next start, which their index makes recognisable; none is missed.

    Args:
        path: of the file; made by the first `write`.

    Attributes:
        origin: of the log, empty where no place is kept yet.
        next_index: from where to go on; None where no place is kept yet.
        length: how many bytes had been written where the entries go, 0 where that means nothing.

    Raises:
        BadConfiguration: the file holds no place.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.origin, self.next_index, self.length = self._read()

    def check(self, origin: str) -> None:
        """Refuse to go on in another log than the one whose place is kept.

        Raises:
            BadConfiguration: it is another one, or one that was opened anew after a loss.
        """
        if self.origin and self.origin != origin:
            raise BadConfiguration(f"{self._path} is for {self.origin}; the log is {origin} now")

    def write(self, origin: str, next_index: int, length: int = 0) -> None:
        """Keep a place durably.

        Raises:
            BadConfiguration: the file cannot be written.
        """
        if (origin, next_index, length) == (self.origin, self.next_index, self.length):
            return
        content = json.dumps({"origin": origin, "next_index": next_index, "length": length}) + "\n"
        try:
            replace_file(self._path, content.encode())
        except OSError as error:
            raise BadConfiguration(f"{self._path}: {error.strerror}") from error
        self.origin, self.next_index, self.length = origin, next_index, length

    def _read(self) -> tuple[str, int | None, int]:
        try:
            with self._path.open("rb") as file:
                held = json.loads(file.read(MAX_BYTES))
            origin, next_index, length = held["origin"], held["next_index"], held.get("length", 0)
        except FileNotFoundError:
            return "", None, 0
        except OSError as error:
            raise BadConfiguration(f"{self._path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadConfiguration(f"{self._path}: {type(error).__name__}") from error
        numbers = (next_index, length)
        if not isinstance(origin, str) or any(type(number) is not int or number < 0 for number in numbers):
            raise BadConfiguration(f"{self._path}: next_index or length")
        return origin, next_index, length
