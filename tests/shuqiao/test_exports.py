"""Entries reach OCSF, CSV, Parquet and syslog whole; what comes twice is recognised, nothing is missed."""

import csv
import datetime
import io
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from exchange.errors import BadConfiguration, SinkAway
from exchange.merkle import leaf_hash
from exchange.v1 import audit_pb2, common_pb2, reason_pb2, review_pb2
from shuqiao.cursor import Cursor
from shuqiao.exports import columns, ocsf, syslog
from shuqiao.exports.parquet import ParquetSink
from shuqiao.exports.pseudonyms import Pseudonyms, read_key
from shuqiao.exports.records import record
from shuqiao.exports.run import Progress, export
from shuqiao.exports.sinks import FileSink, StreamSink, csv_head, csv_line, ocsf_lines
from shuqiao.exports.syslog import Receiver, SyslogSink
from shuqiao.following import Frame, Tailed

ORIGIN = "970100.yunchuan.example/gateway-1"
NOTE = f"{ORIGIN}\n9\nAAAA\n"


def entry(number: int, **exchange: Any) -> bytes:
    made = audit_pb2.AuditEntry(
        salt=number.to_bytes(16, "big"), version=1, gateway=ORIGIN, time_ms=1_790_000_000_000 + number
    )
    told = {
        "exchange_id": number.to_bytes(16, "big"),
        "consumer_organisation": "11970100MB1A00028A",
        "consumer_agent": "health",
        "provider_organisation": "11970100MB1A0001XA",
        "provider_agent": "police",
        "operator": "op-7",
        "resource": "970100/public-security/household",
        "fields": ["name", "address"],
        "kind": 1,
        "purpose": "newborn-registration",
        "matter": "newborn",
        "case_number": f"LJ-2026-{number:06d}",
        "decision": audit_pb2.DECISION_RELEASED,
    }
    made.exchange.MergeFrom(audit_pb2.ExchangeEntry(**(told | exchange)))
    return made.SerializeToString()


def act(number: int, **changes: Any) -> bytes:
    made = audit_pb2.AuditEntry(salt=bytes(16), version=1, gateway=ORIGIN, time_ms=1_790_000_000_000)
    made.administrative.MergeFrom(
        audit_pb2.AdministrativeEntry(
            **({"actor": "spiffe://970100.yunchuan.example/officer/lin", "subject": "x"} | changes)
        )
    )
    return made.SerializeToString()


def refusals(count: int) -> bytes:
    made = audit_pb2.AuditEntry(salt=bytes(16), version=1, gateway=ORIGIN, time_ms=1_790_000_000_000)
    made.refusals.caller = "spiffe://970100.yunchuan.example/org/11970100MB1A00028A/agent/health"
    made.refusals.reason, made.refusals.count = reason_pb2.REASON_NO_GRANT, count
    return made.SerializeToString()


def review_finding(item: int) -> bytes:
    body = review_pb2.ReviewEventBody(
        review_id=bytes(32),
        item=item,
        action=review_pb2.REVIEW_ACTION_CONFIRM,
        verdict=review_pb2.REVIEW_VERDICT_FINDING,
        text="用途与事项不符",
    )
    statement = common_pb2.Statement(body=body.SerializeToString())
    return act(0, act=audit_pb2.ACT_REVIEW_EVENT, statement=statement)


EVERY_KIND = [
    entry(0),
    entry(1, decision=audit_pb2.DECISION_REFUSED, reason=reason_pb2.REASON_NO_GRANT, rule="grant"),
    entry(
        2, decision=audit_pb2.DECISION_FAILED, reason=reason_pb2.REASON_RESPONSE_SIGNATURE, hop="provider/x"
    ),
    audit_pb2.AuditEntry(
        version=1, gateway=ORIGIN, time_ms=5, exchange=audit_pb2.ExchangeEntry(decision=2, reason=1)
    ).SerializeToString(),
    refusals(41),
    *(act(number, act=number) for number in audit_pb2.Act.values() if number),
    act(99, act=audit_pb2.ACT_REFUSED, reason=reason_pb2.REASON_ROLE_NOT_ALLOWED),
    act(99, act=audit_pb2.ACT_ALERT, reason=reason_pb2.REASON_LOG_UNWITNESSED),
    act(
        99,
        act=audit_pb2.ACT_FINDING,
        finding=audit_pb2.FindingRecord(
            finding_id=bytes(16),
            rule="in-a-row",
            severity="warning",
            consumer="11970000MB1A0001X5",
            operator="op-17",
            exchange_ids=[bytes(16)],
            count=5,
        ),
    ),
    review_finding(17),
]


