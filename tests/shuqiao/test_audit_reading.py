"""`shuqiao audit tail` and `search`: filters as they are typed, states, and the place that is kept."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from exchange import errors as e
from exchange.v1 import audit_pb2, reason_pb2
from shuqiao.cli.audit.filters import FilterOptions, filter_from
from shuqiao.cursor import Cursor
from tests.support.command_region import CONSUMER, Ran, Region, Shuqiao, exchange_leaf, state_leaf
from tests.support.region import ORIGIN

REFUSED = exchange_leaf(audit_pb2.DECISION_REFUSED, reason_pb2.REASON_NO_GRANT)
DAY_MS = 24 * 3600 * 1000


@pytest.fixture(autouse=True)
def five_entries(region: Region) -> None:
    region.leaves = [state_leaf(1), REFUSED, state_leaf(2), REFUSED, REFUSED]


def lines(ran: Ran) -> list[Any]:
    assert ran.code == 0, ran
    return [json.loads(line) for line in ran.out.splitlines()]


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.parametrize("command", ["tail", "search"])
def test_what_is_typed_is_the_filter_that_is_sent(
    shuqiao: Shuqiao, region: Region, tmp_path: Path, command: str
) -> None:
    (tmp_path / "case").write_text("LJ-2026-000017\nmore\n")
    typed = (
        *("--organisation", CONSUMER, "--resource", "970100/police/*", "--purpose", "birth"),
        *("--decision", "refused", "--decision", "FAILED", "--reason", "no-grant", "--matter", "newborn"),
        *("--case", f"@{tmp_path / 'case'}", "--operator", "op-17", "--actor", "spiffe://x", "--act", "read"),
        *("--since", "2026-09-21", "--until", "2026-09-22T10:00:00+08:00", "--grant", "ab" * 32),
    )
    assert lines(shuqiao("audit", command, *typed, "--json"))
    assert region.received[-1].filter == audit_pb2.EntryFilter(
        organisation=CONSUMER,
        resource="970100/police/*",
        decisions=[audit_pb2.DECISION_REFUSED, audit_pb2.DECISION_FAILED],
        reasons=[reason_pb2.REASON_NO_GRANT],
        purpose="birth",
        matter="newborn",
        case_number="LJ-2026-000017",
        operator="op-17",
        actor="spiffe://x",
        acts=[audit_pb2.ACT_READ],
        since_ms=ms("2026-09-21T00:00:00+08:00"),
        until_ms=ms("2026-09-22T02:00:00+00:00"),
        grant_id=b"\xab" * 32,
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--decision", "maybe"),
        ("--decision", "unspecified"),
        ("--reason", "NO_SUCH"),
        ("--act", "dance"),
        ("--since", "yesterday"),
        ("--until", "1969-01-01"),
        ("--until", "9999-12-31"),
        ("--case", "@/nowhere/at-all"),
        ("--grant", "xyz"),
    ],
)
def test_an_option_that_cannot_be_read_is_named_before_anything_is_sent(
    shuqiao: Shuqiao, region: Region, option: str, value: str
) -> None:
    ran = shuqiao("audit", "search", option, value, "--json")
    assert (ran.code, ran.document["error"]["code"]) == (2, "BAD_CONFIGURATION")
    assert ran.document["error"]["subject"].startswith(option)
    assert not region.received


def test_an_option_that_was_not_given_is_no_part_of_the_filter() -> None:
    assert filter_from(FilterOptions()) == audit_pb2.EntryFilter()


def test_each_entry_shows_its_state(shuqiao: Shuqiao, region: Region) -> None:
    region.witnessed_size = 2
    told = ["witnessed"] * 2 + ["checkpointed"] * 3
    for command in ("tail", "search"):
        assert [line["state"] for line in lines(shuqiao("audit", command, "--json"))] == told
        shown = shuqiao("audit", command, lang="en").out
        assert shown.count("witnessed") == 2 and shown.count("checkpointed") == 3


@pytest.mark.parametrize("command", ["tail", "search"])
def test_what_is_no_entry_is_named_and_not_shown(shuqiao: Shuqiao, region: Region, command: str) -> None:
    region.leaves[1] = b"\xff" * 20
    ran = shuqiao("audit", command, lang="en")
    assert ran.code == 1 and "RECEIPT_BROKEN" in ran.err and "entry 1" in ran.err


def test_a_state_is_asked_of_the_gateway(shuqiao: Shuqiao, region: Region) -> None:
    shuqiao("audit", "tail", "--state", "witnessed")
    assert region.received[-1].state == audit_pb2.ENTRY_STATE_WITNESSED


def test_a_search_fetches_pages_up_to_its_limit(shuqiao: Shuqiao, region: Region) -> None:
    assert [line["index"] for line in lines(shuqiao("audit", "search", "--json"))] == [0, 1, 2, 3, 4]
    assert len(region.received) == 3
    newest = shuqiao("audit", "search", "--newest", "--limit", "3", "--json")
    assert [line["index"] for line in lines(newest)] == [4, 3, 2]
    assert [request.page_size for request in region.received[3:]] == [3, 1]
    assert "Searched the entries before 5" in shuqiao("audit", "search", lang="en").out


@pytest.mark.parametrize("mode", [("--json",), ()])
def test_the_place_is_kept_and_gone_on_from(
    shuqiao: Shuqiao, region: Region, tmp_path: Path, mode: tuple[str, ...]
) -> None:
    place = tmp_path / "place"
    assert shuqiao("audit", "tail", "--cursor", str(place), "--limit", "3", *mode).code == 0
    assert json.loads(place.read_text()) == {"origin": ORIGIN, "next_index": 3, "length": 0}
    assert shuqiao("audit", "tail", "--cursor", str(place), "--from", "1", *mode).code == 0
    tails = [request for request in region.received if isinstance(request, audit_pb2.TailRequest)]
    assert [request.from_index for request in tails] == [0, 3]
    assert json.loads(place.read_text())["next_index"] == 5


def test_the_place_is_kept_only_after_the_lines_are_out(
    shuqiao: Shuqiao, region: Region, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shuqiao.output import Output

    written: list[str] = []
    out, keep, bring = Output.line, Cursor.write, Output.sync
    monkeypatch.setattr(Output, "line", lambda self, line: (written.append("line"), out(self, line))[1])
    monkeypatch.setattr(Output, "sync", lambda self: (written.append("sync"), bring(self))[1])
    monkeypatch.setattr(Cursor, "write", lambda self, *a: (written.append("kept"), keep(self, *a))[1])
    lines(shuqiao("audit", "tail", "--cursor", str(tmp_path / "place"), "--json"))
    assert written == ["line"] * 5 + ["sync", "kept"]


@pytest.mark.parametrize(
    "content", ["", "7", "[]", '{"origin": 1, "next_index": 1}', '{"origin": "x", "next_index": -1}', "{}"]
)
def test_a_file_that_holds_no_place_is_refused(shuqiao: Shuqiao, tmp_path: Path, content: str) -> None:
    place = tmp_path / "place"
    place.write_text(content)
    ran = shuqiao("audit", "tail", "--cursor", str(place), "--json")
    assert (ran.code, ran.document["error"]["code"]) == (2, "BAD_CONFIGURATION")


def test_a_place_in_another_log_is_refused_and_left_as_it_is(
    shuqiao: Shuqiao, region: Region, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    place.write_text('{"origin": "970100.yunchuan.example/gateway-9", "next_index": 1}')
    ran = shuqiao("audit", "tail", "--cursor", str(place), "--json")
    assert (ran.code, ran.document["error"]["code"]) == (2, "BAD_CONFIGURATION")
    assert not any(isinstance(request, audit_pb2.TailRequest) for request in region.received)
    assert json.loads(place.read_text())["next_index"] == 1


def test_a_first_connection_that_fails_is_told_at_once(shuqiao: Shuqiao, region: Region) -> None:
    region.refuse = e.GatewayAway("down")
    ran = shuqiao("audit", "tail", "--follow", "--json")
    assert (ran.code, ran.document["error"]["code"]) == (1, "GATEWAY_AWAY")
