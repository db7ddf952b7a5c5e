"""Tests of exchange/trust.py, chains.py and statement.py."""

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID, NameOID

from certs.profiles import DAY_MS, Issuer, make_issuing
from exchange.canonical import GRANT, RESOURCE, TRUST_LIST
from exchange.errors import (
    BadConfiguration,
    BadSignature,
    CertificateExpired,
    ClockSkew,
    Malformed,
    NoIdentity,
    Oversized,
    Revoked,
    RoleNotAllowed,
    TrustRollback,
)
from exchange.identity import Identity, Role
from exchange.statement import StatementSigner
from exchange.trust import TrustAnchor, TrustList, read_trust_list
from exchange.v1 import common_pb2, trust_pb2
from tests.support.paper import NOW_MS, Paper, der

DOMAIN = "yunchuan.example"
ADMIN = Identity(DOMAIN, "970100", Role.ADMIN, name="wang")
AUTHORITY = Identity(DOMAIN, "970100", Role.AUTHORITY)


@pytest.fixture(scope="module")
def paper() -> Paper:
    return Paper()


def trust_list(
    signer: StatementSigner,
    number: int = 1,
    *,
    issued_at_ms: int = NOW_MS,
    division: str = "970100",
    **parts: object,
) -> common_pb2.Statement:
    body = trust_pb2.TrustListBody(
        number=number, division=division, trust_domain=DOMAIN, max_age_s=300, suite=2, **parts
    )
    body.issued_at.FromMilliseconds(issued_at_ms)
    return signer.sign(TRUST_LIST, body.SerializeToString())


def revoking(paper: Paper, *serials: int) -> TrustList:
    told = [serial.to_bytes(20).lstrip(b"\0") for serial in serials]
    return read_trust_list(trust_list(paper.signer(AUTHORITY), revoked_serials=told))


def test_a_statement_names_its_signer(paper: Paper) -> None:
    statement = paper.signer(ADMIN).sign(RESOURCE, b"body")
    assert paper.anchor().verify_statement(statement, RESOURCE, at_ms=NOW_MS, trust=None).identity == ADMIN


def test_a_statement_of_one_kind_is_none_of_another(paper: Paper) -> None:
    statement = paper.signer(ADMIN).sign(RESOURCE, b"body")
    with pytest.raises(BadSignature):
        paper.anchor().verify_statement(statement, GRANT, at_ms=NOW_MS, trust=None)


def test_an_altered_body_does_not_verify(paper: Paper) -> None:
    statement = paper.signer(ADMIN).sign(RESOURCE, b"body")
    statement.body = b"Body"
    with pytest.raises(BadSignature):
        paper.anchor().verify_statement(statement, RESOURCE, at_ms=NOW_MS, trust=None)


def test_a_chain_of_another_root_is_refused(paper: Paper) -> None:
    statement = Paper().signer(ADMIN).sign(RESOURCE, b"body")
    with pytest.raises(BadSignature):
        paper.anchor().verify_statement(statement, RESOURCE, at_ms=NOW_MS, trust=None)


@pytest.mark.parametrize("division", ["970200", "980300", "970000"])
def test_an_identity_outside_the_roots_division_is_refused(paper: Paper, division: str) -> None:
    signer = paper.signer(Identity(DOMAIN, division, Role.ADMIN, name="wang"))
    with pytest.raises(NoIdentity):
        paper.anchor().verify_statement(signer.sign(RESOURCE, b""), RESOURCE, at_ms=NOW_MS, trust=None)


def test_an_identity_below_the_roots_division_is_accepted(paper: Paper) -> None:
    below = Identity(DOMAIN, "970102", Role.ADMIN, name="wang")
    statement = paper.signer(below).sign(RESOURCE, b"")
    assert paper.anchor().verify_statement(statement, RESOURCE, at_ms=NOW_MS, trust=None).identity == below


def test_another_trust_domain_is_refused(paper: Paper) -> None:
    signer = paper.signer(Identity("haiyue.example", "970100", Role.ADMIN, name="wang"))
    with pytest.raises(NoIdentity):
        paper.anchor().verify_statement(signer.sign(RESOURCE, b""), RESOURCE, at_ms=NOW_MS, trust=None)


