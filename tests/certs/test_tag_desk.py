"""The authority's keeping of the providers' tag keys: made in time, derived for people, erased by two."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import sqlalchemy as sa

from certs.records import ACTS, CERTIFICATES, Records
from certs.tag_desk import LEAD_MS, TagDesk
from exchange.canonical import SUBJECT_TAGS
from exchange.clock import system_random
from exchange.enrolment import CALL_S, IdentityFolder, call
from exchange.errors import (
    BadIdentifier,
    ExchangeError,
    Malformed,
    RoleNotAllowed,
    SecondPersonRequired,
    StoreDamaged,
    TooMany,
)
from exchange.identity import Role
from exchange.keystore import MemoryKeyStore
from exchange.subject_tags import inner_tag, period_end_ms, period_start_ms
from exchange.v1 import trust_pb2, trust_pb2_grpc
from tests.support.running_authority import POLICE, Region, identity, region_at

CITIZEN = "97010219900101002X"
TICKET = b"\7" * 32
STEWARD = identity(Role.STEWARD, "li", POLICE)
OFFICER, OTHER = identity(Role.OFFICER, "zhao"), identity(Role.ADMIN, "wang")
DAY_MS = 86_400_000


@dataclass
class Turned:
    ms: int = period_start_ms("2026Q4") + 5 * DAY_MS

    def now_ms(self) -> int:
        return self.ms


class FragileKeyStore(MemoryKeyStore):
    """Fails to delete when told to."""

    fails = False

    def delete(self, name: str) -> None:
        if self.fails:
            raise StoreDamaged(name)
        super().delete(name)


@dataclass
class Office:
    desk: TagDesk
    keystore: FragileKeyStore
    records: Records
    clock: Turned

    def acts(self, act: str) -> list[tuple[str, str]]:
        with self.records.begin() as connection:
            rows = connection.execute(sa.select(ACTS).where(ACTS.c.act == act))
            return [(row.actor, row.subject) for row in rows]


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    records, clock, keystore = Records(path=tmp_path / "authority.db"), Turned(), FragileKeyStore()
    with records.begin() as connection:
        for who in (OFFICER, OTHER):
            connection.execute(
                CERTIFICATES.insert().values(
                    serial=who.name, uri=who.uri, role=str(who.role), organisation="", der=b"",
                    not_after_ms=clock.ms + 400 * DAY_MS,
                )
            )  # fmt: skip
    desk = TagDesk(keystore=keystore, records=records, clock=clock, random=system_random, per_hour=3)
    yield Office(desk, keystore, records, clock)
    records.close()


def test_a_periods_key_is_made_once_and_the_next_ones_two_weeks_before_it_begins(office: Office) -> None:
    held = office.desk.keys()
    assert list(held) == ["2026Q4"] and len(held["2026Q4"]) == 32
    office.clock.ms = period_end_ms("2026Q4") - LEAD_MS
    both = office.desk.keys()
    assert list(both) == ["2026Q4", "2027Q1"] and both["2026Q4"] == held["2026Q4"]
    assert both["2026Q4"] != both["2027Q1"]
    office.clock.ms = period_end_ms("2026Q4")
    assert office.desk.keys() == {"2027Q1": both["2027Q1"]}


def test_a_subject_is_derived_in_every_period_that_is_kept_and_only_who_and_why_is_recorded(
    office: Office,
) -> None:
    first = office.desk.keys()["2026Q4"]
    office.clock.ms = period_end_ms("2026Q4") + 5 * DAY_MS
    tags = office.desk.derive("citizen_id", CITIZEN.lower(), " complaint 17 ", by=OFFICER)
    assert list(tags) == ["2026Q4", "2027Q1"]
    assert tags["2026Q4"] == inner_tag(first, "citizen_id", CITIZEN)
    assert office.acts("derive-tags") == [(OFFICER.uri, "citizen_id complaint 17")]


@pytest.mark.parametrize(
    ("format", "identifier", "why", "error"),
    [
        ("citizen_id", "970102199001010012", "complaint", BadIdentifier),
        ("division", "970102", "complaint", Malformed),
        ("citizen_id", CITIZEN, "", Malformed),
        ("citizen_id", CITIZEN, "x" * 201, Malformed),
        ("citizen_id", CITIZEN, f"about {CITIZEN.lower()}", Malformed),
        ("citizen_id", CITIZEN, "about 970102199001010011", Malformed),
        ("citizen_id", CITIZEN, "two\nlines", Malformed),
    ],
)
def test_what_will_not_do_derives_nothing_and_records_nothing(
    office: Office, format: str, identifier: str, why: str, error: type[ExchangeError]
) -> None:
    with pytest.raises(error) as refused:
        office.desk.derive(format, identifier, why, by=OFFICER)
    assert CITIZEN not in str(refused.value).upper()
    assert office.acts("derive-tags") == []


def test_a_person_may_derive_so_many_an_hour_and_another_is_not_held_up(office: Office) -> None:
    for _ in range(3):
        office.desk.derive("citizen_id", CITIZEN, "complaint", by=OFFICER)
    with pytest.raises(TooMany):
        office.desk.derive("citizen_id", CITIZEN, "complaint", by=OFFICER)
    office.desk.derive("citizen_id", CITIZEN, "audit", by=OTHER)
    office.clock.ms += 3_600_001
    office.desk.derive("citizen_id", CITIZEN, "complaint", by=OFFICER)


def test_whom_a_correction_is_about_is_derived_within_its_own_rate_and_only_the_dispute_is_recorded(
    office: Office,
) -> None:
    office.desk.derive("citizen_id", CITIZEN, "complaint", by=STEWARD)
    for _ in range(3):
        tags = office.desk.derive_for_correction("citizen_id", CITIZEN.lower(), TICKET, by=STEWARD)
    assert tags == {"2026Q4": inner_tag(office.desk.keys()["2026Q4"], "citizen_id", CITIZEN)}
    with pytest.raises(TooMany):
        office.desk.derive_for_correction("citizen_id", CITIZEN, TICKET, by=STEWARD)
    for identifier, ticket, error in (("97010219900101", TICKET, BadIdentifier), (CITIZEN, b"7", Malformed)):
        with pytest.raises(error):
            office.desk.derive_for_correction("citizen_id", identifier, ticket, by=STEWARD)
    assert office.acts("derive-correction-tags") == [(STEWARD.uri, f"citizen_id {TICKET.hex()}")] * 3


def test_a_key_goes_when_two_people_say_so_and_its_period_is_derived_no_more(office: Office) -> None:
    office.desk.keys()
    office.clock.ms = period_end_ms("2026Q4") + DAY_MS
    assert office.desk.erase("2026Q4", by=OFFICER) == "second-person"
    with pytest.raises(SecondPersonRequired):
        office.desk.erase("2026Q4", by=OFFICER)
    assert "tags-2026q4" in office.keystore.names()
    assert office.desk.erase("2026Q4", by=OTHER) == "erased"
    assert office.desk.erase("2026Q4", by=OFFICER) == "erased"
    assert "tags-2026q4" not in office.keystore.names()
    assert list(office.desk.derive("citizen_id", CITIZEN, "complaint", by=OFFICER)) == ["2027Q1"]
    assert office.acts("erase-tag-key") == [(OTHER.uri, "2026Q4")]


def test_an_erased_key_is_not_made_again_when_the_clock_goes_back(office: Office) -> None:
    office.desk.keys()
    office.clock.ms = period_end_ms("2026Q4") + DAY_MS
    for who in (OFFICER, OTHER):
        office.desk.erase("2026Q4", by=who)
    office.clock.ms = period_end_ms("2026Q4") - 30 * DAY_MS
    assert list(office.desk.keys()) == []
    assert office.desk.derive("citizen_id", CITIZEN, "complaint", by=OFFICER) == {}


@pytest.mark.parametrize("period", ["2026Q4", "2027Q1", "last"])
def test_a_period_that_is_not_over_for_a_day_keeps_its_key(office: Office, period: str) -> None:
    office.desk.keys()
    office.clock.ms = period_end_ms("2026Q4") + DAY_MS - 1
    with pytest.raises(Malformed):
        office.desk.erase(period, by=OFFICER)


def _lapse(office: Office) -> None:
    office.clock.ms += 7 * DAY_MS


def _revoke(office: Office) -> None:
    with office.records.begin() as connection:
        connection.execute(
            CERTIFICATES.update().where(CERTIFICATES.c.uri == OFFICER.uri).values(revoked_at_ms=1)
        )


@pytest.mark.parametrize("undo", [_lapse, _revoke])
def test_a_wish_that_is_a_week_old_or_of_somebody_revoked_does_not_count(
    office: Office, undo: Callable[[Office], None]
) -> None:
    office.desk.keys()
    office.clock.ms = period_end_ms("2026Q4") + DAY_MS
    office.desk.erase("2026Q4", by=OFFICER)
    undo(office)
    assert office.desk.erase("2026Q4", by=OTHER) == "second-person"
    assert "tags-2026q4" in office.keystore.names()


def test_a_deletion_that_failed_is_made_good_at_the_next_question(office: Office) -> None:
    office.desk.keys()
    office.clock.ms = period_end_ms("2026Q4") + DAY_MS
    office.desk.erase("2026Q4", by=OFFICER)
    office.keystore.fails = True
    with pytest.raises(StoreDamaged):
        office.desk.erase("2026Q4", by=OTHER)
    office.keystore.fails = False
    assert list(office.desk.derive("citizen_id", CITIZEN, "complaint", by=OFFICER)) == ["2027Q1"]
    assert "tags-2026q4" not in office.keystore.names()


async def _ask(region: Region, held: IdentityFolder, method: str, request: object) -> object:
    async def ask(channel: grpc.aio.Channel) -> object:
        return await getattr(trust_pb2_grpc.AuthorityServiceStub(channel), method)(request, timeout=CALL_S)

    return await call(
        region.addresses["service_address"],
        ask,
        root_pem=held.root_pem(),
        key_pem=held.key_pem(),
        chain_pem=held.chain_pem(),
    )


async def test_agents_get_keys_officers_derive_and_neither_does_the_others_part(tmp_path: Path) -> None:
    async with region_at(tmp_path) as region:
        agent = await region.member(Role.AGENT, "police-1", POLICE)
        officer = await region.member(Role.OFFICER, "zhao")
        derive = trust_pb2.DeriveTagsRequest(format="citizen_id", identifier=CITIZEN, justification="why")
        keys = await _ask(region, agent, "GetTagKeys", trust_pb2.GetTagKeysRequest())
        assert isinstance(keys, trust_pb2.GetTagKeysResponse)
        tags = await _ask(region, officer, "DeriveTags", derive)
        assert isinstance(tags, trust_pb2.DeriveTagsResponse)
        derived = {one.period: one.tag for one in tags.tags}
        for one in keys.keys:
            assert derived[one.period] == inner_tag(one.key, "citizen_id", CITIZEN)
        for held, method, request in (
            (agent, "DeriveTags", derive),
            (officer, "GetTagKeys", trust_pb2.GetTagKeysRequest()),
            (agent, "EraseTagKey", trust_pb2.EraseTagKeyRequest(period="2020Q1")),
        ):
            with pytest.raises(RoleNotAllowed):
                await _ask(region, held, method, request)


async def test_a_steward_gets_tags_that_the_authority_signed_for_its_organisation_and_that_dispute(
    tmp_path: Path,
) -> None:
    async with region_at(tmp_path) as region:
        steward = await region.member(Role.STEWARD, "zhou", POLICE)
        officer = await region.member(Role.OFFICER, "zhao")
        derive = trust_pb2.DeriveCorrectionTagsRequest(
            format="citizen_id", identifier=CITIZEN, ticket_id=TICKET
        )
        answer = await _ask(region, steward, "DeriveCorrectionTags", derive)
        assert isinstance(answer, trust_pb2.DeriveCorrectionTagsResponse)
        now_ms = region.clock.now_ms()
        signer = steward.anchor().verify_statement(answer.tags, SUBJECT_TAGS, at_ms=now_ms, trust=None)
        assert signer.identity.role is Role.AUTHORITY
        body = trust_pb2.SubjectTagsBody.FromString(answer.tags.body)
        assert (body.ticket_id, body.organisation) == (TICKET, POLICE)
        held = region.running.authority.tags.keys()
        assert {one.period: one.tag for one in body.tags} == {
            period: inner_tag(key, "citizen_id", CITIZEN) for period, key in held.items()
        }
        with pytest.raises(RoleNotAllowed):
            await _ask(region, officer, "DeriveCorrectionTags", derive)


async def test_neither_the_database_nor_a_key_file_holds_identifier_or_plain_key(tmp_path: Path) -> None:
    async with region_at(tmp_path) as region:
        agent = await region.member(Role.AGENT, "police-1", POLICE)
        officer = await region.member(Role.OFFICER, "zhao")
        derive = trust_pb2.DeriveTagsRequest(format="citizen_id", identifier=CITIZEN, justification="why")
        await _ask(region, officer, "DeriveTags", derive)
        keys = await _ask(region, agent, "GetTagKeys", trust_pb2.GetTagKeysRequest())
        assert isinstance(keys, trust_pb2.GetTagKeysResponse)
        needles = [CITIZEN.encode(), *(one.key for one in keys.keys)]
        files = [path for path in (tmp_path / "authority").rglob("*") if path.is_file()]
        assert any(path.name.startswith("tags-") for path in files)
        for path in files:
            assert not any(needle in path.read_bytes() for needle in needles), path.name
