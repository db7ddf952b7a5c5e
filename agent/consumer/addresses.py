"""Local addresses: a Unix socket or a TCP port, and how each is bound."""

import contextlib
import ipaddress
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from exchange.errors import BadConfiguration

BACKLOG = 512
SOCKET_UMASK = 0o117  # owner and group: rw, others: nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalAddress:
    """Where a face listens: `path` for a Unix socket, otherwise `host` and `port`."""

    path: Path | None = None
    host: str = ""
    port: int = 0

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.path is not None or ipaddress.ip_address(self.host).is_loopback

    @property
    def grpc_target(self) -> str:
        """The address as gRPC writes it."""
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"unix://{self.path}" if self.path is not None else self.grpc_target


def parse_address(text: str) -> LocalAddress:
    """Read an address.

    Args:
        text: "unix:///absolute/path", "127.0.0.1:7480" or "[::1]:7480"; port 0 takes a free one.

    Raises:
        BadConfiguration: it is none of these.
    """
    if text.startswith("unix:"):
        path = Path("/" + text.removeprefix("unix:").lstrip("/"))
        if len(os.fsencode(path)) > 100 or path == Path("/"):
            raise BadConfiguration(f"{text}: socket path missing or longer than 100 bytes")
        return LocalAddress(path=path)
    host, _, port = text.rpartition(":")
    host = "127.0.0.1" if host == "localhost" else host.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(host)
        number = int(port)
    except ValueError:
        raise BadConfiguration(f"{text}: neither unix:///path nor address:port") from None
    if not 0 <= number <= 65535:
        raise BadConfiguration(f"{text}: no such port")
    return LocalAddress(host=host, port=number)


def listen(address: LocalAddress) -> socket.socket:
    """Bind and listen.

    Raises:
        BadConfiguration: the address is in use or cannot be bound.
    """
    try:
        if address.path is None:
            return _listen_tcp(address)
        clear_stale_socket(address.path)
        sock = socket.socket(socket.AF_UNIX)
        with socket_umask():
            sock.bind(str(address.path))
        sock.listen(BACKLOG)
        return sock
    except OSError as fault:
        raise BadConfiguration(f"{address}: {fault.strerror}") from fault


def _listen_tcp(address: LocalAddress) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # asyncio sets TCP_NODELAY only on sockets that name their protocol; without it a call takes 40 ms.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address.host, address.port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def clear_stale_socket(path: Path) -> None:
    """Remove a socket that a process left behind when it was killed.

    Raises:
        BadConfiguration: something listens there, or it is no socket.
    """
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise BadConfiguration(f"unix://{path}: there is a file that is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise BadConfiguration(f"unix://{path}: another process listens there")


@contextlib.contextmanager
def socket_umask() -> Iterator[None]:
    """Create sockets for owner and group alone; the mask is the process's: hold it for one bind."""
    before = os.umask(SOCKET_UMASK)
    try:
        yield
    finally:
        os.umask(before)
