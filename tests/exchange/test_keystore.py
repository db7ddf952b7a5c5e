"""Tests of exchange/keystore.py."""

import stat
from pathlib import Path

import pytest

from exchange.errors import BadConfiguration, StoreDamaged
from exchange.keystore import FileKeyStore, KeyStore, MemoryKeyStore


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> KeyStore:
    if request.param == "memory":
        return MemoryKeyStore()
    return FileKeyStore(folder=tmp_path / "keys", passphrase=b"secret")


def test_a_secret_comes_back_as_it_was_put(store: KeyStore) -> None:
    store.put("tls", b"one")
    store.put("tls", b"two\0with a zero")
    store.put("seal.1", b"")
    assert store.get("tls") == b"two\0with a zero" and store.get("seal.1") == b""
    assert store.names() == ["seal.1", "tls"]


def test_a_deleted_secret_is_gone(store: KeyStore) -> None:
    store.put("tls", b"one")
    store.delete("tls")
    store.delete("tls")
    assert store.get("tls") is None and store.names() == []


@pytest.mark.parametrize("name", ["", "../tls", "a/b", ".hidden", "A", "x" * 97])
def test_a_name_that_is_no_name_is_refused(store: KeyStore, name: str) -> None:
    with pytest.raises(BadConfiguration):
        store.put(name, b"")
    with pytest.raises(BadConfiguration):
        store.get(name)


def test_a_folder_opens_again_with_its_passphrase_and_no_other(tmp_path: Path) -> None:
    FileKeyStore(folder=tmp_path / "keys", passphrase=b"secret").put("tls", b"one")
    assert FileKeyStore(folder=tmp_path / "keys", passphrase=b"secret").get("tls") == b"one"
    for wrong in (b"Secret", b""):
        with pytest.raises(BadConfiguration):
            FileKeyStore(folder=tmp_path / "keys", passphrase=wrong)


def test_files_are_for_their_owner_alone_and_hold_no_plain_secret(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    FileKeyStore(folder=folder, passphrase=b"secret").put("tls", b"plain text of a key")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = list(folder.iterdir())
    assert len(files) == 2
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert b"plain text" not in file.read_bytes()


def test_damage_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    store = FileKeyStore(folder=folder, passphrase=b"secret")
    store.put("tls", b"one")
    content = bytearray((folder / "tls.key").read_bytes())
    content[-1] ^= 1
    (folder / "tls.key").write_bytes(content)
    with pytest.raises(StoreDamaged):
        store.get("tls")
    (folder / "tls.key").write_bytes(b"")
    with pytest.raises(StoreDamaged):
        store.get("tls")
    (folder / ".keystore").write_bytes(b"nothing")
    with pytest.raises(StoreDamaged):
        FileKeyStore(folder=folder, passphrase=b"secret")


def test_one_secret_cannot_stand_in_for_another(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    store = FileKeyStore(folder=folder, passphrase=b"secret")
    store.put("old", b"one")
    store.put("new", b"two")
    (folder / "old.key").rename(folder / "new.key")
    with pytest.raises(StoreDamaged):
        store.get("new")
