"""Binds the TCP sockets of the gateway's HTTP faces."""

import socket

from exchange.errors import BadConfiguration


def bound(host: str, port: int, setting: str) -> socket.socket:
    """Return a socket bound to an address.

    Args:
        host: an address or a name.
        port: 0 takes a free one.
        setting: the configuration's name of the port, for the error.

    Raises:
        BadConfiguration: it cannot be bound.
    """
    # The protocol is named because asyncio turns Nagle's delay off only where it is.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise BadConfiguration(f"{setting} {port}: {error.strerror}") from None
    return sock
