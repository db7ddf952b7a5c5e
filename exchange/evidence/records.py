"""The file of a bundle: a magic line, then records of kind, length and content, and nothing else.

    "shuqiao-evidence/1\\n"   ( u8 kind ‖ u32 length, big-endian ‖ content )*

Kinds come in the order of `Kind`: one description, trust lists, at most one witness policy, heads (older ones
first, the newest last), attachments, blocks of entries (ascending), one manifest. The content is a message of
evidence.proto (a Statement for trust lists and the manifest, UTF-8 text for the policy) in its one
deterministic form: unknown fields and other encodings are refused, so no byte of a file is without meaning.
Invariants: read and written in one pass, one record in memory at a time; every size is bounded before it is
read. A record's hash is that of an RFC 6962 leaf: the kind's byte and the content.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import BinaryIO, TypeVar

from google.protobuf.message import DecodeError, Message

from exchange.errors import EvidenceBroken, Oversized
from exchange.merkle import leaf_hash

MAGIC = b"shuqiao-evidence/1\n"
MAX_RECORDS = 1 << 18
MAX_FILE_BYTES = 1 << 40
_HEAD = struct.Struct(">BI")

M = TypeVar("M", bound=Message)


class Kind(IntEnum):
    """What a record is, in the order in which they lie in the file."""

    DESCRIPTION = 1
    TRUST_LIST = 2
    POLICY = 3
    HEAD = 4
    ATTACHMENT = 5
    ENTRIES = 6
    MANIFEST = 7

    @property
    def word(self) -> str:
        """Its name in reports: "trust-list"."""
        return self.name.lower().replace("_", "-")


MAX_BYTES = {
    Kind.DESCRIPTION: 64 * 1024,
    Kind.TRUST_LIST: 4 * 1024 * 1024,
    Kind.POLICY: 64 * 1024,
    Kind.HEAD: 64 * 1024,
    Kind.ATTACHMENT: 2 * 1024 * 1024,
    Kind.ENTRIES: 18 * 1024 * 1024,
    Kind.MANIFEST: 8 * MAX_RECORDS + 64 * 1024,
}
"""How many bytes the content of a record has at most."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it lies in the file.

    Attributes:
        number: counts from 0.
        kind: what it is.
        content: its bytes.
    """

    number: int
    kind: Kind
    content: bytes

    @property
    def hash(self) -> bytes:
        """Its leaf hash, 32 bytes."""
        return leaf_hash(bytes([self.kind]) + self.content)


def is_bundle(start: bytes) -> bool:
    """Return whether a file that begins with these bytes, at least 19, says that it is a bundle."""
    return start.startswith(MAGIC)


def frame(kind: Kind, content: bytes) -> bytes:
    """Return a record as it is written.

    Raises:
        Oversized: the content is larger than its kind may be.
    """
    if len(content) > MAX_BYTES[kind]:
        raise Oversized(f"{kind.word} of {len(content)} bytes")
    return _HEAD.pack(kind, len(content)) + content


def read_records(file: BinaryIO) -> Iterator[Record]:
    """Yield the records of a file from its beginning to its end. What they hold is not looked at.

    Args:
        file: at its beginning; read forward only.

    Raises:
        EvidenceBroken: at the record after the last: no bundle, a kind that this version does not know, a
            size beyond its bound, or the file ends within a record.
    """
    if file.read(len(MAGIC)) != MAGIC:
        raise EvidenceBroken("magic line")
    number, total = 0, len(MAGIC)
    while head := file.read(_HEAD.size):
        if len(head) < _HEAD.size:
            raise EvidenceBroken(f"record {number}: truncated")
        code, length = _HEAD.unpack(head)
        try:
            kind = Kind(code)
        except ValueError:
            raise EvidenceBroken(f"record {number}: kind {code}") from None
        total += _HEAD.size + length
        if length > MAX_BYTES[kind] or total > MAX_FILE_BYTES or number >= MAX_RECORDS:
            raise EvidenceBroken(f"record {number}: size")
        content = file.read(length)
        if len(content) < length:
            raise EvidenceBroken(f"record {number}: truncated")
        yield Record(number, kind, content)
        number += 1


def parse(content: bytes, message: type[M]) -> M:
    """Return the message that a record holds.

    Raises:
        EvidenceBroken: it cannot be read, has unknown parts, or is not in its one form.
    """
    try:
        read = message.FromString(content)
    except DecodeError:
        raise EvidenceBroken("unreadable") from None
    read.DiscardUnknownFields()
    if read.SerializeToString(deterministic=True) != content:
        raise EvidenceBroken("not in its one form")
    return read
