"""Domain-separated digests: every signed or hashed thing has a string of its own before its bytes.

Invariant: what is hashed is what travels. A body is serialised once, forwarded verbatim and never
re-serialised, so protobuf needs no canonical form.
"""

import hashlib

REQUEST = b"shuqiao/request/1\0"
RESPONSE = b"shuqiao/response/1\0"
BATCH = b"shuqiao/batch/1\0"
SESSION = b"shuqiao/session/1\0"
KEY = b"shuqiao/key/1\0"
BUNDLE = b"shuqiao/bundle/1\0"
ORGANISATION = b"shuqiao/organisation/1\0"
RESOURCE = b"shuqiao/resource/1\0"
RESOURCE_STATE = b"shuqiao/resource-state/1\0"
GRANT = b"shuqiao/grant/1\0"
GRANT_EVENT = b"shuqiao/grant-event/1\0"
TRUST_LIST = b"shuqiao/trust-list/1\0"
COUNTERSIGN = b"shuqiao/countersign/1\0"
REVIEW_DRAW = b"shuqiao/review-draw/1\0"
REVIEW_EVENT = b"shuqiao/review-event/1\0"
SAMPLE = b"shuqiao/sample/1\0"
EVIDENCE = b"shuqiao/evidence/1\0"
LOG_KEY = b"shuqiao/log-key/1\0"
LOG_EPOCH = b"shuqiao/log-epoch/1\0"
RULES = b"shuqiao/rules/1\0"
STOP = b"shuqiao/stop/1\0"
LIFT = b"shuqiao/lift/1\0"
CASE = b"shuqiao/case/1\0"
TICKET = b"shuqiao/ticket/1\0"
TICKET_EVENT = b"shuqiao/ticket-event/1\0"
QUALITY = b"shuqiao/quality/1\0"
SEALED_TEXT = b"shuqiao/sealed-text/1\0"
FINDING_DECISION = b"shuqiao/finding-decision/1\0"
PSEUDONYM = b"shuqiao/pseudonym/1\0"
SUBJECT_TAGS = b"shuqiao/subject-tags/1\0"
SUBJECT_INNER = b"shuqiao/subject-inner/1\0"
SUBJECT_OUTER = b"shuqiao/subject-outer/1\0"

NONCE_BYTES = 16
DIGEST_BYTES = 32


def digest(domain: bytes, body: bytes) -> bytes:
    """Return the SHA-256 of a body under its domain.

    Args:
        domain: one of this module's strings, ending in a zero byte.
        body: the exact bytes that travel.

    Returns:
        32 bytes.
    """
    return hashlib.sha256(domain + body).digest()
