"""Certificates with other names than any honest authority would give them."""

from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from certs.profiles import Issuer
from exchange.identity import Identity


def with_names(leaf: x509.Certificate, issuer: Issuer, names: Sequence[Identity]) -> x509.Certificate:
    """Return a certificate with these names in place of its own, signed anew."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(leaf.subject)
        .issuer_name(leaf.issuer)
        .public_key(leaf.public_key())
        .serial_number(leaf.serial_number)
        .not_valid_before(leaf.not_valid_before_utc)
        .not_valid_after(leaf.not_valid_after_utc)
    )
    for extension in leaf.extensions:
        value = extension.value
        if isinstance(value, x509.SubjectAlternativeName):
            value = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(one.uri) for one in names])
        builder = builder.add_extension(value, critical=extension.critical)
    return builder.sign(issuer.key, hashes.SHA256())
