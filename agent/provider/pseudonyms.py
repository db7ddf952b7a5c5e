"""Pseudonyms: the same for one consumer, purpose and field, different for every other, and never reversed.

HMAC-SHA-256 under a key that only this agent has (`canonical.PSEUDONYM`, then consumer, purpose, field and
value, each with its length before it), the first 16 bytes as 32 hexadecimal digits. Who has two consumers'
answers cannot join them; one consumer can follow a person within a purpose and not beyond. Losing the key
makes new pseudonyms; another agent of the department has others.
"""

import hashlib
import hmac

from exchange.canonical import PSEUDONYM
from exchange.clock import Random
from exchange.keystore import KeyStore, secret_in

KEY_NAME = "pseudonyms"
PSEUDONYM_BYTES = 16


class Pseudonyms:
    """Makes pseudonyms.

    Args:
        key: 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, consumer: str, purpose: str, field: str, value: str) -> str:
        """Return the pseudonym of a value, 32 hexadecimal digits.

        Args:
            consumer: credit code.
            purpose: as the grant names it.
            field: name of the field.
            value: as text.
        """
        parts = b"".join(
            len(part).to_bytes(4) + part
            for part in (text.encode() for text in (consumer, purpose, field, value))
        )
        return hmac.digest(self._key, PSEUDONYM + parts, hashlib.sha256)[:PSEUDONYM_BYTES].hex()


def pseudonyms_in(keystore: KeyStore, random: Random) -> Pseudonyms:
    """Return an agent's pseudonyms; its key is made where there is none.

    Raises:
        StoreDamaged: the key store does not open it.
    """
    return Pseudonyms(secret_in(keystore, KEY_NAME, random))
