"""The outer hops, tried one after the other with plain sockets: does the name resolve, does the port answer,
is it TLS 1.3, and is the certificate one that the pinned root vouches for."""

import socket
import ssl
from pathlib import Path
from typing import NamedTuple, Protocol

TIMEOUT_S = 5.0
UNIX = "unix:"


class Handshake(NamedTuple):
    """What a TLS handshake showed."""

    version: str
    names: tuple[str, ...]
    not_after: str


class Probe(Protocol):
    """Tries one hop; raises OSError (ssl.SSLError included) when it does not work."""

    def resolve(self, host: str, port: int) -> list[str]:
        """Return the addresses of a name."""
        ...

    def connect(self, host: str, port: int) -> None:
        """Open and close a TCP connection."""
        ...

    def shake(self, host: str, port: int, root_pem: bytes) -> Handshake:
        """Complete a TLS handshake against the pinned root, without a certificate of one's own."""
        ...


class SocketProbe:
    """The real network."""

    def resolve(self, host: str, port: int) -> list[str]:
        """Return the addresses of a name."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return sorted({str(address[0]) for *_, address in found})

    def connect(self, host: str, port: int) -> None:
        """Open and close a TCP connection."""
        socket.create_connection((host, port), timeout=TIMEOUT_S).close()

    def shake(self, host: str, port: int, root_pem: bytes) -> Handshake:
        """Complete a TLS handshake; a server that wants a certificate complains only afterwards."""
        context = ssl.create_default_context(cadata=root_pem.decode("ascii"))
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection((host, port), timeout=TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            shown = secured.getpeercert() or {}
            names = tuple(str(pair[1]) for pair in shown.get("subjectAltName", ()))
            return Handshake(secured.version() or "", names, str(shown.get("notAfter", "")))


def host_and_port(address: str) -> tuple[str, int]:
    """Split "host:port" or "[v6]:port".

    Raises:
        ValueError: it has no port.
    """
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def socket_file(address: str) -> Path | None:
    """Return the file of a Unix socket address, None for any other."""
    if not address.startswith(UNIX):
        return None
    return Path("/" + address.removeprefix(UNIX).lstrip("/"))