def test_a_certificate_counts_only_in_its_time(paper: Paper) -> None:
    anchor, statement = paper.anchor(), paper.signer(ADMIN).sign(RESOURCE, b"")
    for at_ms in (NOW_MS - DAY_MS, NOW_MS + 31 * DAY_MS):
        with pytest.raises(CertificateExpired):
            anchor.verify_statement(statement, RESOURCE, at_ms=at_ms, trust=None)
    anchor.verify_statement(statement, RESOURCE, at_ms=NOW_MS, trust=None)
    with pytest.raises(CertificateExpired):
        anchor.verify_statement(statement, RESOURCE, at_ms=NOW_MS + 31 * DAY_MS, trust=None)


def test_a_revocation_counts_also_for_a_chain_that_was_verified_before(paper: Paper) -> None:
    anchor, held = paper.anchor(), paper.leaf(ADMIN)
    chain = paper.chain(held.certificate)
    anchor.verify_chain(chain, at_ms=NOW_MS, trust=None)
    with pytest.raises(Revoked):
        anchor.verify_chain(chain, at_ms=NOW_MS, trust=revoking(paper, held.certificate.serial_number))


def test_a_revoked_issuing_certificate_takes_its_leaves_along(paper: Paper) -> None:
    chain = paper.chain(paper.leaf(ADMIN).certificate)
    trust = revoking(paper, paper.issuing.certificate.serial_number)
    with pytest.raises(Revoked):
        paper.anchor().verify_chain(chain, at_ms=NOW_MS, trust=trust)


def test_the_authoritys_server_certificate_signs_nothing(paper: Paper) -> None:
    signer = paper.signer(AUTHORITY, ["localhost"])
    with pytest.raises(BadSignature):
        paper.anchor().verify_trust_list(trust_list(signer), now_ms=NOW_MS, held=None)


def test_an_agents_certificate_issues_no_others(paper: Paper) -> None:
    agent = paper.leaf(Identity(DOMAIN, "970100", Role.AGENT, "11970100MB1A0001XA", "health"))
    rogue = Paper.__new__(Paper)
    rogue.issuing = Issuer(agent.key, agent.certificate)
    forged = rogue.leaf(ADMIN)
    chain = [der(forged.certificate), *paper.chain(agent.certificate)]
    with pytest.raises(BadSignature):
        paper.anchor().verify_chain(chain, at_ms=NOW_MS, trust=None)


def test_chains_are_bounded(paper: Paper) -> None:
    leaf = der(paper.leaf(ADMIN).certificate)
    anchor = paper.anchor()
    for chain in ([], [leaf] * 5, [b"not a certificate"]):
        with pytest.raises(NoIdentity):
            anchor.verify_chain(chain, at_ms=NOW_MS, trust=None)
    with pytest.raises(Oversized):
        anchor.verify_chain([bytes(8193)], at_ms=NOW_MS, trust=None)


