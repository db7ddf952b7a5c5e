"""Reading a long log: verifying a folder whole, and proving one entry of ten million."""

import os
import random
import tempfile
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from nacl.signing import SigningKey

from exchange import merkle
from exchange.checkpoint import Checkpoint, LogSigner
from exchange.merkle import HASH_BYTES, leaf_hash, root_from_path
from exchange.v1 import audit_pb2
from gateway.audit.log.log_keys import LOG_KEY
from gateway.audit.log.tree import TILE_BITS, TILE_HASHES, LogTree
from gateway.audit.verification.verify import verify_folder
from gateway.audit.verification.walk import top_of
from gateway.storage.high_water import HIGH_WATER, HighWaterFile
from gateway.storage.ports import Group as StoredGroup
from gateway.storage.ports import StoredHead, Tile
from gateway.storage.sqlite import SqliteAuditStore
from tests.benchmarks.measure import Scale, median, own_cpu_s
from tests.benchmarks.rows import Group, Row

ORIGIN = "970100.yunchuan.example/gateway-1"
SIGNER = LogSigner(origin=ORIGIN, key=SigningKey(bytes(32)))
LEAF_BYTES, STRETCH, PROVEN = 600, 256 * 64, 10_000_000


def _leaves(count: int) -> Iterator[bytes]:
    """Yield entries of some 600 bytes that differ."""
    entry = audit_pb2.AuditEntry(salt=bytes(16), version=1, gateway=ORIGIN, time_ms=1)
    entry.exchange.operator = "x" * (LEAF_BYTES - entry.ByteSize() - 6)
    whole = entry.SerializeToString()
    for number in range(count):
        yield whole[:2] + number.to_bytes(16, "big") + whole[18:]


class _Writer:
    """Writes a log to a folder as the sequencer does, with less of a checkpoint: rows, tiles and head.

    Args:
        folder: the gateway's.
    """

    def __init__(self, folder: Path) -> None:
        self._store = SqliteAuditStore(folder=folder)
        self._store.open()
        self._mark = HighWaterFile(path=folder / HIGH_WATER)
        (folder / LOG_KEY).write_text(SIGNER.verifier_key + "\n")
        self._tops: dict[int, list[bytes]] = {}

    def tile(self, level: int, n: int, hashes: bytes) -> list[Tile]:
        """Return a full tile and those above that it fills."""
        tops = self._tops.setdefault(level + 1, [])
        tops.append(top_of(hashes))
        tiles = [Tile(level=level, n=n, hashes=hashes)]
        if len(tops) == TILE_HASHES:
            above, self._tops[level + 1] = b"".join(tops), []
            tiles += self.tile(level + 1, n >> TILE_BITS, above)
        return tiles

    def commit(self, first: int, leaves: list[bytes], tiles: list[Tile], size: int, root: bytes) -> None:
        """Write one group and its head."""
        note = SIGNER.sign(Checkpoint(ORIGIN, size, root))
        head = StoredHead(size=size, root=root, checkpoint=note)
        self._store.stage(StoredGroup(first=first, leaves=leaves, tiles=tiles, head=head))
        self._store.commit()
        self._mark.write(note)

    def close(self) -> None:
        """Close the log."""
        self._mark.close()
        self._store.close()


def _write(folder: Path, count: int) -> None:
    """Write `count` entries, a multiple of 256."""
    writer, source = _Writer(folder), _leaves(count)
    edge: dict[int, bytes] = {}
    for first in range(0, count, STRETCH):
        leaves = [next(source) for _ in range(min(STRETCH, count - first))]
        growth = merkle.grow(first, edge, [leaf_hash(leaf) for leaf in leaves])
        edge = dict(growth.edge)
        tiles: list[Tile] = []
        for at in range(0, len(leaves), TILE_HASHES):
            hashes = b"".join(growth.rows[0][at : at + TILE_HASHES])
            tiles += writer.tile(0, (first + at) >> TILE_BITS, hashes)
        writer.commit(first, leaves, tiles, growth.size, growth.root)
    writer.close()