@pytest.fixture(scope="module")
def schemas() -> dict[int, jsonschema.Draft202012Validator]:
    embedded = OcsfJsonSchemaEmbedded(get_ocsf_schema("1.6.0"))
    return {
        uid: jsonschema.Draft202012Validator(embedded.get_class_schema(name))
        for uid, name in ((6003, "api_activity"), (2004, "detection_finding"))
    }


def frames(leaves: Sequence[bytes], *, size: int = 3) -> Any:
    """Return what reads the leaves in frames, as the gateway's tail does."""

    def read(first: int) -> Iterator[Frame]:
        for start in range(first, len(leaves), size):
            part = leaves[start : start + size]
            yield Frame(
                entries=[Tailed(start + place, leaf) for place, leaf in enumerate(part)],
                next_index=start + len(part),
                checkpoint=NOTE,
                witnessed_size=0,
            )

    return read


# -- OCSF ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leaf", EVERY_KIND, ids=range(len(EVERY_KIND)))
@pytest.mark.parametrize("outside", [False, True])
def test_every_kind_of_entry_becomes_events_that_the_published_schema_accepts(
    schemas: dict[int, jsonschema.Draft202012Validator], leaf: bytes, outside: bool
) -> None:
    made = record(7, leaf, ORIGIN, Pseudonyms(b"k" * 32) if outside else None)
    found = ocsf.events(made)
    assert [event["class_uid"] for event in found] in ([6003], [6003, 2004])
    for event in found:
        told = json.loads(json.dumps(event))
        faults = [error.message for error in schemas[event["class_uid"]].iter_errors(told)]
        assert faults == []
        assert event["metadata"]["uid"] == f"{ORIGIN}#7"
        assert event["raw_data_hash"]["value"] == leaf_hash(leaf).hex()


def test_what_people_should_look_at_is_a_finding_and_nothing_else_is() -> None:
    def found(leaf: bytes) -> bool:
        return len(ocsf.events(record(0, leaf, ORIGIN))) == 2

    assert not found(entry(0))
    assert not found(entry(1, decision=2, reason=reason_pb2.REASON_NO_GRANT))
    assert found(entry(1, decision=3, reason=reason_pb2.REASON_RESPONSE_SIGNATURE))
    assert found(entry(1, decision=2, reason=reason_pb2.REASON_REPLAYED))
    assert found(refusals(5))
    assert found(act(0, act=audit_pb2.ACT_ALERT, reason=reason_pb2.REASON_LOG_UNWITNESSED))
    assert not found(act(0, act=audit_pb2.ACT_GRANT))
    alert = audit_pb2.AlertRecord(reason=reason_pb2.REASON_LOG_UNWITNESSED, severity="critical", since_ms=7)
    events = ocsf.events(record(0, act(0, act=audit_pb2.ACT_ALERT, alert=alert), ORIGIN))
    assert [event["severity_id"] for event in events] == [ocsf.CRITICAL, ocsf.CRITICAL]
    assert "LOG_UNWITNESSED" in events[1]["finding_info"]["title"]
    event = ocsf.events(record(40, review_finding(17), ORIGIN))[1]
    assert event["finding_info"]["related_events"] == [{"uid": f"{ORIGIN}#17"}]


def test_a_refusal_says_why_in_both_languages() -> None:
    event = ocsf.events(record(0, entry(1, decision=2, reason=reason_pb2.REASON_NO_GRANT), ORIGIN))[0]
    assert (event["status_code"], event["status_id"]) == ("NO_GRANT", 2)
    assert " | " in event["status_detail"]


# -- pseudonyms ------------------------------------------------------------------------------------------


def test_outside_the_region_operator_and_case_are_pseudonyms_that_still_belong_together(
    tmp_path: Path,
) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"0123456789abcdef0123456789abcdef\n")
    names = read_key(key)
    one, two = (record(0, entry(5), ORIGIN, names), record(1, entry(5), ORIGIN, names))
    assert one.text("case_number") == two.text("case_number") != "LJ-2026-000005"
    text = ocsf_lines(one) + csv_line(one)
    assert "LJ-2026" not in text and "op-7" not in text
    act = audit_pb2.AdministrativeEntry(act=audit_pb2.ACT_CASE, subject="LJ-2026-000005")
    opened = record(2, audit_pb2.AuditEntry(administrative=act).SerializeToString(), ORIGIN, names)
    assert opened.text("subject") == one.text("case_number")
    other = record(0, entry(5), ORIGIN, Pseudonyms(b"x" * 32))
    assert other.text("case_number") != one.text("case_number")
    key.write_bytes(b"short")
    with pytest.raises(BadConfiguration):
        read_key(key)


