"""How the clients reach the agent: addresses, tokens, and what a failed call means."""

import os
from pathlib import Path
from typing import Final

import grpc

from exchange.errors import AgentAway, BadConfiguration, ExchangeError
from exchange.rpc_errors import from_rpc_error

MAX_BATCH: Final = 256
MAX_TOKEN_BYTES: Final = 256
GRACE_S: Final = 5.0
"""How much longer than the question's own time-out a client waits for the agent to say so."""

OPTIONS: Final = (
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 4 << 20),
    ("grpc.enable_http_proxy", 0),
)
TokenFile = str | os.PathLike[str]


def target_of(address: str) -> tuple[str, grpc.LocalConnectionType]:
    """Return an address as gRPC writes it, and what kind of local connection it is.

    Args:
        address: "unix:///run/shuqiao/agent.sock" or "127.0.0.1:7481".

    Raises:
        BadConfiguration: it is neither.
    """
    if address.startswith("unix:"):
        path = "/" + address.removeprefix("unix:").lstrip("/")
        return f"unix:{path}", grpc.LocalConnectionType.UDS
    host, _, port = address.rpartition(":")
    if host not in ("127.0.0.1", "localhost", "[::1]") or not port.isdecimal():
        raise BadConfiguration(f"{address}: neither unix:///path nor a loopback address with its port")
    return f"{'127.0.0.1' if host == 'localhost' else host}:{port}", grpc.LocalConnectionType.LOCAL_TCP


def metadata_of(token_file: TokenFile) -> tuple[tuple[str, str], ...]:
    """Return the metadata that carries the token.

    Raises:
        BadConfiguration: the file cannot be read or holds no token.
    """
    try:
        token = Path(token_file).read_bytes()[: MAX_TOKEN_BYTES + 1].decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as fault:
        raise BadConfiguration(f"token file {os.fspath(token_file)}") from fault
    if not token or len(token) > MAX_TOKEN_BYTES or not token.isprintable() or " " in token:
        raise BadConfiguration(f"token file {os.fspath(token_file)}: no token")
    return (("authorization", f"Bearer {token}"),)


def lost(error: grpc.RpcError, *, address: str) -> ExchangeError:
    """Return what a failed call means.

    Args:
        error: what the call ended with.
        address: the agent's address.
    """
    return from_rpc_error(error, hop=f"agent {address}", away=AgentAway)
