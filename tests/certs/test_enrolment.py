"""Enrolment at a real authority over loopback TLS."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from exchange.enrolment import CALL_S, call, enrol
from exchange.enrolment_file import read_enrolment
from exchange.errors import (
    AuthorityAway,
    BadIdentifier,
    BadSignature,
    BadToken,
    Malformed,
    Oversized,
    RoleNotAllowed,
    SecondPersonRequired,
    WrongState,
)
from exchange.identity import Role
from exchange.keystore import MemoryKeyStore
from exchange.v1 import trust_pb2, trust_pb2_grpc
from tests.support.running_authority import HEALTH, POLICE, Region, identity, region_at


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[Region]:
    async with region_at(tmp_path) as made:
        yield made


async def ask_enrol(region: Region, token: str, csr: bytes) -> trust_pb2.EnrolResponse:
    async def ask(channel: object) -> trust_pb2.EnrolResponse:
        request = trust_pb2.EnrolRequest(token=token, csr=csr)
        answer: trust_pb2.EnrolResponse = await trust_pb2_grpc.EnrolmentServiceStub(channel).Enrol(
            request, timeout=CALL_S
        )
        return answer

    address = region.addresses["enrolment_address"]
    return await call(address, ask, root_pem=region.running.authority.keys.root_pem)


def request_for(*names: x509.GeneralName, key: object = None) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "anything")])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
    signed = made.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())  # type: ignore[arg-type]
    return signed.public_bytes(Encoding.DER)


async def test_an_organisations_first_agent_is_enrolled_by_two_persons_from_one_file(region: Region) -> None:
    made = await region.wang.create_token(Role.AGENT, name="health", organisation=HEALTH)
    assert made.needs == "second-person"
    assert await region.li.approve(made.token_id) == "ready"
    file = read_enrolment(made.file.to_json())
    held, verified = await region.enrol(file)
    assert verified.identity == held.identity() == identity(Role.AGENT, "health", HEALTH)
    assert held.statement_signer().identity == verified.identity
    assert held.trust_list_path.exists()
    names = held.certificate().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uses = held.certificate().extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [name.value for name in names] == [verified.identity.uri]
    assert list(uses) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert b"token" not in (held.folder / "identity.json").read_bytes()


async def test_a_gateways_certificate_serves_and_calls_under_its_hosts(region: Region) -> None:
    held = await region.member(Role.GATEWAY, "gateway-1", hosts=["localhost", "127.0.0.1"])
    names = held.certificate().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uses = held.certificate().extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert set(uses) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}


async def test_a_token_that_waits_for_its_second_person_enrols_nobody_and_is_not_used_up(
    region: Region,
) -> None:
    made = await region.wang.create_token(Role.STEWARD, name="zhao", organisation=HEALTH)
    with pytest.raises(SecondPersonRequired):
        await region.enrol(made.file)
    await region.li.approve(made.token_id)
    await region.enrol(made.file)


async def test_one_administrator_alone_approves_nothing(region: Region) -> None:
    made = await region.wang.create_token(Role.AGENT, name="health", organisation=HEALTH)
    with pytest.raises(SecondPersonRequired):
        await region.wang.approve(made.token_id)
    with pytest.raises(SecondPersonRequired):
        await region.enrol(made.file)


@pytest.mark.parametrize("role", [Role.OFFICER, Role.OPERATOR, Role.AUDITOR, Role.ADMIN])
async def test_every_person_needs_two(region: Region, role: Role) -> None:
    made = await region.wang.create_token(role, name="sun")
    assert made.needs == "second-person"
    await region.li.approve(made.token_id)
    assert (await region.enrol(made.file))[1].identity.role is role


async def test_a_used_token_is_refused_and_raises_an_alarm(region: Region) -> None:
    made = await region.approved(Role.AGENT, "health", HEALTH)
    await region.enrol(made.file)
    assert region.running.authority.alarms == 0
    with pytest.raises(BadToken):
        await region.enrol(made.file, "elsewhere")
    assert region.running.authority.alarms == 1
    assert len(await region.wang.list_certificates()) == 3


async def test_of_two_uses_of_one_token_at_once_one_succeeds(region: Region) -> None:
    made = await region.approved(Role.AGENT, "health", HEALTH)
    tries = [region.enrol(made.file, f"place-{number}") for number in range(4)]
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert sorted(type(one) is BadToken for one in outcomes) == [False, True, True, True]


async def test_an_expired_token_is_refused(region: Region) -> None:
    made = await region.approved(Role.AGENT, "health", HEALTH, lifetime_s=60)
    region.clock.ahead_ms = 61_000
    with pytest.raises(BadToken):
        await region.enrol(made.file)
    with pytest.raises(BadToken):
        await region.li.approve(made.token_id)


async def test_an_unknown_or_altered_token_is_refused(region: Region) -> None:
    made = await region.approved(Role.AGENT, "health", HEALTH)
    secret = made.file.token
    for token in ("", "t-0", made.token_id, secret[:-2], f"{secret}x", secret.upper(), "x" * 10_000):
        with pytest.raises(BadToken):
            await ask_enrol(region, token, request_for())
    assert region.running.authority.alarms == 0
    await region.enrol(made.file)


async def test_a_token_lives_a_day_at_most(region: Region) -> None:
    with pytest.raises(Malformed):
        await region.wang.create_token(Role.AGENT, name="health", organisation=HEALTH, lifetime_s=86_401)


async def test_a_token_of_one_organisation_enrols_no_other(region: Region) -> None:
    made = await region.approved(Role.AGENT, "health", HEALTH)
    forged = replace(made.file, identity=identity(Role.AGENT, "health", POLICE))
    with pytest.raises(BadSignature):
        await region.enrol(forged)
    issued = [one.spiffe_id for one in await region.wang.list_certificates()]
    assert identity(Role.AGENT, "health", POLICE).uri not in issued


async def test_names_in_a_request_are_ignored(region: Region) -> None:
    made = await region.approved(Role.AGENT, "health", HEALTH)
    csr = request_for(
        x509.UniformResourceIdentifier(identity(Role.ADMIN, "wang").uri), x509.DNSName("localhost")
    )
    answer = await ask_enrol(region, made.file.token, csr)
    certificate = x509.load_der_x509_certificate(answer.chain[0])
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == [identity(Role.AGENT, "health", HEALTH).uri]


@pytest.mark.parametrize("fault", ["garbage", "other curve", "broken signature"])
async def test_a_bad_request_is_refused_and_leaves_the_token_usable(region: Region, fault: str) -> None:
    made = await region.approved(Role.AGENT, "health", HEALTH)
    csr = b"garbage"
    if fault == "other curve":
        csr = request_for(key=ec.generate_private_key(ec.SECP384R1()))
    if fault == "broken signature":
        csr = bytearray(request_for())
        csr[-1] ^= 1
    with pytest.raises(Malformed):
        await ask_enrol(region, made.file.token, bytes(csr))
    await region.enrol(made.file)


async def test_an_oversized_request_is_refused(region: Region) -> None:
    made = await region.approved(Role.AGENT, "health", HEALTH)
    with pytest.raises(Oversized):
        await ask_enrol(region, made.file.token, bytes(8193))


async def test_a_further_agent_is_countersigned_by_its_own_organisation(region: Region) -> None:
    first = await region.member(Role.AGENT, "health", HEALTH)
    made = await region.wang.create_token(Role.AGENT, name="health-2", organisation=HEALTH)
    assert made.needs == "countersignature"
    with pytest.raises(SecondPersonRequired):
        await region.li.approve(made.token_id)
    who = identity(Role.AGENT, "health-2", HEALTH)
    assert await region.client(first).countersign(made.token_id, who) == "ready"
    await region.enrol(made.file)


async def test_another_organisation_countersigns_nothing(region: Region) -> None:
    await region.member(Role.AGENT, "health", HEALTH)
    stranger = await region.member(Role.AGENT, "police", POLICE)
    made = await region.wang.create_token(Role.AGENT, name="health-2", organisation=HEALTH)
    with pytest.raises(RoleNotAllowed):
        await region.client(stranger).countersign(made.token_id, identity(Role.AGENT, "health-2", HEALTH))
    with pytest.raises(SecondPersonRequired):
        await region.enrol(made.file)


async def test_a_countersignature_for_somebody_else_does_not_count(region: Region) -> None:
    first = await region.member(Role.AGENT, "health", HEALTH)
    made = await region.wang.create_token(Role.AGENT, name="health-2", organisation=HEALTH)
    with pytest.raises(BadSignature):
        await region.client(first).countersign(made.token_id, identity(Role.AGENT, "health-3", HEALTH))


async def test_of_two_first_agents_approved_at_once_the_second_needs_a_countersignature(
    region: Region,
) -> None:
    one = await region.approved(Role.AGENT, "health", HEALTH)
    two = await region.approved(Role.AGENT, "health-2", HEALTH)
    first, _ = await region.enrol(one.file)
    with pytest.raises(SecondPersonRequired):
        await region.enrol(two.file)
    await region.client(first).countersign(two.token_id, two.file.identity)
    await region.enrol(two.file)


async def test_a_person_holds_one_role(region: Region) -> None:
    await region.member(Role.OFFICER, "zhao")
    for role, organisation in ((Role.AUDITOR, ""), (Role.STEWARD, HEALTH)):
        with pytest.raises(RoleNotAllowed):
            await region.wang.create_token(role, name="zhao", organisation=organisation)
    with pytest.raises(RoleNotAllowed):
        await region.wang.create_token(Role.OFFICER, name="wang")


async def test_two_tokens_for_two_roles_of_one_person_enrol_once(region: Region) -> None:
    officer = await region.approved(Role.OFFICER, "zhao")
    auditor = await region.approved(Role.AUDITOR, "zhao")
    await region.enrol(officer.file)
    with pytest.raises(RoleNotAllowed):
        await region.enrol(auditor.file)


async def test_the_consent_of_somebody_revoked_since_does_not_count(region: Region) -> None:
    made = await region.approved(Role.AGENT, "health", HEALTH)
    await region.wang.revoke(spiffe_id=identity(Role.ADMIN, "li").uri)
    with pytest.raises(SecondPersonRequired):
        await region.enrol(made.file)


async def test_revoking_an_identity_ends_its_open_tokens(region: Region) -> None:
    made = await region.approved(Role.AGENT, "health", HEALTH)
    again = await region.approved(Role.AGENT, "health", HEALTH)
    await region.enrol(made.file)
    await region.wang.revoke(spiffe_id=made.file.identity.uri)
    with pytest.raises(BadToken):
        await region.enrol(again.file, "again")


async def test_only_administrators_make_tokens(region: Region) -> None:
    officer = await region.member(Role.OFFICER, "zhao")
    with pytest.raises(RoleNotAllowed):
        await region.client(officer).create_token(Role.AGENT, name="health", organisation=HEALTH)
    made = await region.wang.create_token(Role.AGENT, name="health", organisation=HEALTH)
    with pytest.raises(RoleNotAllowed):
        await region.client(officer).approve(made.token_id)


async def test_a_credit_code_with_a_wrong_check_digit_is_refused(region: Region) -> None:
    with pytest.raises(BadIdentifier):
        await region.wang.create_token(Role.AGENT, name="health", organisation=f"{HEALTH[:-1]}B")


@pytest.mark.parametrize(
    "hosts", [[], ["*.example"], ["UPPER.example"], ["a b"], ["x.example"] * 17, ["-x.example"]]
)
async def test_a_gateway_needs_hosts_that_are_names_or_addresses(region: Region, hosts: list[str]) -> None:
    with pytest.raises(Malformed):
        await region.wang.create_token(Role.GATEWAY, name="gateway-1", hosts=hosts)


async def test_people_and_agents_have_no_hosts(region: Region) -> None:
    with pytest.raises(Malformed):
        await region.wang.create_token(Role.AGENT, name="health", organisation=HEALTH, hosts=["localhost"])


async def test_a_folder_is_enrolled_once(region: Region) -> None:
    held = await region.member(Role.AGENT, "health", HEALTH)
    made = await region.wang.create_token(Role.AGENT, name="health", organisation=HEALTH)
    with pytest.raises(WrongState):
        await enrol(made.file, MemoryKeyStore(), held.folder)


async def test_an_authority_of_another_root_gets_no_token(region: Region, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    async with region_at(tmp_path / "other") as other:
        made = await other.approved(Role.AGENT, "health", HEALTH)
        file = replace(made.file, enrolment_address=region.addresses["enrolment_address"])
        with pytest.raises(AuthorityAway):
            await other.enrol(file)
        assert not (other.folder / "agent-119701-health").exists()
        await other.enrol(made.file)
        assert (other.folder / "agent-119701-health").exists()


async def test_tokens_survive_a_restart(tmp_path: Path) -> None:
    async with region_at(tmp_path) as first:
        made = await first.approved(Role.AGENT, "health", HEALTH)
        used = await first.approved(Role.OFFICER, "zhao")
        await first.enrol(used.file)
    async with region_at(tmp_path, first.config) as second:
        await second.enrol(replace(made.file, **second.addresses))
        with pytest.raises(BadToken):
            await second.enrol(replace(used.file, **second.addresses), "again")
