"""What is entered of certificates and people, each within its caller's transaction."""

from dataclasses import dataclass

import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certs.profiles import not_after_ms
from certs.records import CERTIFICATES, PEOPLE
from exchange.identity import Identity


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
