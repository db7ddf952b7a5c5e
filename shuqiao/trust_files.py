"""Which log keys to believe when something is verified offline, and on whose word.

Three sources, named in the outcome: a trust list whose signature was checked against a root certificate; a
trust list taken as it is; a log key written as C2SP text ("name+id+base64").
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError

from exchange.checkpoint import parse_verifier_key
from exchange.errors import BadConfiguration, Malformed, UnknownEntry
from exchange.files import read_bounded
from exchange.lineage import Lineage
from exchange.trust import TrustAnchor, TrustList, read_trust_list
from exchange.v1 import common_pb2
from shuqiao.words import Text

SIGNED = Text(
    "信任列表第 {n} 号，已按根证书验证签名",
    "trust list {n}, its signature checked against the root certificate",
)
UNCHECKED = Text(
    "信任列表第 {n} 号，未验证其签名（可用 --root 指定根证书）",
    "trust list {n}, its signature not checked (name the root certificate with --root)",
)
KEY_FILE = Text("给定的日志公钥文件", "the log key file that was given")
FROM_FOLDER = Text(
    "公钥取自被验证的目录本身：只能发现损坏，不能发现整体伪造（用 --trust 指定信任列表）",
    "the key came from the folder itself: damage is found, a forgery of the whole is not (use --trust)",
)
MAX_FILE_BYTES = 4 * 1024 * 1024
ROOT_NAME = "root.pem"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogKeys:
    """Keys of logs, and on whose word.

    Args:
        by_origin: Ed25519 keys, 32 bytes each, by origin of the log.
        source: where they came from.
        trust: the trust list, where they came from one.
        anchor: the root against which its signature was checked.
    """

    by_origin: Mapping[str, tuple[bytes, ...]]
    source: Text
    trust: TrustList | None = None
    anchor: TrustAnchor | None = None

    def of(self, origin: str) -> tuple[bytes, ...]:
        """Return the keys of one log.

        Raises:
            UnknownEntry: none are known.
        """
        keys = self.by_origin.get(origin)
        if not keys:
            raise UnknownEntry(origin)
        return keys

    def lineage(self, origin: str) -> Lineage | None:
        """Return where the epochs of a log begin, as far as a trust list tells."""
        return self.trust.lineage(origin) if self.trust else None


def read_log_keys(path: Path, *, root: Path | None = None) -> LogKeys:
    """Read a trust list file or a log key file.

    Args:
        path: trust-list.pb, or a C2SP key.
        root: PEM of the authority's root; the one beside the trust list where None and there is one.

    Raises:
        BadConfiguration: it is neither.
        ExchangeError: the trust list's signature does not verify.
    """
    content = read_bounded(path, MAX_FILE_BYTES)
    text = content.decode("utf-8", "replace").strip()
    lines = text.splitlines()
    if lines and all(line.count("+") >= 2 and line.isprintable() for line in lines):
        keys: dict[str, tuple[bytes, ...]] = {}
        for origin, key in map(parse_verifier_key, lines):
            keys[origin] = (*keys.get(origin, ()), key)
        return LogKeys(by_origin=keys, source=KEY_FILE)
    try:
        statement = common_pb2.Statement.FromString(content)
        trust = read_trust_list(statement)
    except (DecodeError, Malformed) as error:
        raise BadConfiguration(f"{path}: neither trust list nor log key") from error
    beside = path.parent / ROOT_NAME
    pinned = root or (beside if beside.is_file() else None)
    if pinned is None:
        return keys_of(trust, UNCHECKED)
    anchor = TrustAnchor(
        root_pem=read_bounded(pinned, MAX_FILE_BYTES),
        division=trust.division,
        trust_domain=trust.trust_domain,
    )
    # Checked at the time it was signed: a list kept for years still says what it said.
    trust = anchor.verify_trust_list(statement, now_ms=trust.issued_at_ms, held=None)
    return keys_of(trust, SIGNED, anchor)


def keys_of(trust: TrustList, source: Text, anchor: TrustAnchor | None = None) -> LogKeys:
    """Return the log keys that a trust list names."""
    keys = {origin: gateway.log_keys for origin, gateway in trust.gateways.items()}
    return LogKeys(by_origin=keys, source=source.filled(n=trust.number), trust=trust, anchor=anchor)
