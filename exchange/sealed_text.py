"""A text that one agent of the provider can open: what is wrong with a value holds personal data.

A fresh secret is wrapped to the agent's sealing key (exchange/suites.py). Wrap and text are bound to the
whole of what they belong to: suite, who raises it, provider, agent, key, ticket nonce and exchange. Put into
another ticket, or told to be another's, neither opens. The key derived is used once, so its nonce is zero.
Lengths are hidden in steps of 256 bytes.
"""

import hashlib
import struct

from cryptography.exceptions import InvalidTag

from exchange.canonical import SEALED_TEXT
from exchange.clock import Random, system_random
from exchange.errors import Oversized, SealBroken
from exchange.suites import AEAD_KEY_BYTES, SECRET_BYTES, suite
from exchange.v1 import ticket_pb2

MAX_TEXT_BYTES = 7 * 1024
STEP = 256
_LENGTH = struct.Struct(">H")
_NONCE = bytes(12)


def seal_text(
    text: bytes,
    *,
    suite_id: int,
    public: bytes,
    kid: bytes,
    agent: str,
    raised_by: str,
    provider: str,
    nonce: bytes,
    exchange_id: bytes,
    random: Random = system_random,
) -> ticket_pb2.SealedText:
    """Seal a text to an agent.

    Args:
        text: at most 7 KiB.
        suite_id: of the sealing key.
        public: the agent's sealing key.
        kid: its id, 16 bytes.
        agent: name of the provider's agent.
        raised_by, provider: credit codes.
        nonce: of the ticket, 16 bytes.
        exchange_id: 16 bytes.
        random: for the secret.

    Raises:
        Oversized: the text is too long.
        SealBroken: the public key is none.
        WrongSuite: the suite is unknown.
    """
    if len(text) > MAX_TEXT_BYTES:
        raise Oversized("detail")
    chosen, secret = suite(suite_id), random(SECRET_BYTES)
    info = _info(suite_id, raised_by, provider, agent, kid, nonce, exchange_id)
    key = chosen.derive(secret, hashlib.sha256(info).digest(), SEALED_TEXT, AEAD_KEY_BYTES)
    plain = _LENGTH.pack(len(text)) + text
    plain += bytes(-len(plain) % STEP)
    return ticket_pb2.SealedText(
        agent=agent,
        kid=kid,
        suite=suite_id,
        wrap=chosen.wrap(public, info, secret),
        ciphertext=chosen.aead(key).encrypt(_NONCE, plain, info),
    )


def open_text(
    sealed: ticket_pb2.SealedText,
    private: bytes,
    *,
    raised_by: str,
    provider: str,
    nonce: bytes,
    exchange_id: bytes,
) -> bytes:
    """Open a text with the agent's private sealing key; the other arguments as in `seal_text`.

    Raises:
        SealBroken: another key, another ticket, or altered bytes.
        WrongSuite: the suite is unknown.
    """
    chosen = suite(sealed.suite)
    if len(sealed.wrap) != chosen.wrap_bytes:
        raise SealBroken("wrap")
    info = _info(sealed.suite, raised_by, provider, sealed.agent, sealed.kid, nonce, exchange_id)
    secret = chosen.unwrap(private, info, sealed.wrap)
    key = chosen.derive(secret, hashlib.sha256(info).digest(), SEALED_TEXT, AEAD_KEY_BYTES)
    try:
        plain = chosen.aead(key).decrypt(_NONCE, sealed.ciphertext, info)
    except InvalidTag:
        raise SealBroken("text") from None
    if len(plain) < _LENGTH.size:
        raise SealBroken("text")
    (length,) = _LENGTH.unpack_from(plain)
    text = plain[_LENGTH.size : _LENGTH.size + length]
    if len(text) != length:
        raise SealBroken("text")
    return text


def _info(
    suite_id: int, raised_by: str, provider: str, agent: str, kid: bytes, nonce: bytes, exchange_id: bytes
) -> bytes:
    """Return what a text is bound to: the domain and the SHA-256 of every part with its length before it."""
    parts = [struct.pack(">I", suite_id)]
    for item in (raised_by.encode(), provider.encode(), agent.encode(), kid, nonce, exchange_id):
        parts += struct.pack(">I", len(item)), item
    return SEALED_TEXT + hashlib.sha256(b"".join(parts)).digest()
