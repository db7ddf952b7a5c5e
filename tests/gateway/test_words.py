"""What goes into the log stays there: words and numbers that hold a citizen id are refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from exchange import canonical
from exchange.errors import Malformed
from exchange.identity import Role
from exchange.statement import StatementSigner
from exchange.v1 import audit_pb2, common_pb2, grant_pb2, stop_pb2
from tests.support.casework import step
from tests.support.region import RESOURCE, Region
from tests.support.stopping import stop_body

PERSON = "970102199001010011"
WORDS = f"张三（{PERSON}）"
Act = "audit_pb2.Act.ValueType"
Made = tuple[Act, StatementSigner, common_pb2.Statement]


@pytest.fixture
async def region(tmp_path: Path) -> Region:
    made = Region(tmp_path)
    await made.settled()
    return made


def _grant(region: Region, text: str) -> Made:
    return audit_pb2.ACT_GRANT, region.health, region.grant(justification=text)


def _case(region: Region, text: str) -> Made:
    return audit_pb2.ACT_CASE, region.health, step(region.health, region.clock.ms, case_number=text)


def _stop(region: Region, text: str) -> Made:
    officer = region.authority.person(Role.OFFICER, "one")
    body = stop_body(region.clock.ms, stop_pb2.STOP_SCOPE_RESOURCE, RESOURCE, note=text)
    return audit_pb2.ACT_STOP, officer, officer.sign(canonical.STOP, body)


@pytest.mark.parametrize("make", [_grant, _case, _stop])
async def test_a_citizen_id_is_refused_and_what_only_looks_like_one_is_not(
    region: Region, make: Callable[[Region, str], Made]
) -> None:
    before = len(region.log.entries)
    with pytest.raises(Malformed):
        await region.enter(*make(region, WORDS))
    assert len(region.log.entries) == before, "the words themselves are nowhere"
    await region.enter(*make(region, f"LJ-{PERSON[:17]}9"))
    await region.enter(*make(region, f"1{PERSON}"))


async def test_the_note_of_a_grant_event_holds_no_citizen_id(region: Region) -> None:
    grant_id = await region.apply()
    with pytest.raises(Malformed):
        await region.decide(grant_id, grant_pb2.GRANT_ACTION_ACCEPT, 1, note=WORDS)
    await region.decide(grant_id, grant_pb2.GRANT_ACTION_ACCEPT, 1, note="合规")
