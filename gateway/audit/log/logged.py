"""Where an entry is in the log: what whoever appended it gets, once it is durable."""

from dataclasses import dataclass


@dataclass(slots=True)
class Logged:
    """Where a durable entry is.

    Attributes:
        index: its place in the log.
        proof: inclusion proof against `checkpoint`, the 32-byte hashes one after the other.
        checkpoint: the signed note of its group's head.
    """

    index: int
    proof: bytes
    checkpoint: str
