"""What whoever verifies a bundle of evidence brings along, read from files; nothing is fetched."""

from collections.abc import Sequence
from pathlib import Path

from exchange.errors import BadConfiguration
from exchange.evidence.records import is_bundle
from exchange.evidence.trusted import MAX_HEAD_FILE_BYTES, KnownHead, Trusted, known_heads
from exchange.files import read_bounded
from exchange.v1 import common_pb2
from exchange.witness_policy import MAX_POLICY_BYTES
from shuqiao.trust_files import MAX_FILE_BYTES, ROOT_NAME, read_log_keys

TRUST_NAME = "trust-list.pb"


def read_trusted(
    *,
    trust: Path | None,
    root: Path | None,
    policy: Path | None,
    heads: Sequence[Path],
    identity: Path | None,
) -> Trusted:
    """Read what is brought along.

    Args:
        trust: a trust list or a log key file; the identity folder's list where None.
        root: PEM of the root; the one beside the trust list, or in the identity folder, where None.
        policy: a witness policy.
        heads: files with heads that were seen before.
        identity: folder of whoever verifies, where there is one.

    Raises:
        BadConfiguration: a file is not what it should be, or there is no root.
    """
    if trust is None and root is None and identity is not None:
        trust = identity / TRUST_NAME
    places = [root, *(folder / ROOT_NAME for folder in (trust and trust.parent, identity) if folder)]
    pinned = next((one for one in places if one is not None and (one is root or one.is_file())), None)
    if pinned is None:
        raise BadConfiguration("--root")
    statement: common_pb2.Statement | None = None
    log_keys: tuple[str, tuple[bytes, ...]] | None = None
    if trust is not None:
        keys = read_log_keys(trust, root=pinned)
        if keys.trust is not None:
            statement = keys.trust.statement
        else:
            # The last origin of the file is that of the present epoch.
            log_keys = list(keys.by_origin.items())[-1]
    return Trusted(
        root_pem=read_bounded(pinned, MAX_FILE_BYTES),
        trust_list=statement,
        log_keys=log_keys,
        policy=read_bounded(policy, MAX_POLICY_BYTES) if policy is not None else None,
        heads=read_heads(heads),
    )


def read_heads(files: Sequence[Path]) -> list[KnownHead]:
    """Return the heads in files: checkpoints, receipts, agents' heads.json, earlier bundles.

    Raises:
        BadConfiguration: a file is none of these.
    """
    return [head for file in files for head in known_heads(_beginning(file), str(file))]


def _beginning(path: Path) -> bytes:
    """Return a file's content; of a bundle, as much as its heads can take."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_HEAD_FILE_BYTES)
    except OSError as error:
        raise BadConfiguration(f"{path}: {error.strerror}") from error
    if len(content) == MAX_HEAD_FILE_BYTES and not is_bundle(content):
        raise BadConfiguration(f"{path}: larger than {MAX_HEAD_FILE_BYTES} bytes")
    return content
