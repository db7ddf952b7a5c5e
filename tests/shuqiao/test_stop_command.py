"""What the commands of the emergency stop send, show and refuse before anything is sent."""

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from exchange import canonical
from exchange.clock import system_random
from exchange.identity import Role
from exchange.statement import StatementSigner
from exchange.stops import read_lift, read_stop
from exchange.trust import TrustAnchor
from exchange.v1 import common_pb2, stop_pb2, stop_pb2_grpc
from shuqiao.cli.app import run
from shuqiao.context import Context
from shuqiao.door import Door
from tests.support.command_region import Ran
from tests.support.region import DIVISION, DOMAIN, HEALTH, RESOURCE, Authority
from tests.support.sealing import NOW_MS, StillClock

Command = Callable[..., Ran]


@dataclass
class Stops(stop_pb2_grpc.StopServiceServicer):
    """Takes whatever it is told."""

    logged: bool = True
    stops: list[list[common_pb2.Statement]] = field(default_factory=list)
    lifts: list[list[common_pb2.Statement]] = field(default_factory=list)

    def Stop(self, request: Any, context: Any) -> Any:
        self.stops.append(list(request.stop))
        stop_id = read_stop(request.stop[0].body).stop_id
        return stop_pb2.StopResponse(stop_id=stop_id, index=7, logged=self.logged, told=3, caught=2)

    def Lift(self, request: Any, context: Any) -> Any:
        self.lifts.append(list(request.lift))
        return stop_pb2.LiftResponse(index=9)

    def ListStops(self, request: Any, context: Any) -> Any:
        records = [
            stop_pb2.StopRecord(
                stop_id=read_stop(stop[0].body).stop_id, stop=stop, holds=True, logged=True, caught=4
            )
            for stop in self.stops
        ]
        return stop_pb2.ListStopsResponse(stops=records)


class Officer:
    """A holder."""

    def __init__(self, authority: Authority, name: str, role: Role = Role.OFFICER) -> None:
        self._authority, self._signer = authority, authority.person(role, name)

    def identity(self) -> Any:
        return self._signer.identity

    def anchor(self) -> TrustAnchor:
        return TrustAnchor(root_pem=self._authority.root_pem, division=DIVISION, trust_domain=DOMAIN)

    def statement_signer(self) -> StatementSigner:
        return self._signer


@pytest.fixture(scope="module")
def people() -> dict[str, Officer]:
    authority = Authority()
    made = {name: Officer(authority, name) for name in ("one", "two")}
    return made | {"admin": Officer(authority, "admin", Role.ADMIN)}


@pytest.fixture
def stops() -> Stops:
    return Stops()


@pytest.fixture
def shuqiao(stops: Stops, people: dict[str, Officer], tmp_path: Path) -> Iterator[Command]:
    """Run the command as somebody."""
    with ThreadPoolExecutor(max_workers=2) as threads:
        server = grpc.server(threads, options=[("grpc.so_reuseport", 0)])
        stop_pb2_grpc.add_StopServiceServicer_to_server(stops, server)
        address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        context = tmp_path / "context.toml"
        context.write_text(f'gateway = "{address}"\n')

        def dial(to: str, holder: Any) -> grpc.Channel:
            return grpc.insecure_channel(to, options=[("grpc.enable_http_proxy", 0)])

        def call(who: str, *arguments: str) -> Ran:
            def hold(context: Context) -> Any:
                return people[who]

            out, err = io.StringIO(), io.StringIO()
            code = run(
                arguments,
                stdout=out,
                stderr=err,
                environ={"SHUQIAO_LANG": "en", "SHUQIAO_CONTEXT": str(context)},
                door=Door(hold=hold, dial=dial),
                clock=StillClock(),
                random=system_random,
            )
            return Ran(code, out.getvalue(), err.getvalue())

        yield call
        server.stop(None).wait()


def signers(people: dict[str, Officer], domain: bytes, statements: list[common_pb2.Statement]) -> list[str]:
    anchor = people["one"].anchor()
    return [
        anchor.verify_statement(one, domain, at_ms=NOW_MS, trust=None).identity.name for one in statements
    ]