def _hash_alone(count: int) -> float:
    """Return the CPU seconds that the hashes of leaves and nodes take, with nothing else."""
    leaves = list(_leaves(min(count, 50_000) & ~(TILE_HASHES - 1)))
    begun = own_cpu_s()
    for first in range(0, len(leaves), TILE_HASHES):
        part = leaves[first : first + TILE_HASHES]
        top_of(b"".join([sha256(b"\0" + leaf).digest() for leaf in part]))
    return (own_cpu_s() - begun) * count / len(leaves)


def _verify(scale: Scale) -> Row:
    count = scale.of(2_000_000, least=STRETCH) & ~(TILE_HASHES - 1)
    rates, alone = [], []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _write(folder, count)
        for _ in range(scale.repetitions):
            begun = own_cpu_s()
            report = verify_folder(folder, {ORIGIN: (SIGNER.public_key,)})
            rates.append(count / (own_cpu_s() - begun))
            if not report.whole or report.size != count:
                raise RuntimeError(str(report.faults))
            alone.append(count / _hash_alone(count))
    return Row(
        id="audit_verify_per_s_per_core",
        value=median(rates),
        unit="1/s",
        beside=median(alone),
        beside_what="hashlib alone, the same leaves and nodes from memory",
        budget=">= 300,000",
        note=f"{count:,} entries of {LEAF_BYTES} B, one process, CPU time; rows read, hashed, compared with "
        "their tiles, tiles above and root computed anew",
    )


def _ten_million(folder: Path) -> tuple[bytes, bytes]:
    """Write the tiles of a log of ten million equal entries and its last rows; return root and leaf hash."""
    leaf = b"an entry of a log of ten million"
    writer, count = _Writer(folder), PROVEN & ~(TILE_HASHES - 1)
    full = leaf_hash(leaf) * TILE_HASHES
    level, hashes, edge = 0, full, dict[int, bytes]()
    pending: list[Tile] = []
    left = PROVEN
    while left:
        places, rest = divmod(left, TILE_HASHES)
        for n in range(places):
            pending.append(Tile(level=level, n=n, hashes=hashes))
        node, bit = hashes[:HASH_BYTES], 0
        while rest >> bit:
            if rest >> bit & 1:
                edge[level * TILE_BITS + bit] = node
            node, bit = merkle.node_hash(node, node), bit + 1
        hashes, level, left = top_of(hashes) * TILE_HASHES, level + 1, places
    root = merkle.root_of_edge(edge)
    writer.commit(count, [leaf] * (PROVEN - count), pending, PROVEN, root)
    writer.close()
    return root, leaf_hash(leaf)


def _prove(scale: Scale) -> Row:
    chance, cold, warm = random.Random(1), [], []
    with tempfile.TemporaryDirectory() as place:
        root, hashed = _ten_million(Path(place))
        store = SqliteAuditStore(folder=Path(place))
        head = store.open()
        assert head is not None and (head.size, head.root) == (PROVEN, root)
        for _ in range(scale.of(1000, least=50)):
            index = chance.randrange(PROVEN)
            # One tile at most stays in memory: each level's tile is read and hashed again.
            for kept, times in ((1, cold), (128, warm)):
                tree = LogTree(read_tile=store.tile, max_cached_tiles=kept)
                tree.load(PROVEN, store.leaves)
                for _ in range(2):
                    begun = time.perf_counter()
                    proof = merkle.inclusion_proof(index, PROVEN, tree.node)
                    elapsed = time.perf_counter() - begun
                times.append(elapsed * 1000)
                if root_from_path(index, PROVEN, hashed, proof) != root:
                    raise RuntimeError(f"entry {index}")
        store.close()
    late = sorted(cold)[int(len(cold) * 0.99)]
    return Row(
        id="audit_proof_ms_10m",
        value=median(cold),
        unit="ms",
        beside=median(warm),
        beside_what="the same proof again, its tiles in memory",
        budget="<= 5",
        note=f"one entry of {PROVEN:,}, tiles read from SQLite; p99 {late:.2f} ms; wall clock",
    )


async def run(scale: Scale) -> list[Row]:
    """Measure both."""
    os.sync()
    return [_verify(scale), _prove(scale)]


GROUP = Group(ids=("audit_verify_per_s_per_core", "audit_proof_ms_10m"), run=run)