# -- files -----------------------------------------------------------------------------------------------


def numbers(path: Path) -> list[int]:
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    assert rows[0] == list(columns.COLUMNS)
    return [int(row[0]) for row in rows[1:]]


def test_a_csv_file_goes_on_where_it_ended_and_holds_each_entry_once(tmp_path: Path) -> None:
    path, place = tmp_path / "log.csv", tmp_path / "place"
    leaves = [entry(number) for number in range(10)]
    for size in (4, 4, 10):
        done = export(frames(leaves[:size]), FileSink(path, csv_line, head=csv_head()), place=Cursor(place))
        assert done.next_index == size
    assert numbers(path) == list(range(10))


def test_what_a_crash_left_beyond_the_kept_place_is_cut_off(tmp_path: Path) -> None:
    path, place = tmp_path / "log.csv", tmp_path / "place"
    leaves = [entry(number) for number in range(9)]

    class Died(Exception):
        """The process is gone."""

    def until_killed(progress: Progress) -> None:
        if progress.next_index == 6:
            with path.open("ab") as file:
                file.write(b'6,half a li"')
            raise Died

    sink = FileSink(path, csv_line, head=csv_head())
    sink.settle_after = 1
    with pytest.raises(Died):
        export(frames(leaves), sink, place=Cursor(place), settled=until_killed)
    export(frames(leaves), FileSink(path, csv_line, head=csv_head()), place=Cursor(place))
    assert numbers(path) == list(range(9))


def test_a_file_that_is_not_what_was_written_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("somebody's\n")
    with pytest.raises(BadConfiguration):
        export(frames([entry(0)]), FileSink(path, ocsf_lines), place=Cursor(tmp_path / "place"))
    assert path.read_text() == "somebody's\n"


def test_a_place_of_another_log_is_refused(tmp_path: Path) -> None:
    place = Cursor(tmp_path / "place")
    place.write("980000.haiyue.example/gateway-1", 0, 0)
    with pytest.raises(BadConfiguration):
        export(frames([entry(0)]), FileSink(tmp_path / "log", ocsf_lines), place=place)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\n=1", "＝1", "＠SUM(A1)"])
def test_no_cell_is_a_formula(text: str) -> None:
    made = csv_line(record(0, entry(0, case_number=text), ORIGIN))
    cells = next(csv.reader(io.StringIO(made)))
    assert cells[columns.COLUMNS.index("case_number")] == f"'{text}"
    assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for cell in cells)


def test_a_stream_gets_lines_in_order() -> None:
    out = io.StringIO()
    export(frames(EVERY_KIND), StreamSink(out, ocsf_lines), place=None)
    uids = [json.loads(line)["metadata"]["sequence"] for line in out.getvalue().splitlines()]
    assert sorted(set(uids)) == list(range(len(EVERY_KIND))) and uids == sorted(uids)


def test_parquet_parts_hold_every_entry_once_and_go_on(tmp_path: Path) -> None:
    import duckdb

    leaves = [entry(number, case_number='a "quoted", 数桥\ncase') for number in range(25)]
    folder = tmp_path / "parts"
    for size in (10, 25):
        sink = ParquetSink(folder, settle_after=4)
        export(frames(leaves[:size]), sink, place=Cursor(folder / ".place") if folder.exists() else None)
        if size == 10:
            Cursor(folder / ".place").write(ORIGIN, 10)
    rows = duckdb.sql(
        f"SELECT \"index\", case_number, time_ms FROM read_parquet('{folder}/*.parquet') ORDER BY 1"
    ).fetchall()
    assert [row[0] for row in rows] == list(range(25))
    assert {row[1] for row in rows} == {'a "quoted", 数桥\ncase'}
    assert rows[3][2] == 1_790_000_000_003
    assert not list(folder.glob(".part-*"))
    assert {part.stat().st_mode & 0o777 for part in folder.glob("*.parquet")} == {0o600}


# -- syslog ----------------------------------------------------------------------------------------------


