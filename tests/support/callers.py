"""Who calls a service in tests: named in the call's metadata, as mutual TLS would tell it."""

from typing import Any

from exchange.errors import NoIdentity
from exchange.identity import Identity, parse_uri
from exchange.statement import StatementSigner
from exchange.trust import Verified
from exchange.v1 import audit_pb2


def peer(context: Any) -> Verified:
    """Take the caller from the call's metadata."""
    metadata = dict(context.invocation_metadata())
    if "caller" not in metadata:
        raise NoIdentity("no certificate")
    identity = parse_uri(metadata["caller"])
    return Verified(identity=identity, certificate=None, serial=1, not_after_ms=1 << 60)  # type: ignore[arg-type]


def by(signer: StatementSigner) -> tuple[tuple[str, str], ...]:
    """Return the metadata of a person's call."""
    return (("caller", signer.identity.uri),)


async def nothing_traced(request: audit_pb2.TraceRequest, caller: Identity) -> audit_pb2.TraceResponse:
    """Stand where traces are answered in a test that asks for none."""
    raise AssertionError("nobody traces here")
