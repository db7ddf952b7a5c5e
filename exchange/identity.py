"""Who a certificate speaks for: exactly one role, read from exactly one URI name.

The forms, below "spiffe://<division>.<trust domain>/":
org/<credit code>/agent/<name>, gateway/<name>, authority, steward/<credit code>/<id>, officer/<id>,
operator/<id>, auditor/<id>, admin/<id>. Source: SPIFFE-ID (characters and length of an id).
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from cryptography import x509

from exchange.errors import NoIdentity, TwoRoles

MAX_URI_CHARS = 255
SCHEME = "spiffe://"
NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
CREDIT_CODE = re.compile(r"[0-9A-HJ-NPQRTUWXY]{18}")
DIVISION = re.compile(r"[0-9]{6}")
EXTENSION_FAULTS = (
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    ValueError,
)
"""What reading an extension of a certificate raises where it is missing, ill-formed or of a strange kind."""
TRUST_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")


class Role(StrEnum):
    """What a certificate's holder is; no certificate carries two."""

    AGENT = "agent"
    GATEWAY = "gateway"
    AUTHORITY = "authority"
    STEWARD = "steward"
    OFFICER = "officer"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    ADMIN = "admin"


OF_ORGANISATION = frozenset({Role.AGENT, Role.STEWARD})
PEOPLE = frozenset({Role.STEWARD, Role.OFFICER, Role.OPERATOR, Role.AUDITOR, Role.ADMIN})


@dataclass(frozen=True, slots=True)
class Identity:
    """A well-formed identity.

    Args:
        trust_domain: for example "yunchuan.example".
        division: 6 digits.
        role: the one role.
        organisation: credit code of an agent's or steward's organisation, else empty.
        name: of the agent or gateway, or the person's id; empty for an authority.

    Raises:
        NoIdentity: a part is malformed, missing or too much.
    """

    trust_domain: str
    division: str
    role: Role
    organisation: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        if not TRUST_DOMAIN.fullmatch(self.trust_domain) or not DIVISION.fullmatch(self.division):
            raise NoIdentity(f"{self.division[:6]}.{self.trust_domain[:MAX_URI_CHARS]}")
        if (self.role in OF_ORGANISATION) != bool(self.organisation):
            raise NoIdentity(f"{self.role}: organisation")
        if self.organisation and not CREDIT_CODE.fullmatch(self.organisation):
            raise NoIdentity(f"{self.role}: organisation")
        if (self.role is Role.AUTHORITY) == bool(self.name):
            raise NoIdentity(f"{self.role}: name")
        if self.name and not NAME.fullmatch(self.name):
            raise NoIdentity(f"{self.role}: name")
        if len(self.uri) > MAX_URI_CHARS:
            raise NoIdentity(f"{self.role}: too long")

    @property
    def uri(self) -> str:
        """The SPIFFE id."""
        return f"{SCHEME}{self.division}.{self.trust_domain}/{self._path()}"

    def _path(self) -> str:
        if self.role is Role.AUTHORITY:
            return "authority"
        if self.role is Role.AGENT:
            return f"org/{self.organisation}/agent/{self.name}"
        if self.role is Role.STEWARD:
            return f"steward/{self.organisation}/{self.name}"
        return f"{self.role}/{self.name}"

    def __str__(self) -> str:
        return self._path()


def parse_uri(uri: str) -> Identity:
    """Return the identity that a SPIFFE id names.

    Raises:
        NoIdentity: it has none of the forms, or more than 255 characters.
    """
    if len(uri) > MAX_URI_CHARS or not uri.startswith(SCHEME):
        raise NoIdentity("not a SPIFFE id")
    host, _, path = uri.removeprefix(SCHEME).partition("/")
    division, _, trust_domain = host.partition(".")
    match path.split("/"):
        case ["authority"]:
            return Identity(trust_domain, division, Role.AUTHORITY)
        case ["org", organisation, "agent", name]:
            return Identity(trust_domain, division, Role.AGENT, organisation, name)
        case ["steward", organisation, name]:
            return Identity(trust_domain, division, Role.STEWARD, organisation, name)
        case ["gateway" | "officer" | "operator" | "auditor" | "admin" as role, name]:
            return Identity(trust_domain, division, Role(role), name=name)
    raise NoIdentity("unknown form of SPIFFE id")


def identity_of(certificate: x509.Certificate) -> Identity:
    """Return the identity in a certificate's only URI name. The certificate itself is not verified.

    Raises:
        TwoRoles: it has more than one URI name; the subject tells its serial number.
        NoIdentity: it has none, or one without a known form.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except EXTENSION_FAULTS as error:
        raise NoIdentity("certificate without names") from error
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if not uris:
        raise NoIdentity("certificate without a URI name")
    if len(uris) > 1:
        raise TwoRoles(f"certificate {certificate.serial_number:x}: {len(uris)} URI names")
    return parse_uri(uris[0])


def division_covers(root: str, division: str) -> bool:
    """Return whether a division is a root's or below it: 970000 covers 970100, 970100 covers 970102."""
    prefix = root
    while prefix.endswith("00"):
        prefix = prefix[:-2]
    return bool(prefix) and division.startswith(prefix)
