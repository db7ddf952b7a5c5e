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

    Raises:
        BadConfiguration: the file holds no place.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.origin, self.next_index = self._read()

    def check(self, origin: str) -> None:
        """Refuse to go on in another log than the one whose place is kept.

        Raises:
            BadConfiguration: it is another one, or one that was opened anew after a loss.
        """
        if self.origin and self.origin != origin:
            raise BadConfiguration(f"{self._path}: {self.origin}, not {origin}")

    def write(self, origin: str, next_index: int) -> None:
        """Keep a place durably.

        Raises:
            BadConfiguration: the file cannot be written.
        """
        if (origin, next_index) == (self.origin, self.next_index):
            return
        content = json.dumps({"origin": origin, "next_index": next_index}) + "\n"
        try:
            replace_file(self._path, content.encode())
        except OSError as error:
            raise BadConfiguration(f"{self._path}: {error.strerror}") from error
        self.origin, self.next_index = origin, next_index

    def _read(self) -> tuple[str, int | None]:
        try:
            with self._path.open("rb") as file:
                held = json.loads(file.read(MAX_BYTES))
            origin, next_index = held["origin"], held["next_index"]
        except FileNotFoundError:
            return "", None
        except OSError as error:
            raise BadConfiguration(f"{self._path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise BadConfiguration(f"{self._path}: {type(error).__name__}") from error
        if not isinstance(origin, str) or type(next_index) is not int or next_index < 0:
            raise BadConfiguration(f"{self._path}: next_index")
        return origin, next_index