def test_one_officer_stops_a_field_and_is_told_how_long_it_took(
    shuqiao: Command, stops: Stops, people: dict[str, Officer]
) -> None:
    ran = shuqiao("one", "--json", "stop", "field", f"{RESOURCE}#name", "--minutes", "30", "--note", "why")
    assert ran.code == 0
    (statements,) = stops.stops
    stop = read_stop(statements[0].body)
    assert (stop.target, stop.until_ms, stop.note) == (f"{RESOURCE}#name", NOW_MS + 30 * 60_000, "why")
    assert signers(people, canonical.STOP, statements) == ["one"]
    told = ran.document
    assert (told["stop_id"], told["index"], told["told"], told["caught"]) == (stop.stop_id.hex(), 7, 3, 2)
    assert told["milliseconds"] >= 0 and told["logged"]
    shown = shuqiao("one", "stop", "resource", RESOURCE).out
    assert " ms, 3 links told, 2 under way caught" in shown


def test_a_stop_that_is_not_logged_yet_is_said_so(shuqiao: Command, stops: Stops) -> None:
    stops.logged = False
    ran = shuqiao("one", "stop", "resource", RESOURCE)
    assert ran.code == 0 and "entered later" in ran.out + ran.err
    assert shuqiao("one", "--json", "stop", "resource", RESOURCE).document["index"] is None


@pytest.mark.parametrize(
    ("who", "arguments", "code", "reason"),
    [
        ("one", ("region", DIVISION), 1, "SECOND_PERSON_REQUIRED"),
        ("one", ("organisation", HEALTH, "--minutes", "61"), 1, "SECOND_PERSON_REQUIRED"),
        ("one", ("organisation", "1234"), 1, "BAD_IDENTIFIER"),
        ("one", ("field", RESOURCE), 1, "BAD_IDENTIFIER"),
        ("admin", ("resource", RESOURCE), 1, "ROLE_NOT_ALLOWED"),
        ("one", ("grant", "xyz"), 2, "BAD_CONFIGURATION"),
        ("one", ("lift", "xyz"), 2, "BAD_CONFIGURATION"),
        ("one", ("lift", "ab"), 1, "UNKNOWN_STOP"),
        ("one", ("sign", "nowhere"), 2, "BAD_CONFIGURATION"),
    ],
)
def test_what_cannot_hold_is_refused_before_it_is_sent(
    shuqiao: Command, stops: Stops, who: str, arguments: tuple[str, ...], code: int, reason: str
) -> None:
    ran = shuqiao(who, "--json", "stop", *arguments)
    assert (ran.code, reason in ran.out) == (code, True), ran.out
    assert not stops.stops and not stops.lifts


def test_two_officers_stop_and_lift_the_region_by_a_file(
    shuqiao: Command, stops: Stops, people: dict[str, Officer], tmp_path: Path
) -> None:
    file = str(tmp_path / "stop.pb")
    assert shuqiao("one", "stop", "region", DIVISION, "--out", file).code == 0
    assert not stops.stops
    shown = shuqiao("two", "--json", "stop", "show", file).document
    assert (shown["scope"], shown["target"], shown["lift"]) == ("region", DIVISION, False)
    assert [uri.rpartition("/")[2] for uri in shown["signed_by"]] == ["one"]
    assert "SECOND_PERSON_REQUIRED" in shuqiao("one", "--json", "stop", "sign", file).out
    assert shuqiao("two", "stop", "sign", file).code == 0
    assert signers(people, canonical.STOP, stops.stops[0]) == ["two", "one"]
    stop_id = read_stop(stops.stops[0][0].body).stop_id
    alone = shuqiao("one", "--json", "stop", "lift", stop_id.hex()[:8]).document["error"]
    assert (alone["code"], alone["subject"]) == ("SECOND_PERSON_REQUIRED", f"{DIVISION}: --out FILE")
    assert shuqiao("two", "stop", "lift", stop_id.hex()[:8], "--out", file).code == 0
    assert shuqiao("one", "--json", "stop", "show", file).document["lift"] is True
    assert shuqiao("one", "stop", "sign", file).code == 0
    assert signers(people, canonical.LIFT, stops.lifts[0]) == ["one", "two"]
    assert read_lift(stops.lifts[0][0].body).stop_id == stop_id


def test_the_list_and_a_lift_go_by_how_an_id_begins(shuqiao: Command, stops: Stops) -> None:
    assert "Nothing is stopped" in shuqiao("one", "stop", "list").out
    shuqiao("one", "stop", "resource", RESOURCE)
    stop = read_stop(stops.stops[0][0].body)
    (shown,) = shuqiao("one", "--json", "stop", "list").document["stops"]
    assert (shown["target"], shown["caught"], shown["holds"]) == (RESOURCE, 4, True)
    assert stop.name in shuqiao("one", "stop", "list").out
    lifted = shuqiao("one", "--json", "stop", "lift", stop.name)
    assert lifted.document["index"] == 9
    assert read_lift(stops.lifts[0][0].body).stop_id == stop.stop_id
