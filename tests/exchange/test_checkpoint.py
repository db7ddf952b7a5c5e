"""Checkpoints as C2SP signed notes."""

import base64

import pytest
from nacl.signing import SigningKey

from exchange import checkpoint as cp
from exchange.errors import BadConfiguration, ReceiptBroken
from exchange.merkle import leaf_hash, root_of

ORIGIN = "970100.yunchuan.example/gateway-1"
KEY = SigningKey(bytes(range(32)))
PUBLIC = bytes(KEY.verify_key)
ROOT = root_of([leaf_hash(b"one")])

# From the tests of golang.org/x/mod/sumdb/note (BSD-3-Clause).
GO_VERIFIER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
)
GO_SIGNATURE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZ"
    "InNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
GO_OTHER = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5"
    "n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
)


def note(size: int = 1, root: bytes = ROOT, origin: str = ORIGIN, key: SigningKey = KEY) -> str:
    return cp.LogSigner(origin=origin, key=key).sign(cp.Checkpoint(origin, size, root))


def refused(text: str, *, origin: str = ORIGIN, keys: tuple[bytes, ...] = (PUBLIC,)) -> None:
    with pytest.raises(ReceiptBroken):
        cp.open_checkpoint(text, origin=origin, log_keys=keys)


def test_a_signed_head_opens_as_it_was() -> None:
    assert cp.open_checkpoint(note(), origin=ORIGIN, log_keys=[PUBLIC]) == cp.Checkpoint(ORIGIN, 1, ROOT)


def test_notes_and_keys_agree_with_the_reference_implementation_in_go() -> None:
    name, key = cp.parse_verifier_key(GO_VERIFIER)
    assert (name, cp.verifier_key(name, key)) == ("PeterNeumann", GO_VERIFIER)
    signer = cp.LogSigner(origin=name, key=SigningKey(GO_SEED))
    assert signer.verifier_key == GO_VERIFIER
    assert signer.sign_text(GO_TEXT) == GO_TEXT + "\n" + GO_SIGNATURE
    assert cp.open_note(GO_TEXT + "\n" + GO_SIGNATURE + GO_OTHER, name=name, keys=[key]) == GO_TEXT


@pytest.mark.parametrize(
    "text",
    [
        GO_TEXT,
        GO_TEXT + "\n",
        GO_TEXT + "\n" + GO_SIGNATURE[:-1],
        "\x01" + GO_TEXT + "\n" + GO_SIGNATURE,
        "\ud800" + GO_TEXT + "\n" + GO_SIGNATURE,
        GO_TEXT + "\n" + GO_SIGNATURE + "Unexpected line.\n",
        GO_TEXT + "\n" + GO_SIGNATURE + "\n",
        GO_TEXT + "\n" + GO_SIGNATURE[:60] + "ABCD" + GO_SIGNATURE[60:],
        GO_TEXT + "\n" + GO_SIGNATURE * 101,
        GO_TEXT + "\n" + GO_OTHER,
        GO_TEXT + "\nmore\n\n" + GO_SIGNATURE,
    ],
)
def test_a_note_of_another_form_or_with_a_wrong_signature_is_refused(text: str) -> None:
    name, key = cp.parse_verifier_key(GO_VERIFIER)
    with pytest.raises(ReceiptBroken):
        cp.open_note(text, name=name, keys=[key])


def test_any_single_change_of_a_keys_text_is_refused() -> None:
    for place in range(len(GO_VERIFIER)):
        changed = GO_VERIFIER[:place] + chr(ord(GO_VERIFIER[place]) + 1) + GO_VERIFIER[place + 1 :]
        with pytest.raises(BadConfiguration):
            cp.parse_verifier_key(changed)


def test_another_key_origin_size_or_root_is_refused() -> None:
    other = SigningKey(bytes(32))
    refused(note(key=other))
    refused(note(), keys=(bytes(other.verify_key),))
    refused(note(), keys=())
    refused(note(origin="970200.yunchuan.example/gateway-1"))
    refused(note(), origin="970200.yunchuan.example/gateway-1")
    refused(note().replace("\n1\n", "\n2\n"))
    refused(note().replace(base64.b64encode(ROOT).decode(), base64.b64encode(bytes(32)).decode()))


def test_a_head_of_another_log_under_this_logs_key_is_refused() -> None:
    text = cp.Checkpoint("970200.yunchuan.example/gateway-1", 1, ROOT).text
    refused(cp.LogSigner(origin=ORIGIN, key=KEY).sign_text(text))


def test_a_small_order_key_signs_nothing() -> None:
    small_order = bytes([1]) + bytes(31)
    text = cp.Checkpoint(ORIGIN, 1, ROOT).text
    forged = base64.b64encode(cp.key_id(ORIGIN, small_order) + bytes([1]) + bytes(63)).decode()
    refused(f"{text}\n— {ORIGIN} {forged}\n", keys=(small_order,))


@pytest.mark.parametrize(
    "middle",
    [
        "01\n{root}",
        "+1\n{root}",
        "-1\n{root}",
        "1 \n{root}",
        "١\n{root}",
        "9223372036854775808\n{root}",
        "1",
        "1\n{root}=",
        "1\n{root}A",
        "\n{root}",
        "1\n{short}",
        "1\n{root}\n\nextension",
    ],
)
def test_a_signed_text_that_is_no_checkpoint_is_refused(middle: str) -> None:
    encoded = middle.format(root=base64.b64encode(ROOT).decode(), short=base64.b64encode(ROOT[:31]).decode())
    refused(cp.LogSigner(origin=ORIGIN, key=KEY).sign_text(f"{ORIGIN}\n{encoded}\n"))


def test_base64_with_stray_bits_is_refused() -> None:
    encoded = base64.b64encode(ROOT).decode()
    stray = encoded[:-2] + chr(ord(encoded[-2]) + 1) + "="
    assert base64.b64decode(stray) == ROOT
    refused(cp.LogSigner(origin=ORIGIN, key=KEY).sign_text(f"{ORIGIN}\n1\n{stray}\n"))


def test_a_second_trusted_key_and_a_cosignature_are_accepted() -> None:
    other = SigningKey(bytes(32))
    both = note() + note(key=other).rpartition("\n\n")[2] + GO_OTHER
    keys = [bytes(other.verify_key), PUBLIC]
    assert cp.open_checkpoint(both, origin=ORIGIN, log_keys=keys).size == 1


def test_one_wrong_signature_by_a_trusted_key_condemns_the_note() -> None:
    good = note()
    bad = note(size=2).rpartition("\n\n")[2]
    refused(good + bad)


@pytest.mark.parametrize("origin", ["", "a b", "a+b", "a\nb", "a\u3000b"])
def test_an_origin_that_cannot_name_a_key_is_refused(origin: str) -> None:
    with pytest.raises(BadConfiguration):
        cp.LogSigner(origin=origin, key=KEY)


def test_a_signer_refuses_another_logs_head() -> None:
    with pytest.raises(BadConfiguration):
        cp.LogSigner(origin=ORIGIN, key=KEY).sign(cp.Checkpoint("other", 1, ROOT))


def test_a_cache_opens_each_note_once_and_stays_bounded() -> None:
    cache = cp.CheckpointCache(origin=ORIGIN, log_keys=[PUBLIC], remembered=2)
    first = cache.open(note(1))
    assert cache.open(note(1)) is first
    cache.open(note(2)), cache.open(note(3))
    assert cache.open(note(1)) is not first
    with pytest.raises(ReceiptBroken):
        cache.open(note(4).replace("\n4\n", "\n5\n"))
