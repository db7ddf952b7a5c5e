"""Where private keys are kept: encrypted at rest, behind a port that a hardware module can stand behind too.

A folder holds one header (salt, and a constant sealed under the key, so that a wrong passphrase is told
from damage) and one file per secret. The key is derived once per opening by Argon2id (libsodium's
INTERACTIVE cost: 64 MiB, two passes); each secret is sealed by XSalsa20-Poly1305 together with its own name,
so that files cannot be exchanged for one another. Deleting removes the file; what a disk or a backup keeps
of it is beyond this module.
"""

import os
import re
from pathlib import Path
from typing import Protocol

from nacl import pwhash
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from exchange.clock import Random, system_random
from exchange.durable import create_file, replace_file, sync_folder
from exchange.errors import BadConfiguration, StoreDamaged

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,95}")
MAX_SECRET_BYTES = 64 * 1024
SUFFIX = ".key"
HEADER = ".keystore"
MAGIC = b"shuqiao-keystore/1\n"
SALT_BYTES = pwhash.argon2id.SALTBYTES
COST = (pwhash.argon2id.OPSLIMIT_INTERACTIVE, pwhash.argon2id.MEMLIMIT_INTERACTIVE)
"""Passes and bytes of memory of a derivation; no header says them, so they never change within a version."""
_PROOF = b"this passphrase opens this folder"


class KeyStore(Protocol):
    """Keeps secrets by name. A secret is durable when `put` returns."""

    def get(self, name: str) -> bytes | None:
        """Return a secret, None where there is none."""
        ...

    def put(self, name: str, secret: bytes) -> None:
        """Keep a secret, in place of any of that name."""
        ...

    def delete(self, name: str) -> None:
        """Forget a secret; nothing happens where there is none."""
        ...

    def names(self) -> list[str]:
        """Return the names of all secrets, sorted."""
        ...


def secret_in(keystore: KeyStore, name: str, random: Random) -> bytes:
    """Return a secret of 32 random bytes that is made where there is none of that name."""
    secret = keystore.get(name)
    if secret is None:
        secret = random(32)
        keystore.put(name, secret)
    return secret


class MemoryKeyStore:
    """Keeps secrets as long as it lives."""

    def __init__(self) -> None:
        self._secrets: dict[str, bytes] = {}

    def get(self, name: str) -> bytes | None:
        """Return a secret, None where there is none."""
        return self._secrets.get(_checked(name))

    def put(self, name: str, secret: bytes) -> None:
        """Keep a secret."""
        self._secrets[_checked(name)] = bytes(secret)

    def delete(self, name: str) -> None:
        """Forget a secret."""
        self._secrets.pop(_checked(name), None)

    def names(self) -> list[str]:
        """Return the names of all secrets, sorted."""
        return sorted(self._secrets)


class FileKeyStore:
    """Keeps secrets in a folder, encrypted under a passphrase.

    Args:
        folder: made with mode 0700 where it is missing.
        passphrase: not empty.
        random: where salt and nonces come from.

    Raises:
        BadConfiguration: the passphrase is empty or not the folder's, or the folder cannot be used.
        StoreDamaged: the folder's header is damaged.
    """

    def __init__(self, *, folder: Path, passphrase: bytes, random: Random = system_random) -> None:
        if not passphrase:
            raise BadConfiguration(f"{folder}: empty passphrase")
        self._folder = folder
        self._random = random
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
            self._box = self._open(passphrase)
        except OSError as error:
            raise BadConfiguration(f"{folder}: {error.strerror}") from error

    def get(self, name: str) -> bytes | None:
        """Return a secret, None where there is none.

        Raises:
            StoreDamaged: the file does not open, or belongs to another name.
        """
        try:
            sealed = self._path(name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreDamaged(f"key {name}") from error
        try:
            plain = self._box.decrypt(sealed)
        except (CryptoError, ValueError) as error:
            raise StoreDamaged(f"key {name}") from error
        owner, _, secret = plain.partition(b"\0")
        if owner != name.encode():
            raise StoreDamaged(f"key {name}")
        return secret

    def put(self, name: str, secret: bytes) -> None:
        """Keep a secret durably.

        Raises:
            StoreDamaged: it could not be written; what was there before stands.
        """
        if len(secret) > MAX_SECRET_BYTES:
            raise BadConfiguration(f"key {name}: too large")
        sealed = self._box.encrypt(name.encode() + b"\0" + secret, self._random(SecretBox.NONCE_SIZE))
        try:
            replace_file(self._path(name), bytes(sealed))
        except OSError as error:
            raise StoreDamaged(f"key {name}") from error

    def delete(self, name: str) -> None:
        """Forget a secret; nothing happens where there is none."""
        try:
            self._path(name).unlink(missing_ok=True)
            sync_folder(self._folder)
        except OSError as error:
            raise StoreDamaged(f"key {name}") from error

    def names(self) -> list[str]:
        """Return the names of all secrets, sorted."""
        files = (path.name.removesuffix(SUFFIX) for path in self._folder.glob(f"*{SUFFIX}"))
        return sorted(name for name in files if NAME.fullmatch(name))

    def _path(self, name: str) -> Path:
        return self._folder / f"{_checked(name)}{SUFFIX}"

    def _open(self, passphrase: bytes) -> SecretBox:
        header = self._folder / HEADER
        if not header.exists():
            salt = self._random(SALT_BYTES)
            box = _box(passphrase, salt)
            proof = box.encrypt(_PROOF, self._random(SecretBox.NONCE_SIZE))
            create_file(header, MAGIC + salt + bytes(proof))
            return box
        content = header.read_bytes()
        salt = content[len(MAGIC) : len(MAGIC) + SALT_BYTES]
        if not content.startswith(MAGIC) or len(salt) != SALT_BYTES:
            raise StoreDamaged(f"{self._folder}{os.sep}{HEADER}")
        box = _box(passphrase, salt)
        try:
            proven = box.decrypt(content[len(MAGIC) + SALT_BYTES :])
        except (CryptoError, ValueError) as error:
            raise BadConfiguration(f"{self._folder}: wrong passphrase") from error
        if proven != _PROOF:
            raise StoreDamaged(f"{self._folder}{os.sep}{HEADER}")
        return box


def _box(passphrase: bytes, salt: bytes) -> SecretBox:
    passes, memory = COST
    key = pwhash.argon2id.kdf(SecretBox.KEY_SIZE, passphrase, salt, opslimit=passes, memlimit=memory)
    return SecretBox(key)


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise BadConfiguration(f"name of a key: {name[:32]!r}")
    return name
