"""What whoever verifies a bundle brings along: the only things that are believed without the bundle's word.

A pinned root is needed. A trust list, the log's key, a witness policy and heads of the log that were seen
before each make the verification stricter; what is brought counts before what the bundle says.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import takewhile
from typing import NamedTuple

from cryptography import x509

from exchange.checkpoint import Checkpoint, parse_checkpoint, part_note
from exchange.errors import BadConfiguration, ExchangeError
from exchange.evidence.records import Kind, is_bundle, parse, read_records
from exchange.lineage import split_origin
from exchange.receipt import from_tlog_proof
from exchange.trust import TrustAnchor, TrustList, read_trust_list
from exchange.v1 import common_pb2, evidence_pb2

MAX_HEAD_FILE_BYTES = 64 * 1024 * 1024


class KnownHead(NamedTuple):
    """A head that whoever verifies has seen before.

    Attributes:
        source: where it is from, for people.
        note: the signed checkpoint.
        head: what it states.
    """

    source: str
    note: str
    head: Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """What is brought along.

    Attributes:
        root_pem: certificate of the authority's root.
        trust_list: a signed list, or None.
        log_keys: origin and Ed25519 keys (32 bytes each) of the log, or None.
        policy: a witness policy, C2SP tlog-policy, or None; where given, its quorum is demanded.
        heads: every one of them must be shown to belong to the bundle's log.

    Raises:
        BadConfiguration: the root is no certificate.
    """

    root_pem: bytes
    trust_list: common_pb2.Statement | None = None
    log_keys: tuple[str, tuple[bytes, ...]] | None = None
    policy: bytes | None = None
    heads: Sequence[KnownHead] = field(default=())

    def __post_init__(self) -> None:
        try:
            x509.load_pem_x509_certificate(self.root_pem)
        except ValueError as error:
            raise BadConfiguration("root certificate") from error

    def anchor(self, fallback: TrustList | None) -> TrustAnchor:
        """Return the root with division and domain: of the list brought along, or else of another.

        Raises:
            BadConfiguration: the root is none, or there is no list.
            Malformed: the list brought along is none.
        """
        named = read_trust_list(self.trust_list) if self.trust_list is not None else fallback
        if named is None:
            raise BadConfiguration("trust list")
        return TrustAnchor(root_pem=self.root_pem, division=named.division, trust_domain=named.trust_domain)


def known_heads(content: bytes, source: str) -> list[KnownHead]:
    """Return the heads in a file: a checkpoint, a receipt, an agent's heads.json, or an earlier bundle.

    Of a bundle, which may be large, the beginning suffices.

    The signatures are checked when the heads are compared, with the log's keys.

    Raises:
        BadConfiguration: it is none of these.
    """
    try:
        return [_known(source, note) for note in _notes(content)]
    except (ExchangeError, ValueError, RecursionError) as error:
        raise BadConfiguration(f"{source}: neither checkpoint, receipt, heads.json nor bundle") from error


def _notes(content: bytes) -> list[str]:
    if is_bundle(content):
        before = takewhile(lambda one: one.kind <= Kind.HEAD, read_records(BytesIO(content)))
        heads = [record.content for record in before if record.kind is Kind.HEAD]
        return [parse(raw, evidence_pb2.EvidenceHead).checkpoint for raw in heads[-1:]]
    text = content.decode("utf-8")
    if text.startswith("{"):
        rows = json.loads(text)
        return [note for note in rows.values() if isinstance(note, str)]
    if text.startswith("c2sp.org/tlog-proof"):
        return [from_tlog_proof(text)[1]]
    return [text]


def _known(source: str, note: str) -> KnownHead:
    return KnownHead(source, note, parse_checkpoint(part_note(note)[0]))


def keys_of_epochs(lists: Sequence[TrustList], origin: str) -> dict[str, tuple[bytes, ...]]:
    """Return the keys of a log and of its earlier epochs, 32 bytes each, by origin, as lists name them."""
    base, newest = split_origin(origin)
    keys: dict[str, set[bytes]] = {origin: set()}
    for trust in lists:
        for gateway in trust.gateways.values():
            of, epoch = split_origin(gateway.origin)
            if of == base and epoch <= newest:
                keys.setdefault(gateway.origin, set()).update(gateway.log_keys)
    return {of: tuple(sorted(held)) for of, held in keys.items()}


def log_keys(trust: TrustList | None, origin: str) -> tuple[bytes, ...]:
    """Return the keys that a trust list names for a log, 32 bytes each; none where it does not know it."""
    gateway = trust.gateways.get(origin) if trust is not None else None
    return gateway.log_keys if gateway is not None else ()
