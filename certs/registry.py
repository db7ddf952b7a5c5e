"""What is entered of certificates, people and gateways, each within its caller's transaction."""

from dataclasses import dataclass

import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certs.profiles import not_after_ms
from certs.records import CERTIFICATES, GATEWAYS, PEOPLE, note
from exchange.errors import Malformed
from exchange.identity import Identity
from exchange.trust import MAX_LOG_KEYS, read_gateway
from exchange.v1 import trust_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A certificate as it was recorded. `serial` is lower-case hexadecimal."""

    id: int
    serial: str
    uri: str
    not_after_ms: int
    revoked: bool


def record(connection: sa.Connection, who: Identity, certificate: x509.Certificate) -> None:
    """Enter a certificate."""
    connection.execute(
        CERTIFICATES.insert().values(
            serial=f"{certificate.serial_number:x}",
            uri=who.uri,
            role=str(who.role),
            organisation=who.organisation,
            not_after_ms=not_after_ms(certificate),
            der=certificate.public_bytes(Encoding.DER),
        )
    )


def certificates_after(connection: sa.Connection, after: int, limit: int) -> list[Issued]:
    """Return the certificates whose record follows another's, in the order in which they were issued."""
    rows = connection.execute(
        sa.select(CERTIFICATES).where(CERTIFICATES.c.id > after).order_by(CERTIFICATES.c.id).limit(limit)
    )
    return [
        Issued(
            id=row.id,
            serial=row.serial,
            uri=row.uri,
            not_after_ms=row.not_after_ms,
            revoked=row.revoked_at_ms is not None,
        )
        for row in rows
    ]


def enter_person(connection: sa.Connection, who: Identity) -> None:
    """Enter that a person holds a role; nothing happens where that is known."""
    connection.execute(PEOPLE.insert().prefix_with("OR IGNORE").values(name=who.name, uri=who.uri))


def enter_gateway(
    connection: sa.Connection, gateway: trust_pb2.TrustedGateway, by: Identity, now_ms: int
) -> bool:
    """Enter a gateway's log and addresses; keys entered before stay behind the new ones.

    Returns:
        Whether anything changed.

    Raises:
        Malformed: a part is ill-formed, or name or origin are not the gateway's own.
    """
    named = trust_pb2.TrustedGateway()
    named.CopyFrom(gateway)
    named.name = by.name
    told = read_gateway(named)
    origin = f"{by.division}.{by.trust_domain}/{by.name}"
    if gateway.name not in ("", by.name) or told.origin != origin:
        raise Malformed(f"{by}: name or origin")
    held = connection.execute(sa.select(GATEWAYS).where(GATEWAYS.c.name == by.name)).one_or_none()
    keys = [key.hex() for key in told.log_keys]
    keys += [key for key in (held.log_keys if held else []) if key not in keys]
    values = {"origin": origin, "log_keys": keys[:MAX_LOG_KEYS], "addresses": list(told.addresses)}
    if held is not None and all(getattr(held, name) == value for name, value in values.items()):
        return False
    connection.execute(GATEWAYS.delete().where(GATEWAYS.c.name == by.name))
    connection.execute(GATEWAYS.insert().values(name=by.name, **values))
    note(connection, now_ms, by.uri, "register-gateway", keys[0])
    return True