class Collector:
    """A syslog receiver over TLS with a certificate of its own; takes octet-counted messages.

    Args:
        folder: for its certificate.
        most: it closes each connection after so many messages.
    """

    def __init__(self, folder: Path, *, most: int = 1 << 30) -> None:
        self.ca = folder / "collector.pem"
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.ca.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pem = folder / "collector-key.pem"
        pem.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.ca, pem)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.messages: list[bytes] = []
        self.connections = 0
        self._most = most
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def receiver(self) -> Receiver:
        return Receiver(host="localhost", port=self.port, ca_file=self.ca)

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            try:
                with self._context.wrap_socket(plain, server_side=True) as stream:
                    self._take(stream)
            except OSError:
                continue

    def _take(self, stream: ssl.SSLSocket) -> None:
        """Take whole messages; what was read is kept, so that closing loses only what was never read."""
        taken, held = 0, b""
        while taken < self._most or held:
            chunk = stream.recv(65536)
            if not chunk:
                return
            held += chunk
            while (
                b" " in held and len(held) > (end := held.index(b" ") + 1 + int(held[: held.index(b" ")])) - 1
            ):
                self.messages.append(held[held.index(b" ") + 1 : end])
                held, taken = held[end:], taken + 1

    def close(self) -> None:
        if self._socket.fileno() < 0:
            return
        # Shut down first: closing alone leaves it open for whoever waits in accept.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(10)


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    made = Collector(tmp_path)
    yield made
    made.close()


def index_of(message: bytes) -> int:
    return int(message.partition(b'index="')[2].partition(b'"')[0])


def test_every_entry_reaches_a_syslog_receiver_over_tls_as_rfc_5424(
    collector: Collector, tmp_path: Path
) -> None:
    sink = SyslogSink(collector.receiver, sender="gateway.example")
    done = export(frames(EVERY_KIND), sink, place=Cursor(tmp_path / "place"))
    assert done.records == len(EVERY_KIND)
    wait_for(lambda: {index_of(each) for each in collector.messages} == set(range(len(EVERY_KIND))))
    first = collector.messages[0]
    assert (
        first.startswith(b"<110>1 2026-") and b" gateway.example shuqiao - activity [shuqiao@32473 " in first
    )
    header, _, event = first.partition(b"\xef\xbb\xbf")
    assert header.endswith(b"] ")
    assert json.loads(event)["metadata"]["uid"] == f"{ORIGIN}#0"


def test_a_receiver_that_breaks_off_again_and_again_misses_nothing(tmp_path: Path) -> None:
    collector = Collector(tmp_path, most=7)
    leaves = [entry(number) for number in range(40)]
    told: list[SinkAway] = []

    sink = SyslogSink(collector.receiver, sender="-")
    sink.settle_after = 1
    place = Cursor(tmp_path / "place")
    export(
        frames(leaves, size=2),
        sink,
        place=place,
        go_on=True,
        away=lambda error, pause_s: told.append(error),
        pause=lambda seconds: None,
    )
    assert place.next_index == 40
    collector.close()
    assert {index_of(message) for message in collector.messages} == set(range(40))
    assert told and {error.name for error in told} == {"SINK_AWAY"}
    assert not [error for error in told if "no confirmation" in error.subject], "a reset is told at once"


def test_a_receiver_that_is_away_is_told_and_the_place_stays(tmp_path: Path, collector: Collector) -> None:
    collector.close()
    place = Cursor(tmp_path / "place")
    with pytest.raises(SinkAway):
        export(frames([entry(0)]), SyslogSink(collector.receiver, sender="-"), place=place)
    assert place.next_index is None


def test_a_receiver_whose_certificate_is_not_trusted_gets_nothing(
    tmp_path: Path, collector: Collector
) -> None:
    (tmp_path / "other").mkdir()
    other = Collector(tmp_path / "other")
    receiver = Receiver(host="localhost", port=collector.port, ca_file=other.ca)
    with pytest.raises(SinkAway):
        export(frames([entry(0)]), SyslogSink(receiver, sender="-"), place=None)
    assert collector.messages == []
    other.close()


def test_a_message_beyond_the_bound_says_that_it_is_cut(tmp_path: Path) -> None:
    made = record(0, act(0, act=audit_pb2.ACT_GRANT, subject="x" * 60_000), ORIGIN)
    framed = syslog.message(made, ocsf.events(made)[0], sender="-")
    length, _, body = framed.partition(b" ")
    assert int(length) == len(body) <= syslog.MAX_BYTES
    assert json.loads(body.partition(b"\xef\xbb\xbf")[2])["message"] == "truncated"


def wait_for(holds: Any) -> None:
    end = threading.Event()
    for _ in range(2000):
        if holds():
            return
        end.wait(0.005)
    raise AssertionError("never")
