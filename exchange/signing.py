"""Batch signatures: one Ed25519 signature for everything that was queued.

Each body is a leaf of an RFC 6962 tree; "shuqiao/batch/1\\0" ‖ kid ‖ u32 size ‖ root is signed once, and
every body carries its path. The size is signed and the path's length exact, because one path can otherwise
verify under several (index, size) pairs. Verification is libsodium's, which refuses small-order keys.
Signature bytes are never an identity.
"""

import struct
from collections import OrderedDict
from collections.abc import Sequence

from nacl.bindings import crypto_sign, crypto_sign_open
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey

from exchange import canonical
from exchange.errors import BadSignature, ReceiptBroken
from exchange.merkle import InclusionMemo, batch_paths, leaf_hash, root_from_path
from exchange.v1 import common_pb2

KID_BYTES = 16
SIGNATURE_BYTES = 64
MAX_BATCH = 4096
MAX_PATH_BYTES = 12 * 32
MEMO_NODES = 256


def _statement(kid: bytes, size: int, root: bytes) -> bytes:
    return canonical.BATCH + kid + struct.pack(">I", size) + root


class BatchSigner:
    """Signs batches with one key.

    Args:
        kid: id of the key, 16 bytes.
        key: the Ed25519 key.
    """

    def __init__(self, *, kid: bytes, key: SigningKey) -> None:
        self.kid = kid
        self._secret = bytes(key) + bytes(key.verify_key)

    def sign(self, digests: Sequence[bytes]) -> list[common_pb2.Signature]:
        """Sign bodies by their domain-separated digests.

        Args:
            digests: 1 to 4096 digests of 32 bytes.

        Returns:
            One signature per digest, in order.
        """
        size = len(digests)
        if not 0 < size <= MAX_BATCH:
            raise ValueError("a batch has 1 to 4096 bodies")
        root, paths = batch_paths([leaf_hash(digest) for digest in digests])
        kid = self.kid
        signature = crypto_sign(_statement(kid, size, root), self._secret)[:SIGNATURE_BYTES]
        make = common_pb2.Signature
        return [
            make(kid=kid, signature=signature, size=size, index=index, path=path)
            for index, path in enumerate(paths)
        ]


class BatchVerifier:
    """Verifies batch signatures of one key; keeps the roots it has verified, and the newest batch's nodes.

    Args:
        kid: id of the key, 16 bytes.
        public_key: Ed25519, 32 bytes.
        remembered: how many roots are kept.
    """

    def __init__(self, *, kid: bytes, public_key: bytes, remembered: int = 256) -> None:
        self.kid = kid
        self._public_key = public_key
        self._remembered = remembered
        self._roots: OrderedDict[tuple[bytes, int, bytes], None] = OrderedDict()
        # Of the newest batch alone: its bodies come together, and the memory of many agents' adds up.
        self._batch = b""
        self._size = 0
        self._memo = InclusionMemo(0, b"")

    def verify(self, digest: bytes, signature: common_pb2.Signature) -> None:
        """Check that a body's digest is covered by the key's signature.

        Args:
            digest: domain-separated digest of the body, 32 bytes.
            signature: what came with it.

        Raises:
            BadSignature: wrong key, size, path or signature.
        """
        size, path, signed = signature.size, signature.path, signature.signature
        if signature.kid != self.kid or not 0 < size <= MAX_BATCH:
            raise BadSignature(self.kid.hex())
        if len(signed) != SIGNATURE_BYTES or len(path) > MAX_PATH_BYTES:
            raise BadSignature(self.kid.hex())
        try:
            if signed == self._batch and size == self._size:
                self._memo.verify(signature.index, leaf_hash(digest), path)
                return
            root = root_from_path(signature.index, size, leaf_hash(digest), path)
        except ReceiptBroken:
            raise BadSignature(self.kid.hex()) from None
        self._check_root(root, size, signed)
        self._batch, self._size = signed, size
        self._memo = InclusionMemo(size, root, max_nodes=MEMO_NODES)

    def _check_root(self, root: bytes, size: int, signed: bytes) -> None:
        known = (root, size, signed)
        if known in self._roots:
            return
        try:
            crypto_sign_open(signed + _statement(self.kid, size, root), self._public_key)
        except (BadSignatureError, ValueError):
            raise BadSignature(self.kid.hex()) from None
        self._roots[known] = None
        if len(self._roots) > self._remembered:
            self._roots.popitem(last=False)


class BatchVerifiers:
    """The verifiers of many keys, the oldest forgotten beyond a number.

    Args:
        limit: how many are kept.
    """

    def __init__(self, *, limit: int = 4096) -> None:
        self._limit = limit
        self._by_kid: OrderedDict[bytes, BatchVerifier] = OrderedDict()

    def of(self, kid: bytes, public_key: bytes) -> BatchVerifier:
        """Return a key's verifier. Whoever asks has found the key in force: nothing is checked here.

        Args:
            kid: id of the key, 16 bytes, its digest.
            public_key: Ed25519, 32 bytes.
        """
        verifier = self._by_kid.get(kid)
        if verifier is None:
            verifier = self._by_kid[kid] = BatchVerifier(kid=kid, public_key=public_key)
            if len(self._by_kid) > self._limit:
                self._by_kid.popitem(last=False)
        return verifier
