"""Renewal, revocation, registration and roles at a real authority over loopback TLS."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from grpc_health.v1 import health_pb2, health_pb2_grpc

from certs.gate import METHODS
from certs.own_keys import plain_key
from certs.profiles import hosts_of, key_of_request
from exchange.enrolment import (
    CALL_S,
    IdentityFolder,
    call,
    enrol,
    make_key_and_csr,
    pem_of,
    register_gateway,
    renew,
)
from exchange.errors import (
    AuthorityAway,
    BadToken,
    CertificateExpired,
    Malformed,
    NoIdentity,
    Revoked,
    RoleNotAllowed,
    TooMany,
    UnknownEntry,
)
from exchange.identity import Identity, Role
from exchange.keystore import MemoryKeyStore
from exchange.tls import CHANNEL_OPTIONS, channel_credentials
from exchange.v1 import trust_pb2, trust_pb2_grpc
from tests.support.paper import Paper
from tests.support.running_authority import HEALTH, Region, identity, region_at

ORIGIN = "970100.yunchuan.example/gateway-1"


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[Region]:
    async with region_at(tmp_path) as made:
        yield made


async def renewed(region: Region, held: IdentityFolder) -> None:
    await renew(held, address=region.addresses["service_address"], clock=region.clock)


async def register(region: Region, held: IdentityFolder, **parts: object) -> int:
    told = {"origin": ORIGIN, "log_keys": [bytes(32)], "addresses": ["localhost:7443"], **parts}
    return await register_gateway(held, address=region.addresses["service_address"], **told)  # type: ignore[arg-type]


async def test_a_renewal_keeps_the_identity_and_takes_a_new_key(region: Region) -> None:
    held = await region.member(Role.AGENT, "health", HEALTH)
    before, key = held.certificate(), held.key_pem()
    await renewed(region, held)
    after = held.certificate()
    assert after.serial_number != before.serial_number and held.key_pem() != key
    assert held.statement_signer().identity == identity(Role.AGENT, "health", HEALTH)
    assert held.keystore.names() == ["tls"]
    await renewed(region, held)


async def test_a_gateway_keeps_its_hosts_when_it_renews(region: Region) -> None:
    held = await region.member(Role.GATEWAY, "gateway-1", hosts=["localhost", "127.0.0.1"])
    await renewed(region, held)
    assert hosts_of(held.certificate()) == ["localhost", "127.0.0.1"]


async def test_a_crash_within_a_renewal_leaves_a_key_that_fits(region: Region) -> None:
    class Breaking(MemoryKeyStore):
        broken = False

        def put(self, name: str, secret: bytes) -> None:
            if self.broken and name == "tls":
                raise OSError("the machine went away")
            super().put(name, secret)

    made = await region.approved(Role.AGENT, "health", HEALTH)
    keystore, folder = Breaking(), region.folder / "agent"
    await enrol(made.file, keystore, folder)
    keystore.broken = True
    held = IdentityFolder(folder, keystore)
    with pytest.raises(OSError):
        await renewed(region, held)
    again = IdentityFolder(folder, keystore)
    assert again.statement_signer().identity == identity(Role.AGENT, "health", HEALTH)


async def test_renewal_demands_a_new_key(region: Region) -> None:
    held = await region.member(Role.AGENT, "health", HEALTH)
    key = load_pem_private_key(held.key_pem(), None)
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())  # type: ignore[arg-type]
    with pytest.raises(Malformed):
        await ask(region, held, csr.public_bytes(Encoding.DER))


@pytest.mark.parametrize(
    ("held", "strange"),
    [
        ("020100", "020107"),  # version
        ("2a8648ce3d030107", "2a8648ce3d030109"),  # curve
        ("2a8648ce3d0201", "2a8648ce3d0209"),  # kind of key
        ("2a8648ce3d040302", "2a8648ce3d040309"),  # kind of signature
    ],
)
def test_a_request_of_an_unknown_kind_is_malformed(held: str, strange: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    altered = csr.public_bytes(Encoding.DER).replace(bytes.fromhex(held), bytes.fromhex(strange), 1)
    with pytest.raises(Malformed):
        key_of_request(altered)


async def ask(region: Region, held: IdentityFolder, csr: bytes) -> trust_pb2.RenewResponse:
    async def run(channel: grpc.aio.Channel) -> trust_pb2.RenewResponse:
        answer: trust_pb2.RenewResponse = await trust_pb2_grpc.AuthorityServiceStub(channel).Renew(
            trust_pb2.RenewRequest(csr=csr), timeout=CALL_S
        )
        return answer

    return await call(
        region.addresses["service_address"],
        run,
        root_pem=held.root_pem(),
        key_pem=held.key_pem(),
        chain_pem=held.chain_pem(),
    )


async def test_an_identity_holds_a_bounded_number_of_certificates(region: Region) -> None:
    held = await region.member(Role.AGENT, "health", HEALTH)
    for _ in range(7):
        await renewed(region, held)
    with pytest.raises(TooMany):
        await renewed(region, held)


@pytest.mark.parametrize("by", ["serial", "spiffe_id"])
async def test_the_revoked_renew_no_more(region: Region, by: str) -> None:
    held = await region.member(Role.AGENT, "health", HEALTH)
    certificate = held.certificate()
    if by == "serial":
        number = await region.wang.revoke(serial=f"{certificate.serial_number:x}")
    else:
        number = await region.wang.revoke(spiffe_id=held.identity().uri)
    with pytest.raises(Revoked):
        await renewed(region, held)
    trust = await region.wang.trust_list()
    assert trust.number == number and certificate.serial_number in trust.revoked_serials
    with pytest.raises(Revoked):
        region.anchor.verify_chain(held.chain_der(), at_ms=region.clock.now_ms(), trust=trust)


async def test_revoking_an_identity_revokes_all_its_certificates(region: Region) -> None:
    held = await region.member(Role.AGENT, "health", HEALTH)
    first = held.certificate().serial_number
    await renewed(region, held)
    await region.wang.revoke(spiffe_id=held.identity().uri)
    trust = await region.wang.trust_list()
    assert trust.revoked_serials == {first, held.certificate().serial_number}


async def test_a_key_is_revoked_by_its_id(region: Region) -> None:
    await region.wang.revoke(kid=b"k" * 16)
    assert (await region.wang.trust_list()).revoked_kids == {b"k" * 16}
    with pytest.raises(Malformed):
        await region.wang.revoke(kid=b"short")


async def test_a_revocation_said_twice_is_no_error_and_an_unknown_one_is(region: Region) -> None:
    held = await region.member(Role.AGENT, "health", HEALTH)
    for _ in range(2):
        await region.wang.revoke(spiffe_id=held.identity().uri)
    for unknown in ({"serial": "abc"}, {"spiffe_id": "spiffe://nobody"}):
        with pytest.raises(UnknownEntry):
            await region.wang.revoke(**unknown)
    with pytest.raises(Malformed):
        await region.wang.revoke()


async def test_a_revocation_leaves_the_list_when_the_certificate_has_expired(region: Region) -> None:
    held = await region.member(Role.AGENT, "health", HEALTH)
    await region.wang.revoke(spiffe_id=held.identity().uri)
    region.clock.ahead_ms = 31 * 24 * 3600 * 1000
    assert not region.running.authority.trust_lists.make(region.clock.now_ms()).revoked_serials


async def test_a_token_that_went_astray_before_anybody_was_enrolled_is_ended_by_revoking_whom_it_is_for(
    region: Region,
) -> None:
    made = await region.approved(Role.AGENT, "health", HEALTH)
    await region.wang.revoke(spiffe_id=made.file.identity.uri)
    with pytest.raises(BadToken):
        await region.enrol(made.file)
    with pytest.raises(UnknownEntry):
        await region.wang.revoke(spiffe_id=made.file.identity.uri)


async def test_the_officer_revokes_and_the_auditor_only_looks(region: Region) -> None:
    officer = region.client(await region.member(Role.OFFICER, "zhao"))
    auditor = region.client(await region.member(Role.AUDITOR, "sun"))
    with pytest.raises(RoleNotAllowed):
        await auditor.revoke(kid=b"k" * 16)
    await officer.revoke(kid=b"k" * 16)
    assert len(await auditor.list_certificates()) == len(await officer.list_certificates()) == 4


async def test_an_agent_may_do_nothing_of_the_administrators(region: Region) -> None:
    agent = region.client(await region.member(Role.AGENT, "health", HEALTH))
    for attempt in (
        agent.create_token(Role.ADMIN, name="mallory"),
        agent.approve("t-0"),
        agent.revoke(kid=bytes(16)),
        agent.list_certificates(),
    ):
        with pytest.raises(RoleNotAllowed):
            await attempt
    with pytest.raises(RoleNotAllowed):
        await register(region, await region.member(Role.OPERATOR, "qian"))


async def test_certificates_are_listed_a_page_at_a_time(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    await region.member(Role.AGENT, "health", HEALTH)
    monkeypatch.setattr("certs.client.PAGE", 2)
    listed = await region.wang.list_certificates()
    assert [one.spiffe_id.rsplit("/", 1)[1] for one in listed] == ["wang", "li", "health"]
    monkeypatch.setattr("certs.client.PAGE", 501)
    with pytest.raises(Malformed):
        await region.wang.list_certificates()


async def test_whoever_consents_sees_the_waiting_tokens_a_page_at_a_time(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certs.client.PAGE", 1)
    one = await region.wang.create_token(Role.AGENT, name="health", organisation=HEALTH)
    two = await region.wang.create_token(Role.GATEWAY, name="gateway-1", hosts=["localhost"])
    listed = {token.token_id: token for token in await region.li.list_tokens()}
    assert listed.keys() == {one.token_id, two.token_id}
    told = listed[two.token_id]
    assert (told.enrolment.role, told.enrolment.name) == (trust_pb2.ROLE_GATEWAY, "gateway-1")
    assert list(told.enrolment.hosts) == ["localhost"]
    assert told.created_by.endswith("/admin/wang") and told.needs == "second-person"
    await region.li.approve(one.token_id)
    assert {token.needs for token in await region.li.list_tokens()} == {"ready", "second-person"}


async def test_used_and_expired_tokens_wait_no_longer(region: Region) -> None:
    await region.member(Role.AGENT, "health", HEALTH)
    await region.wang.create_token(Role.AUDITOR, name="sun", lifetime_s=60)
    assert [token.enrolment.name for token in await region.wang.list_tokens()] == ["sun"]
    region.clock.ahead_ms = 61_000
    assert await region.wang.list_tokens() == []


async def test_an_organisation_sees_its_own_tokens_only(region: Region) -> None:
    steward = region.client(await region.member(Role.STEWARD, "zhao", HEALTH))
    await region.wang.create_token(Role.AGENT, name="health", organisation=HEALTH)
    await region.wang.create_token(Role.AUDITOR, name="sun")
    assert [token.enrolment.name for token in await steward.list_tokens()] == ["health"]
    operator = region.client(await region.member(Role.OPERATOR, "qian"))
    with pytest.raises(RoleNotAllowed):
        await operator.list_tokens()


async def test_a_gateway_enters_its_log_key_and_addresses(region: Region) -> None:
    held = await region.member(Role.GATEWAY, "gateway-1", hosts=["localhost"])
    number = await register(region, held)
    assert await register(region, held) == number
    newer = await register(region, held, addresses=["localhost:7444"])
    gateway = (await region.wang.trust_list()).gateways[ORIGIN]
    assert newer == number + 1 and gateway.name == "gateway-1"
    assert gateway.log_keys == (bytes(32),) and gateway.addresses == ("localhost:7444",)
    made = await region.wang.create_token(Role.AGENT, name="health", organisation=HEALTH)
    assert made.file.gateways == (gateway,)


@pytest.mark.parametrize(
    "parts",
    [
        {"origin": "970100.yunchuan.example/gateway-2"},
        {"log_keys": []},
        {"log_keys": [b"short"]},
        {"addresses": ["x" * 256]},
        {"addresses": ["localhost:1"] * 17},
    ],
)
async def test_a_gateway_enters_nothing_but_itself(region: Region, parts: dict[str, object]) -> None:
    held = await region.member(Role.GATEWAY, "gateway-1", hosts=["localhost"])
    with pytest.raises(Malformed):
        await register(region, held, **parts)


async def test_an_expired_certificate_opens_nothing(region: Region) -> None:
    held = await region.member(Role.AGENT, "health", HEALTH)
    region.clock.ahead_ms = 31 * 24 * 3600 * 1000
    with pytest.raises(CertificateExpired):
        await ask(region, held, make_key_and_csr(held.identity())[1])


async def test_a_certificate_of_a_foreign_root_is_refused_in_the_handshake(region: Region) -> None:
    paper = Paper()
    leaf = paper.leaf(identity(Role.ADMIN, "wang"))
    credentials = channel_credentials(
        root_pem=region.running.authority.keys.root_pem,
        key_pem=plain_key(leaf.key),
        chain_pem=pem_of(paper.chain(leaf.certificate)),
    )
    address = region.addresses["service_address"]
    async with grpc.aio.secure_channel(address, credentials, options=CHANNEL_OPTIONS) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE  # type: ignore[attr-defined]


async def test_the_mutual_port_answers_nobody_without_a_certificate(region: Region) -> None:
    async def run(channel: grpc.aio.Channel) -> object:
        stub = trust_pb2_grpc.AuthorityServiceStub(channel)
        return await stub.ListCertificates(trust_pb2.ListCertificatesRequest(), timeout=5)

    with pytest.raises(AuthorityAway):
        await call(region.addresses["service_address"], run, root_pem=region.running.authority.keys.root_pem)


async def test_an_identity_of_another_division_is_refused_though_its_chain_is_right(region: Region) -> None:
    keys = region.running.authority.keys
    key = ec.generate_private_key(ec.SECP256R1())
    outside = Identity("yunchuan.example", "970200", Role.ADMIN, name="wang")
    chain = keys.chain(keys.issue(outside, key.public_key(), now_ms=region.clock.now_ms()))
    with pytest.raises(NoIdentity):
        region.anchor.verify_chain(chain, at_ms=region.clock.now_ms(), trust=None)


async def test_a_certificate_that_was_never_recorded_is_not_renewed(region: Region) -> None:
    held = await region.member(Role.AGENT, "health", HEALTH)
    key_pem, csr = make_key_and_csr(held.identity())
    keys = region.running.authority.keys
    stray = keys.issue(held.identity(), key_of_request(csr), now_ms=region.clock.now_ms())
    held.replace_certificate(key_pem, keys.chain(stray))
    with pytest.raises(NoIdentity):
        await renewed(region, held)


async def test_health_is_told_on_both_ports(region: Region) -> None:
    held = await region.member(Role.OPERATOR, "qian")

    async def run(channel: grpc.aio.Channel) -> int:
        request = health_pb2.HealthCheckRequest(service="exchange.v1.AuthorityService")
        return (await health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)).status  # type: ignore[no-any-return]

    root_pem = held.root_pem()
    plain = await call(region.addresses["enrolment_address"], run, root_pem=root_pem)
    mutual = await call(
        region.addresses["service_address"],
        run,
        root_pem=root_pem,
        key_pem=held.key_pem(),
        chain_pem=held.chain_pem(),
    )
    assert plain == mutual == health_pb2.HealthCheckResponse.SERVING


def test_every_method_of_the_mutual_service_has_its_row() -> None:
    service = trust_pb2.DESCRIPTOR.services_by_name["AuthorityService"]
    names = {f"/{service.full_name}/{method.name}" for method in service.methods}
    assert names == {name for name in METHODS if name.startswith(f"/{service.full_name}/")}
