"""Writes the file of a bundle, record by record; whoever calls it says what goes in, and in which order."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from google.protobuf.message import Message

from exchange.clock import Random
from exchange.errors import BadConfiguration
from exchange.evidence.manifest import Ledger, Signer, sign_manifest
from exchange.evidence.ranges import hashes_of
from exchange.evidence.records import MAGIC, MAX_RECORDS, Kind, Record, frame
from exchange.evidence.selection import index_bytes
from exchange.v1 import evidence_pb2


@dataclass(slots=True)
class BundleWriter:
    """Writes records.

    Attributes:
        file: takes them; at its beginning.
        ledger: of what was written.
    """

    file: BinaryIO
    ledger: Ledger = field(default_factory=Ledger)

    def __post_init__(self) -> None:
        self.file.write(MAGIC)

    def add(self, kind: Kind, content: Message | bytes) -> None:
        """Write the next record.

        Raises:
            BadConfiguration: it would be one too many.
            Oversized: it is larger than its kind may be.
        """
        raw = content if isinstance(content, bytes) else content.SerializeToString(deterministic=True)
        if len(self.ledger.hashes) >= MAX_RECORDS - 1:
            raise BadConfiguration(
                f"a bundle of more than {MAX_RECORDS} records: ask for less, or for a range"
            )
        self.file.write(frame(kind, raw))
        self.ledger.add(Record(len(self.ledger.hashes), kind, raw))

    def finish(self, signer: Signer, *, now_ms: int, random: Random) -> None:
        """Write the manifest, signed by an auditor or officer."""
        content = sign_manifest(self.ledger, signer, now_ms=now_ms, random=random)
        self.file.write(frame(Kind.MANIFEST, content))


def block_of(
    first: int,
    leaves: Sequence[bytes],
    left: bytes,
    right: bytes,
    *,
    supporting: bool,
    ordinal: int,
    peers: int,
) -> evidence_pb2.EvidenceBlock:
    """Return a block of entries.

    Args:
        first: index of the first.
        leaves: exact bytes of the entries, at most 256.
        left, right: the edges of the range (exchange.evidence.ranges).
        supporting: whether they are there only to verify others.
        ordinal: how many entries come before it in the bundle.
        peers: how many of these play the same role.
    """
    return evidence_pb2.EvidenceBlock(
        first=first,
        leaves=leaves,
        hashes=b"".join(hashes_of(leaves)),
        left=left,
        right=right,
        supporting=supporting,
        ordinal=ordinal,
        peers=peers,
    )


def digest_of_indexes(indexes: Sequence[int]) -> bytes:
    """Return what a description says of the indexes of its entries, 32 bytes."""
    digest = hashlib.sha256()
    for index in indexes:
        digest.update(index_bytes(index))
    return digest.digest()
