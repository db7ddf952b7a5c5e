"""Tests of exchange/identity.py."""

import pytest

from exchange.errors import NoIdentity
from exchange.identity import Identity, Role, division_covers, parse_uri

HOST = "spiffe://970100.yunchuan.example"
CODE = "11970100MB1A0001XA"


@pytest.mark.parametrize(
    "path",
    [
        f"org/{CODE}/agent/health-1",
        "gateway/gateway-1",
        "authority",
        f"steward/{CODE}/li",
        "officer/zhao",
        "operator/qian",
        "auditor/sun",
        "admin/wang",
    ],
)
def test_every_form_of_identity_reads_as_it_writes(path: str) -> None:
    assert parse_uri(f"{HOST}/{path}").uri == f"{HOST}/{path}"


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "https://970100.yunchuan.example/authority",
        f"{HOST}/",
        f"{HOST}/authority/",
        f"{HOST}/authority/x",
        f"{HOST}/gateway/",
        f"{HOST}/gateway/Gateway",
        f"{HOST}/gateway/-x",
        f"{HOST}/admin/{'x' * 41}",
        f"{HOST}/king/wang",
        f"{HOST}/org/{CODE}/agent",
        f"{HOST}/org/{CODE[:-1]}/agent/x",
        f"{HOST}/org/{CODE[:-1]}I/agent/x",
        "spiffe://97010.yunchuan.example/authority",
        "spiffe://970100./authority",
        "spiffe://970100.yunchuan.example:443/authority",
        "spiffe://u@970100.yunchuan.example/authority",
        f"{HOST}/authority?x",
        f"{HOST}/authority#x",
        f"spiffe://970100.{'x.' * 150}example/authority",
    ],
)
def test_anything_else_is_no_identity(uri: str) -> None:
    with pytest.raises(NoIdentity):
        parse_uri(uri)


def test_an_identity_has_exactly_the_parts_of_its_role() -> None:
    for role, organisation, name in (
        (Role.AGENT, "", "x"),
        (Role.ADMIN, CODE, "x"),
        (Role.AUTHORITY, "", "x"),
        (Role.GATEWAY, "", ""),
    ):
        with pytest.raises(NoIdentity):
            Identity("yunchuan.example", "970100", role, organisation, name)


@pytest.mark.parametrize(
    ("root", "division", "covered"),
    [
        ("970000", "970102", True),
        ("970000", "970000", True),
        ("970100", "970102", True),
        ("970100", "970100", True),
        ("970100", "970000", False),
        ("970100", "970200", False),
        ("970102", "970100", False),
        ("970000", "980300", False),
        ("000000", "970100", False),
    ],
)
def test_a_root_covers_its_division_and_what_lies_below(root: str, division: str, covered: bool) -> None:
    assert division_covers(root, division) is covered
