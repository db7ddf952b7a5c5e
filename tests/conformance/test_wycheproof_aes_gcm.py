"""Wycheproof's AES-GCM vectors through the AEAD that the suites call.

Only 256-bit keys and 12-byte nonces are used; other keys are refused before anything is sealed.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag

from exchange.suites import DEFAULT_SUITE, suite

NAME = "wycheproof-aes_gcm_test.json"
Case = dict[str, Any]


def groups() -> list[Case]:
    folder = os.environ.get("CONFORMANCE_VECTORS", "")
    path = Path(folder) / NAME
    if not folder or not path.is_file():
        pytest.skip(f"{NAME} is not in the folder that CONFORMANCE_VECTORS names")
    found: list[Case] = json.loads(path.read_text())["testGroups"]
    return found


def cases(key_bits: int) -> Iterator[Case]:
    for group in groups():
        if (group["ivSize"], group["keySize"], group["tagSize"]) == (96, key_bits, 128):
            yield from group["tests"]


def test_every_case_with_a_256_bit_key_and_a_12_byte_nonce_comes_out_as_told() -> None:
    counted = {"valid": 0, "invalid": 0}
    for case in cases(256):
        key, nonce, aad, message, ct, tag = (
            bytes.fromhex(case[name]) for name in ("key", "iv", "aad", "msg", "ct", "tag")
        )
        aead = suite(DEFAULT_SUITE).aead(key)
        counted[case["result"]] += 1
        if case["result"] == "valid":
            assert aead.encrypt(nonce, message, aad) == ct + tag, case["tcId"]
            assert aead.decrypt(nonce, ct + tag, aad) == message, case["tcId"]
        else:
            with pytest.raises(InvalidTag):
                aead.decrypt(nonce, ct + tag, aad)
    assert counted["valid"] > 20 and counted["invalid"] > 20


@pytest.mark.parametrize("key_bits", [128, 192])
def test_shorter_keys_are_refused(key_bits: int) -> None:
    for case in cases(key_bits):
        with pytest.raises(ValueError, match="32 bytes"):
            suite(DEFAULT_SUITE).aead(bytes.fromhex(case["key"]))