@pytest.mark.parametrize("names", ["3004a3023000", "3004a5023000", "3001", "30038601ff"])
def test_a_certificate_with_names_of_a_strange_kind_is_refused(paper: Paper, names: str) -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.fromtimestamp(NOW_MS // 1000, datetime.UTC)
    strange = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
        .add_extension(
            x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, bytes.fromhex(names)),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    with pytest.raises(NoIdentity):
        paper.anchor().verify_chain([der(strange)], at_ms=NOW_MS, trust=None)


def test_a_certificate_of_an_unknown_version_is_refused(paper: Paper) -> None:
    leaf = der(paper.leaf(ADMIN).certificate)
    version_3, version_8 = bytes.fromhex("a003020102"), bytes.fromhex("a003020107")
    with pytest.raises(NoIdentity):
        paper.anchor().verify_chain([leaf.replace(version_3, version_8, 1)], at_ms=NOW_MS, trust=None)


def test_a_chain_with_parts_it_does_not_need_is_refused(paper: Paper) -> None:
    other = make_issuing(
        paper.root, division="970100", trust_domain=DOMAIN, now_ms=NOW_MS, lifetime_ms=DAY_MS
    )
    chain = [*paper.chain(paper.leaf(ADMIN).certificate), der(other.certificate)]
    with pytest.raises(BadSignature):
        paper.anchor().verify_chain(chain, at_ms=NOW_MS, trust=None)


def test_a_signer_refuses_a_key_that_is_not_its_certificates(paper: Paper) -> None:
    chain = paper.chain(paper.leaf(ADMIN).certificate)
    with pytest.raises(BadConfiguration):
        StatementSigner(key=ec.generate_private_key(ec.SECP256R1()), chain=chain)


def test_an_anchor_refuses_what_is_no_root(paper: Paper) -> None:
    with pytest.raises(BadConfiguration):
        TrustAnchor(root_pem=b"nothing", division="970100", trust_domain=DOMAIN)
    with pytest.raises(BadConfiguration):
        TrustAnchor(root_pem=paper.root_pem, division="97", trust_domain=DOMAIN)


def test_a_trust_list_is_read_as_it_was_signed(paper: Paper) -> None:
    gateway = trust_pb2.TrustedGateway(
        name="gateway-1", origin="o/gateway-1", log_keys=[bytes(32)], addresses=["localhost:7443"]
    )
    least = trust_pb2.LeastBundle(organisation="11970100MB1A0001XA", agent="health", seq=7)
    statement = trust_list(
        paper.signer(AUTHORITY),
        3,
        gateways=[gateway],
        revoked_serials=[b"\x01\x02"],
        revoked_kids=[bytes(16)],
        least_bundles=[least],
    )
    trust = paper.anchor().verify_trust_list(statement, now_ms=NOW_MS, held=None)
    assert (trust.number, trust.suite, trust.issued_at_ms) == (3, 2, NOW_MS)
    assert trust.gateways["o/gateway-1"].log_keys == (bytes(32),)
    assert trust.revoked_serials == {0x0102} and trust.revoked_kids == {bytes(16)}
    assert trust.least_seq == {("11970100MB1A0001XA", "health"): 7}
    assert trust.fresh(NOW_MS + 300_000) and not trust.fresh(NOW_MS + 300_001)


def test_a_trust_list_never_goes_back(paper: Paper) -> None:
    anchor, signer = paper.anchor(), paper.signer(AUTHORITY)
    second = trust_list(signer, 2)
    held = anchor.verify_trust_list(second, now_ms=NOW_MS, held=None)
    assert anchor.verify_trust_list(second, now_ms=NOW_MS, held=held) is held
    for statement in (
        trust_list(signer, 1),
        trust_list(signer, 2, revoked_kids=[bytes(16)]),
        trust_list(signer, 3, issued_at_ms=NOW_MS - 1),
    ):
        with pytest.raises(TrustRollback):
            anchor.verify_trust_list(statement, now_ms=NOW_MS, held=held)


def test_nobody_but_the_divisions_authority_signs_a_trust_list(paper: Paper) -> None:
    for who in (ADMIN, Identity(DOMAIN, "970102", Role.AUTHORITY)):
        with pytest.raises(RoleNotAllowed):
            paper.anchor().verify_trust_list(trust_list(paper.signer(who)), now_ms=NOW_MS, held=None)
    with pytest.raises(RoleNotAllowed):
        other = trust_list(paper.signer(AUTHORITY), division="970102")
        paper.anchor().verify_trust_list(other, now_ms=NOW_MS, held=None)


def test_a_trust_list_from_the_future_is_refused(paper: Paper) -> None:
    statement = trust_list(paper.signer(AUTHORITY), issued_at_ms=NOW_MS + 60_001)
    with pytest.raises(ClockSkew):
        paper.anchor().verify_trust_list(statement, now_ms=NOW_MS, held=None)


@pytest.mark.parametrize(
    "parts",
    [
        {"revoked_kids": [b"short"]},
        {"revoked_serials": [bytes(21)]},
        {"revoked_serials": [b""]},
        {"gateways": [trust_pb2.TrustedGateway(name="g", origin="o", log_keys=[b"short"])]},
        {"gateways": [trust_pb2.TrustedGateway(name="g", origin="o")]},
        {"gateways": [trust_pb2.TrustedGateway(name="G", origin="o", log_keys=[bytes(32)])]},
        {"gateways": [trust_pb2.TrustedGateway(name="g", origin="o", log_keys=[bytes(32)])] * 2},
    ],
)
def test_an_ill_formed_trust_list_is_refused(paper: Paper, parts: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        paper.anchor().verify_trust_list(
            trust_list(paper.signer(AUTHORITY), **parts), now_ms=NOW_MS, held=None
        )
