from ipaddress import ip_address, ip_network

import pytest

from agent.provider.connectors.addresses import allowed, resolve


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "198.18.0.1",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "64:ff9b::a00:1",
    ],
)
def test_an_address_that_is_not_public_is_denied(address):
    assert not allowed(ip_address(address), ())


@pytest.mark.parametrize("address", ["1.1.1.1", "223.5.5.5", "2606:4700:4700::1111"])
def test_a_public_address_is_allowed(address):
    assert allowed(ip_address(address), ())


def test_a_listed_network_is_allowed_and_no_other():
    networks = (ip_network("10.1.0.0/16"), ip_network("fd00::/64"))
    assert allowed(ip_address("10.1.2.3"), networks)
    assert allowed(ip_address("::ffff:10.1.2.3"), networks)
    assert allowed(ip_address("fd00::5"), networks)
    assert not allowed(ip_address("10.2.0.1"), networks)
    assert not allowed(ip_address("::1"), networks)


async def test_a_literal_address_is_resolved_to_itself():
    assert await resolve("127.0.0.1", 80) == [ip_address("127.0.0.1")]
