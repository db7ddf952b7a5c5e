"""To which addresses an HTTP source may connect.

A name is resolved, every address is judged, and the connection goes to an address that was judged: a name
that answers differently a moment later (DNS rebinding) changes nothing. Addresses that are not public are
denied unless a configured network contains them, also where they hide inside an IPv6 form of themselves.
"""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

_NAT64 = IPv6Network("64:ff9b::/96")


def embedded(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for (mapped, 6to4, Teredo, NAT64), or itself."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def allowed(address: Address, networks: Sequence[Network]) -> bool:
    """Whether an address may be connected to.

    Args:
        address: as resolved.
        networks: those that are allowed although they are not public.
    """
    inner = embedded(address)
    if any(
        place.version == network.version and place in network
        for place in (address, inner)
        for network in networks
    ):
        return True
    special = inner.is_private or inner.is_loopback or inner.is_link_local or inner.is_unspecified
    return inner.is_global and not (special or inner.is_multicast or inner.is_reserved)


async def resolve(host: str, port: int) -> list[Address]:
    """Return the addresses of a host, in the resolver's order.

    Raises:
        OSError: it has none.
    """
    try:
        return [ip_address(host)]
    except ValueError:
        pass
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))
