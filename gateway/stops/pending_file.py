"""A small file with the stops that are in force and not in the log yet, so that a restart does not lift them.

It holds at most a few; each proves itself by its officers' signatures and is verified again when it is read.
A crash before it is written loses a stop that nobody was told was kept; after it, the next start finds it.
"""

from collections.abc import Sequence
from pathlib import Path

from google.protobuf.message import DecodeError

from exchange.durable import replace_file
from exchange.errors import StoreDamaged
from exchange.v1 import common_pb2, stop_pb2

MAX_FILE_BYTES = 4 * 1024 * 1024


class PendingFile:
    """The file.

    Args:
        path: where it is.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[Sequence[common_pb2.Statement]]:
        """Return the statements of each stop, as they were signed; unverified.

        Raises:
            StoreDamaged: it is there and cannot be read: a stop may be lost, so nothing starts.
        """
        try:
            with self._path.open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreDamaged(f"{self._path.name}: {error.strerror}") from error
        if len(content) > MAX_FILE_BYTES:
            raise StoreDamaged(self._path.name)
        try:
            kept = stop_pb2.ListStopsResponse.FromString(content)
        except DecodeError as error:
            raise StoreDamaged(self._path.name) from error
        return [list(record.stop) for record in kept.stops]

    def write(self, stops: Sequence[Sequence[common_pb2.Statement]]) -> None:
        """Replace the content, durable on return.

        Raises:
            OSError: it could not be written; the old content stands.
        """
        records = [stop_pb2.StopRecord(stop=statements) for statements in stops]
        replace_file(self._path, stop_pb2.ListStopsResponse(stops=records).SerializeToString())
