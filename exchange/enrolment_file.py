"""The one file from which an agent, a gateway or a person enrols, and what stays of it afterwards.

JSON, at most 64 KiB, "shuqiao-enrolment/1": where the authority is, its root, the region's gateways with
their log keys, who is to be enrolled, and a one-time token. Without the token it is kept as
"shuqiao-identity/1" beside the certificate.
"""

import json
from dataclasses import dataclass, field, replace
from typing import Any

from exchange.errors import BadConfiguration, ExchangeError
from exchange.identity import Identity, Role
from exchange.trust import TrustAnchor, TrustedGateway

ENROLMENT = "shuqiao-enrolment/1"
IDENTITY = "shuqiao-identity/1"
MAX_BYTES = 64 * 1024
_KEYS = frozenset(
    {
        "format",
        "enrolment_address",
        "service_address",
        "root",
        "division",
        "trust_domain",
        "gateways",
        "role",
        "organisation",
        "name",
        "hosts",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentFile:
    """What is in the file.

    Args:
        enrolment_address: the authority's port for enrolment and trust lists, "host:port".
        service_address: the authority's port for mutual TLS, "host:port".
        root_pem: the root certificate to pin.
        gateways: the region's gateways when the file was made; the trust list tells the newest.
        identity: who is to be enrolled, division and trust domain included.
        hosts: DNS names and IP addresses of a gateway.
        token: the one-time secret; empty once it was used.
    """

    enrolment_address: str
    service_address: str
    root_pem: bytes
    gateways: tuple[TrustedGateway, ...]
    identity: Identity
    hosts: tuple[str, ...] = ()
    token: str = field(default="", repr=False)

    def anchor(self) -> TrustAnchor:
        """Return the root to pin.

        Raises:
            BadConfiguration: it is no certificate.
        """
        who = self.identity
        return TrustAnchor(root_pem=self.root_pem, division=who.division, trust_domain=who.trust_domain)

    def without_token(self) -> "EnrolmentFile":
        """Return what is kept after enrolment."""
        return replace(self, token="")

    def to_json(self) -> bytes:
        """Return the file's text, UTF-8."""
        told: dict[str, Any] = {
            "format": ENROLMENT if self.token else IDENTITY,
            "enrolment_address": self.enrolment_address,
            "service_address": self.service_address,
            "root": self.root_pem.decode("ascii"),
            "division": self.identity.division,
            "trust_domain": self.identity.trust_domain,
            "gateways": [
                {
                    "name": one.name,
                    "origin": one.origin,
                    "log_keys": [key.hex() for key in one.log_keys],
                    "addresses": list(one.addresses),
                }
                for one in self.gateways
            ],
            "role": str(self.identity.role),
            "organisation": self.identity.organisation,
            "name": self.identity.name,
            "hosts": list(self.hosts),
        }
        if self.token:
            told["token"] = self.token
        return json.dumps(told, ensure_ascii=False, indent=2).encode() + b"\n"


def read_enrolment(content: bytes) -> EnrolmentFile:
    """Return what an enrolment or identity file says.

    Raises:
        BadConfiguration: it is too large, no JSON, of another format, or a part is missing, unknown or wrong.
    """
    if len(content) > MAX_BYTES:
        raise BadConfiguration("enrolment file: too large")
    try:
        told = json.loads(content)
    except ValueError as error:
        raise BadConfiguration("enrolment file: not JSON") from error
    if not isinstance(told, dict) or told.get("format") not in (ENROLMENT, IDENTITY):
        raise BadConfiguration("enrolment file: format")
    keys = _KEYS | {"token"} if told["format"] == ENROLMENT else _KEYS
    if told.keys() != keys:
        raise BadConfiguration(f"enrolment file: {', '.join(sorted(told.keys() ^ keys))}")
    try:
        return _parse(told)
    except (ValueError, TypeError, KeyError, AttributeError, ExchangeError) as error:
        raise BadConfiguration(f"enrolment file: {error}") from error


def _parse(told: dict[str, Any]) -> EnrolmentFile:
    file = EnrolmentFile(
        enrolment_address=_text(told["enrolment_address"]),
        service_address=_text(told["service_address"]),
        root_pem=_text(told["root"]).encode("ascii"),
        gateways=tuple(
            TrustedGateway(
                name=_text(one["name"]),
                origin=_text(one["origin"]),
                log_keys=tuple(bytes.fromhex(key) for key in one["log_keys"]),
                addresses=tuple(map(_text, one["addresses"])),
            )
            for one in told["gateways"]
        ),
        identity=Identity(
            _text(told["trust_domain"]),
            _text(told["division"]),
            Role(told["role"]),
            _text(told["organisation"]),
            _text(told["name"]),
        ),
        hosts=tuple(map(_text, told["hosts"])),
        token=_text(told.get("token", "")),
    )
    file.anchor()
    return file


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("text is needed")
    return value
