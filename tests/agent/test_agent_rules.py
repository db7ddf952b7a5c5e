"""The region's rules as an agent takes them over: from two administrators alone, and never older ones."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from agent.region import RegionView
from agent.region_rules import AgentRules
from exchange import canonical
from exchange.identity import Role
from exchange.statement import StatementSigner
from exchange.trust import TrustAnchor
from exchange.v1 import audit_pb2, common_pb2, directory_pb2
from tests.support.casework import rules_body
from tests.support.region import DIVISION, DOMAIN, HEALTH, ORIGIN, Authority
from tests.support.sealing import NOW_MS, StillClock

AUTHORITY = Authority()
WANG, LI = (AUTHORITY.person(Role.ADMIN, name) for name in ("wang", "li"))
OFFICER = AUTHORITY.person(Role.OFFICER, "zhao")
STEWARD = AUTHORITY.person(Role.STEWARD, "chen", HEALTH)
GATEWAY = AUTHORITY.person(Role.GATEWAY, "gateway-1", hosts=["localhost"])
STRANGER = Authority().person(Role.ADMIN, "li")


class Told:
    """An agent's view, told of entries as a gateway would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.open()

    def open(self) -> None:
        anchor = TrustAnchor(root_pem=AUTHORITY.root_pem, division=DIVISION, trust_domain=DOMAIN)
        trust = anchor.verify_trust_list(AUTHORITY.trust_list(), now_ms=NOW_MS, held=None)
        self.view = RegionView(
            path=self.folder / "region.db",
            origin=ORIGIN,
            anchor=anchor,
            trust=lambda: trust,
            clock=StillClock(),
        )
        self.rules = AgentRules(region=self.view)

    def tell(self, *statements: common_pb2.Statement) -> int:
        """Tell of rules; return the version that holds then."""
        entry = audit_pb2.AuditEntry(time_ms=NOW_MS)
        entry.administrative.act = audit_pb2.ACT_RULES
        entry.administrative.statement.CopyFrom(statements[0])
        entry.administrative.countersignatures.extend(statements[1:])
        self.view.take_event(directory_pb2.Event(index=self.view.cursor, leaf=entry.SerializeToString()))
        return self.rules.current.version


def signed(signers: Sequence[StatementSigner], version: int = 1) -> list[common_pb2.Statement]:
    body = rules_body(NOW_MS, version)
    return [signer.sign(canonical.RULES, body) for signer in signers]


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    agent = Told(tmp_path)
    yield agent
    agent.view.close()


def test_rules_of_two_administrators_hold_also_after_a_restart(told: Told) -> None:
    assert told.tell(*signed([WANG, LI])) == 1 and not told.rules.current.claims
    told.view.close()
    told.open()
    assert told.rules.current.version == 1 and not told.rules.current.claims


@pytest.mark.parametrize(
    "signers",
    [
        [WANG],
        [WANG, WANG],
        [WANG, OFFICER],
        [WANG, STEWARD],
        [GATEWAY, WANG],
        [WANG, STRANGER],
        [WANG, LI, LI],
    ],
    ids=["one", "twice", "officer", "steward", "gateway", "stranger", "three"],
)
def test_rules_that_two_administrators_did_not_sign_change_nothing(
    told: Told, signers: list[StatementSigner]
) -> None:
    assert told.tell(*signed(signers)) == 0


def test_two_administrators_who_signed_different_bodies_set_nothing(told: Told) -> None:
    (first,), (second,) = signed([WANG]), signed([LI])
    assert told.tell(first, second) == 0


def test_rules_signed_for_something_else_change_nothing(told: Told) -> None:
    body = rules_body(NOW_MS)
    assert told.tell(*(signer.sign(canonical.STOP, body) for signer in (WANG, LI))) == 0


def test_older_rules_that_are_told_again_do_not_come_back(told: Told) -> None:
    first = signed([WANG, LI])
    assert told.tell(*signed([WANG, LI], version=2)) == 2
    assert told.tell(*first) == 2


def test_whoever_asked_is_told_of_a_change(told: Told) -> None:
    heard: list[int] = []
    told.rules.subscribe(lambda rules: heard.append(rules.version))
    told.tell(*signed([WANG, LI]))
    assert heard == [0, 1]
