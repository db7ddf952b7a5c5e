import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from nacl.signing import SigningKey
from prometheus_client import CollectorRegistry

from exchange.checkpoint import Checkpoint, LogSigner
from exchange.cosignature import Cosigner, add_lines, cosignatures_of
from exchange.errors import (
    AuditUnavailable,
    BadConfiguration,
    ExchangeError,
    LogBehind,
    LogForked,
    LogUnwitnessed,
    StoreDamaged,
)
from exchange.identity import Identity, Role
from exchange.v1 import audit_pb2, reason_pb2
from exchange.witness_policy import WitnessPolicy, parse_policy
from gateway.audit.entries.alerts import Alerts
from gateway.audit.witnessing.client import WitnessClient
from gateway.audit.witnessing.setup import policy_of_log, witnessing_of
from gateway.audit.witnessing.watched_witness import WatchedWitness
from gateway.audit.witnessing.witness_alerts import WitnessAlerts
from gateway.audit.witnessing.witnessed_file import SIZES, WITNESSED, WitnessedFile
from gateway.audit.witnessing.witnessing import Witnessing
from gateway.audit.writing.sequencer import Sequencer
from gateway.config import Witnesses
from gateway.metrics import WitnessMetrics
from tests.support.audit import (
    ORIGIN,
    OTHER_SIGNER,
    SIGNER,
    MemoryAuditStore,
    MemoryHighWater,
    memory_sequencer,
    submit,
)
from tests.support.witnesses import START_MS, MemoryWitnessStore, StillClock, cosigner
from witness.judge import Witness

GATEWAY = Identity("yunchuan.example", "970100", Role.GATEWAY, name="gateway-1")
OTHER_LOG = LogSigner(origin="970200.yunchuan.example/g", key=SigningKey(b"\1" * 32)).verifier_key
NAMES = ("a", "b", "c")
Handler = Callable[[httpx.Request], Awaitable[httpx.Response]]


def response(status: int, content: bytes, kind: str = "text/plain") -> httpx.Response:
    """An answer that is read as it comes."""

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(content), 1000):
            yield content[at : at + 1000]

    return httpx.Response(status, content=chunks(), headers={"Content-Type": kind})


class Site:
    """A witness as it is reached over HTTP; `handler` answers in its place."""

    def __init__(self, seed: int, clock: StillClock) -> None:
        self.cosigner: Cosigner = cosigner(seed)
        self.store = MemoryWitnessStore()
        self.judge = Witness(
            cosigner=self.cosigner, logs={ORIGIN: [SIGNER.public_key]}, store=self.store, clock=clock
        )
        self.handler: Handler | None = None
        self.asked: list[bytes] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.content)
        if self.handler is not None:
            return await self.handler(request)
        reply = self.judge.add_checkpoint(request.content)
        return response(reply.status, reply.body, reply.kind)

    def away(self) -> None:
        async def refuse(request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("away", request=request)

        self.handler = refuse

    def answer(self, status: int, content: bytes, kind: str = "text/plain") -> None:
        async def say(request: httpx.Request) -> httpx.Response:
            return response(status, content, kind)

        self.handler = say


class FailingFile(WitnessedFile):
    """The real files; writes of a note fail without persisting ("lost") or after it ("kept")."""

    fault = ""

    def write(self, note: str) -> None:
        if self.fault == "lost":
            raise AuditUnavailable("disk full")
        super().write(note)
        if self.fault == "kept":
            raise AuditUnavailable("in doubt")


@dataclass
class Bench:
    """A log, three witnesses, and time that goes when it is told to."""

    folder: Path
    quorum: str = "2"
    refuse: bool = False
    clock: StillClock = field(default_factory=StillClock)
    seconds: float = 1000.0
    store: MemoryAuditStore = field(default_factory=MemoryAuditStore)
    high_water: MemoryHighWater = field(default_factory=MemoryHighWater)

    def __post_init__(self) -> None:
        self.sites = {name: Site(seed, self.clock) for seed, name in enumerate(NAMES, 1)}
        lines = [
            f"witness {name} {site.cosigner.key.text} http://{name}.example"
            for name, site in self.sites.items()
        ]
        self.policy: WitnessPolicy = parse_policy(
            "\n".join([*lines, f"group all-of-us {self.quorum} a b c", "quorum all-of-us"]).encode()
        )

    async def _route(self, request: httpx.Request) -> httpx.Response:
        return await self.sites[request.url.host.partition(".")[0]](request)

    async def open(self, **settings: Any) -> None:
        """Start what a gateway starts: the log, then its witnesses; not yet `before_signing`."""
        self.log: Sequencer = memory_sequencer(self.store, self.high_water)
        await self.log.open()
        self.files = FailingFile(folder=self.folder)
        self.http = httpx.AsyncClient(transport=httpx.MockTransport(self._route), timeout=None)
        told = Witnesses(refuse=self.refuse, interval_s=5, timeout_s=0.2, **settings)
        sizes = self.files.read_sizes()
        monotonic = lambda: self.seconds  # noqa: E731
        witnesses = [
            WatchedWitness(
                witness=one,
                client=WitnessClient(witness=one, http=self.http, timeout_s=told.timeout_s),
                log=self.log,
                interval_s=told.interval_s,
                size=sizes.get(one.key.text, 0),
                monotonic=monotonic,
            )
            for one in self.policy.witnesses
        ]
        alerts = Alerts(
            append=self.log.append,
            gateway=GATEWAY,
            origin=ORIGIN,
            clock=self.clock,
            random=lambda n: b"s" * n,
        )
        self.witnessing = Witnessing(
            policy=self.policy,
            witnesses=witnesses,
            settings=told,
            log=self.log,
            log_keys=lambda: [SIGNER.public_key],
            files=self.files,
            alerts=WitnessAlerts(alerts=alerts, clock=self.clock, monotonic=monotonic),
            metrics=WitnessMetrics(CollectorRegistry(), NAMES),
            clock=self.clock,
            http=self.http,
            monotonic=monotonic,
        )
        self.log.hold_exchanges_back(self.witnessing.fault)

    async def start(self, **settings: Any) -> None:
        await self.open(**settings)
        await self.witnessing.before_signing()

    async def close(self) -> None:
        await self.witnessing.close()
        await self.log.close()

    async def append(self, count: int = 1) -> None:
        for _ in range(count):
            await self.log.append(self.leaf())

    def leaf(self) -> bytes:
        made = audit_pb2.AuditEntry(version=1, gateway=ORIGIN, time_ms=self.clock.ms)
        made.salt = len(self.store.entries).to_bytes(16, "big")
        made.exchange.operator = "op-1"
        return made.SerializeToString()

    def later(self, seconds: float) -> None:
        self.seconds += seconds
        self.clock.ms += int(seconds * 1000)

    def cosigners(self) -> set[str]:
        keys = [key for key, _ in cosignatures_of(self.witnessing.witnessed_note(), self.policy.keys)]
        return {witness.name for witness in self.policy.witnesses if witness.key in keys}

    def alerts(self) -> list[tuple[str, str]]:
        found = []
        for leaf in self.store.entries:
            act = audit_pb2.AuditEntry.FromString(leaf).administrative
            if act.act == audit_pb2.ACT_ALERT:
                found.append((reason_pb2.Reason.Name(act.alert.reason)[7:], act.alert.severity))
        return found

    async def lose(self, size: int) -> None:
        """Put the log back to an older copy of itself, high-water and all, and start it again."""
        await self.close()
        kept, self.store, self.high_water = self.store.entries[:size], MemoryAuditStore(), MemoryHighWater()
        rebuilt = memory_sequencer(self.store, self.high_water)
        await rebuilt.open()
        if kept:
            await submit(rebuilt, kept).places()
        await rebuilt.close()
        await self.open()


@pytest.fixture
async def bench(tmp_path: Path) -> Any:
    made = Bench(tmp_path)
    yield made
    if hasattr(made, "log"):
        await made.close()


async def test_a_head_that_a_quorum_cosigned_is_witnessed_and_kept(bench: Bench) -> None:
    await bench.start()
    await bench.append(5)
    await bench.witnessing.round()
    assert bench.witnessing.witnessed_size() == 5
    assert bench.cosigners() == {"a", "b", "c"}
    assert (bench.folder / WITNESSED).read_text() == bench.witnessing.witnessed_note()


async def test_fewer_than_a_quorum_witness_nothing(bench: Bench) -> None:
    await bench.start()
    before = bench.witnessing.witnessed_size()
    bench.sites["b"].away()
    bench.sites["c"].away()
    await bench.append(3)
    await bench.witnessing.round()
    assert (bench.witnessing.witnessed_size(), before) == (0, 0)
    assert bench.sites["a"].store.held(ORIGIN).size == 3


async def test_cosignatures_of_one_head_add_up_over_rounds(bench: Bench) -> None:
    await bench.start()
    for name in ("b", "c"):
        bench.sites[name].away()
    await bench.append(3)
    await bench.witnessing.round()
    bench.sites["c"].handler = None
    bench.later(60)
    await bench.witnessing.round()
    assert bench.witnessing.witnessed_size() == 3
    assert bench.cosigners() == {"a", "c"}


async def test_a_head_that_everybody_cosigned_is_not_shown_again(bench: Bench) -> None:
    await bench.start()
    await bench.append()
    await bench.witnessing.round()
    asked = [len(site.asked) for site in bench.sites.values()]
    bench.later(3600)
    await bench.witnessing.round()
    assert [len(site.asked) for site in bench.sites.values()] == asked


async def test_subscribers_hear_of_each_newer_head_once(bench: Bench) -> None:
    await bench.start()
    heard: list[int] = []
    end = bench.witnessing.subscribe(heard.append)
    for _ in range(2):
        await bench.append(2)
        await bench.witnessing.round()
        await bench.witnessing.round()
    end()
    await bench.append()
    await bench.witnessing.round()
    assert heard == [2, 4]


async def test_after_a_restart_what_was_witnessed_is_still_witnessed(bench: Bench) -> None:
    await bench.start()
    await bench.append(4)
    await bench.witnessing.round()
    note = bench.witnessing.witnessed_note()
    await bench.close()
    for site in bench.sites.values():
        site.away()
    await bench.start()
    assert (bench.witnessing.witnessed_size(), bench.witnessing.witnessed_note()) == (4, note)


async def test_a_witness_is_asked_from_the_size_that_it_says_it_holds(bench: Bench) -> None:
    await bench.start()
    await bench.append(3)
    await bench.witnessing.round()
    (bench.folder / SIZES).unlink()
    await bench.close()
    await bench.start()
    await bench.append(4)
    await bench.witnessing.round()
    assert bench.witnessing.witnessed_size() == 7
    assert json.loads((bench.folder / SIZES).read_text())[bench.sites["a"].cosigner.key.text] == 7


@pytest.mark.parametrize("content", ["{", "[]", '{"x": -1}', '{"x": "7"}', "x" * 70_000])
async def test_damaged_hints_cost_a_question_and_nothing_else(bench: Bench, content: str) -> None:
    (bench.folder / SIZES).write_text(content)
    await bench.start()
    await bench.append(2)
    await bench.witnessing.round()
    assert bench.witnessing.witnessed_size() == 2


def wrong_signature(bench: Bench, site: Site) -> bytes:
    text = Checkpoint(ORIGIN, 99, bytes(32)).text
    return site.cosigner.cosign(text, time_s=START_MS // 1000).line.encode()


def of_another_witness(bench: Bench, site: Site) -> bytes:
    text = bench.log.head.text
    return cosigner(77).cosign(text, time_s=START_MS // 1000).line.encode()


def of_the_future(bench: Bench, site: Site) -> bytes:
    return site.cosigner.cosign(bench.log.head.text, time_s=START_MS // 1000 + 600).line.encode()


def of_an_older_head(bench: Bench, site: Site) -> bytes:
    head = Checkpoint(ORIGIN, 1, bench.log.root_at(1))
    return site.cosigner.cosign(head.text, time_s=START_MS // 1000).line.encode()


@pytest.mark.parametrize("lie", [wrong_signature, of_another_witness, of_the_future, of_an_older_head])
async def test_a_witness_that_lies_counts_for_nothing(
    bench: Bench, lie: Callable[[Bench, Site], bytes]
) -> None:
    await bench.start()
    await bench.append(3)
    bench.sites["a"].answer(200, lie(bench, bench.sites["a"]))
    bench.sites["b"].away()
    await bench.witnessing.round()
    assert bench.witnessing.witnessed_size() == 0
    bench.sites["b"].handler = None
    bench.later(60)
    await bench.witnessing.round()
    assert bench.cosigners() == {"b", "c"}


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [
        (200, b"x" * 20_000, "text/plain"),
        (200, b"", "text/plain"),
        (200, b"\xff\xfe\n", "text/plain"),
        (409, b"7" * 20_000, "text/x.tlog.size"),
        (409, b"seven\n", "text/x.tlog.size"),
        (409, b"\n", "text/plain"),
        (422, b"", "text/plain"),
        (400, b"", "text/plain"),
        (403, b"", "text/plain"),
        (404, b"", "text/plain"),
        (500, b"", "text/plain"),
        (302, b"", "text/plain"),
    ],
)
async def test_an_answer_that_is_none_is_a_witness_that_is_away(
    bench: Bench, status: int, content: bytes, kind: str
) -> None:
    await bench.start()
    await bench.append(3)
    for name in ("a", "b", "c"):
        bench.sites[name].answer(status, content, kind)
    await bench.witnessing.round()
    await bench.witnessing.settle()
    assert bench.witnessing.witnessed_size() == 0
    assert bench.alerts() == []
    assert bench.log.fault is None


async def test_a_witness_that_does_not_answer_is_left_after_its_time(bench: Bench) -> None:
    await bench.start()

    async def hang(request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    bench.sites["a"].handler = hang
    await bench.append(3)
    await bench.witnessing.round()
    assert bench.cosigners() == {"b", "c"}


async def test_redirects_are_not_followed(bench: Bench) -> None:
    async def redirect(request: httpx.Request) -> httpx.Response:
        moved = response(307, b"")
        moved.headers["Location"] = "http://b.example/add-checkpoint"
        return moved

    await bench.start()
    bench.sites["a"].handler = redirect
    await bench.append(3)
    await bench.witnessing.round()
    assert bench.cosigners() == {"b", "c"}
    assert len(bench.sites["b"].asked) == 2


async def test_the_wait_doubles_up_to_a_minute_and_ends_with_a_cosignature(bench: Bench) -> None:
    await bench.start()
    await bench.append(3)
    site = bench.sites["a"]
    site.away()
    asked, waits = len(site.asked), []
    last = bench.seconds
    while len(waits) < 7:
        await bench.witnessing.round()
        if len(site.asked) > asked:
            waits.append(bench.seconds - last)
            asked, last = len(site.asked), bench.seconds
        bench.later(1)
    assert waits == [0, 5, 10, 20, 40, 60, 60]
    site.handler = None
    bench.later(60)
    await bench.witnessing.round()
    await bench.append()
    await bench.witnessing.round()
    assert site.store.held(ORIGIN).size == 4


async def test_one_witness_that_claims_more_makes_an_alert_once_and_stops_nothing(bench: Bench) -> None:
    await bench.start()
    await bench.append(3)
    bench.sites["a"].answer(409, b"500\n", "text/x.tlog.size")
    for _ in range(3):
        await bench.witnessing.round()
        await bench.witnessing.settle()
        bench.later(60)
    assert bench.alerts() == [("LOG_BEHIND", "warning")]
    assert bench.log.fault is None
    assert bench.cosigners() == {"b", "c"}


async def test_a_witness_that_claims_and_cosigns_in_turn_makes_one_alert_an_hour(bench: Bench) -> None:
    await bench.start()
    site = bench.sites["a"]
    for _ in range(121):
        await bench.append()
        site.answer(409, b"500\n", "text/x.tlog.size")
        await bench.witnessing.round()
        await bench.witnessing.settle()
        site.handler = None
        bench.later(60)
        await bench.witnessing.round()
        await bench.witnessing.settle()
    assert bench.alerts() == [("LOG_BEHIND", "warning")] * 3


async def test_witnesses_that_would_be_a_quorum_stop_a_log_that_they_say_is_behind(bench: Bench) -> None:
    await bench.start()
    await bench.append(3)
    for name in ("a", "b"):
        bench.sites[name].answer(409, b"500\n", "text/x.tlog.size")
    await bench.witnessing.round()
    await bench.witnessing.settle()
    assert isinstance(bench.log.fault, LogBehind)
    with pytest.raises(LogBehind):
        await bench.log.append(bench.leaf())
    assert bench.alerts() == [("LOG_BEHIND", "warning")] * 2


async def test_a_restored_older_log_is_refused_because_of_what_was_witnessed(bench: Bench) -> None:
    await bench.start()
    await bench.append(9)
    await bench.witnessing.round()
    await bench.lose(5)
    for site in bench.sites.values():
        site.away()
    with pytest.raises(LogBehind):
        await bench.witnessing.before_signing()
    with pytest.raises(LogBehind):
        await bench.log.append(bench.leaf())


async def test_a_restored_older_log_is_refused_because_of_its_witnesses(bench: Bench) -> None:
    await bench.start()
    await bench.append(9)
    await bench.witnessing.round()
    await bench.lose(5)
    for name in (WITNESSED, SIZES):
        (bench.folder / name).unlink()
    await bench.close()
    await bench.open()
    with pytest.raises(LogBehind, match=r"size 5, . holds 9"):
        await bench.witnessing.before_signing()


async def test_a_log_that_was_lost_whole_is_refused_because_of_its_witnesses(bench: Bench) -> None:
    await bench.start()
    await bench.append(9)
    await bench.witnessing.round()
    (bench.folder / WITNESSED).unlink()
    await bench.lose(0)
    with pytest.raises(LogBehind):
        await bench.witnessing.before_signing()


async def test_a_log_that_went_on_from_an_older_copy_is_stopped_by_its_witnesses(bench: Bench) -> None:
    """The witnesses were away at the start, and the log has grown beyond what they hold."""
    await bench.start()
    await bench.append(9)
    await bench.witnessing.round()
    (bench.folder / WITNESSED).unlink()
    await bench.lose(5)
    for site in bench.sites.values():
        site.away()
    await bench.witnessing.before_signing()
    bench.clock.ms += 5
    await bench.append(20)
    for site in bench.sites.values():
        site.handler = None
    bench.later(60)
    await bench.witnessing.round()
    await bench.witnessing.settle()
    assert isinstance(bench.log.fault, LogForked)
    assert bench.alerts() == [("LOG_FORKED", "warning")] * 3


async def test_a_log_that_differs_from_what_was_witnessed_is_forked(bench: Bench) -> None:
    await bench.start()
    await bench.append(5)
    await bench.close()
    head = Checkpoint(ORIGIN, 3, b"\7" * 32)
    (bench.folder / WITNESSED).write_text(SIGNER.sign(head))
    await bench.open()
    with pytest.raises(LogForked):
        await bench.witnessing.before_signing()


@pytest.mark.parametrize(
    "content",
    [
        OTHER_SIGNER.sign(Checkpoint(ORIGIN, 3, b"\7" * 32)).encode(),
        f"{ORIGIN}\nno note\n".encode(),
        f"{ORIGIN}\n\xff".encode("latin-1"),
        ORIGIN.encode() + b"\n" + b"x" * 70_000,
    ],
)
async def test_a_damaged_file_is_not_passed_over(bench: Bench, content: bytes) -> None:
    (bench.folder / WITNESSED).write_bytes(content)
    await bench.open()
    with pytest.raises(StoreDamaged):
        await bench.witnessing.before_signing()


async def test_what_another_log_left_there_is_passed_over(bench: Bench) -> None:
    before = LogSigner(origin="970100.yunchuan.example/gateway-1/epoch-1", key=SigningKey(b"\1" * 32))
    (bench.folder / WITNESSED).write_text(before.sign(Checkpoint(before.origin, 9, bytes(32))))
    await bench.start()
    assert bench.witnessing.witnessed_note() != ""
    assert bench.witnessing.witnessed_size() == 0


async def test_a_note_without_a_quorum_of_the_policy_is_proof_but_not_witnessed(bench: Bench) -> None:
    await bench.start()
    await bench.append(5)
    note, head = bench.log.checkpoint, bench.log.head
    await bench.close()
    line = bench.sites["a"].cosigner.cosign(head.text, time_s=1).line.rstrip("\n")
    (bench.folder / WITNESSED).write_text(add_lines(note, [line]))
    for site in bench.sites.values():
        site.away()
    await bench.start()
    assert bench.witnessing.witnessed_note() == ""


@pytest.mark.parametrize("fault", ["lost", "kept"])
async def test_what_could_not_be_kept_does_not_count_until_it_was(bench: Bench, fault: str) -> None:
    await bench.start()
    before = bench.witnessing.witnessed_note()
    await bench.append(3)
    bench.files.fault = fault
    await bench.witnessing.round()
    assert (bench.witnessing.witnessed_note(), bench.witnessing.witnessed_size()) == (before, 0)
    bench.files.fault = ""
    await bench.witnessing.round()
    assert bench.witnessing.witnessed_size() == 3


@pytest.mark.parametrize(("fault", "size"), [("lost", 0), ("kept", 3)])
async def test_a_start_after_a_failed_write_finds_either_note(bench: Bench, fault: str, size: int) -> None:
    await bench.start()
    await bench.append(3)
    bench.files.fault = fault
    await bench.witnessing.round()
    await bench.close()
    for site in bench.sites.values():
        site.away()
    await bench.start()
    assert bench.witnessing.witnessed_size() == size


async def test_while_nothing_can_be_kept_the_older_note_stands_and_the_age_grows(bench: Bench) -> None:
    await bench.start()
    await bench.append(3)
    await bench.witnessing.round()
    kept = bench.witnessing.witnessed_note()

    def fail(note: str) -> None:
        raise AuditUnavailable("read-only")

    bench.files.write = fail  # type: ignore[method-assign]
    await bench.append()
    bench.later(400)
    await bench.witnessing.round()
    await bench.witnessing.settle()
    assert bench.witnessing.witnessed_note() == kept
    assert (bench.folder / WITNESSED).read_text() == kept
    assert bench.alerts() == [("LOG_UNWITNESSED", "critical")]


async def silent(bench: Bench) -> None:
    for site in bench.sites.values():
        site.away()
    await bench.append()
    await bench.witnessing.round()
    bench.later(301)
    await bench.witnessing.settle()


async def test_too_long_without_a_quorum_is_told_once_and_so_is_its_end(bench: Bench) -> None:
    await bench.start()
    await bench.append(2)
    await bench.witnessing.round()
    await silent(bench)
    await bench.witnessing.settle()
    assert bench.alerts() == [("LOG_UNWITNESSED", "critical")]
    entry = audit_pb2.AuditEntry.FromString(bench.store.entries[-1]).administrative
    assert entry.alert.since_ms == bench.clock.ms - 301_000
    assert entry.actor == GATEWAY.uri
    assert bench.log.fault is None
    for site in bench.sites.values():
        site.handler = None
    await bench.witnessing.round()
    await bench.witnessing.settle()
    await bench.witnessing.settle()
    assert bench.alerts() == [("LOG_UNWITNESSED", "critical"), ("LOG_UNWITNESSED", "notice")]


async def test_an_alert_that_could_not_be_entered_is_entered_later(bench: Bench) -> None:
    await bench.start()
    bench.store.free = 0
    bench.log._headroom._free = 0  # the disk is full for administrative entries, too
    for site in bench.sites.values():
        site.away()
    bench.store.free = 1 << 40
    await bench.append()
    bench.store.free = bench.log._headroom._free = 0
    bench.later(301)
    await bench.witnessing.settle()
    assert bench.alerts() == []
    bench.store.free = 1 << 40
    await bench.witnessing.settle()
    assert bench.alerts() == []
    bench.later(10)
    await bench.witnessing.settle()
    assert bench.alerts() == [("LOG_UNWITNESSED", "critical")]


async def test_with_refuse_exchanges_are_held_back_until_a_quorum_is_back(tmp_path: Path) -> None:
    bench = Bench(tmp_path, refuse=True)
    await bench.start()
    await silent(bench)
    assert isinstance(bench.log.fault, LogUnwitnessed)
    with pytest.raises(LogUnwitnessed):
        submit(bench.log, [bench.leaf()])
    await bench.append()  # administrative
    for site in bench.sites.values():
        site.handler = None
    await bench.witnessing.round()
    assert bench.log.fault is None
    await submit(bench.log, [bench.leaf()]).places()
    await bench.close()


async def test_the_age_after_a_restart_counts_from_the_time_in_the_entry(bench: Bench) -> None:
    await bench.start()
    await bench.append(2)
    await bench.witnessing.round()
    for site in bench.sites.values():
        site.away()
    await bench.append()
    await bench.close()
    bench.clock.ms += 200_000
    bench.seconds = 5.0  # another boot
    await bench.start()
    bench.later(99)
    await bench.witnessing.settle()
    assert bench.alerts() == []
    bench.later(2)
    await bench.witnessing.settle()
    assert bench.alerts() == [("LOG_UNWITNESSED", "critical")]


async def test_a_jump_of_the_time_of_day_is_no_alert(bench: Bench) -> None:
    await bench.start()
    for site in bench.sites.values():
        site.away()
    await bench.append()
    bench.clock.ms += 86_400_000
    await bench.witnessing.settle()
    assert bench.alerts() == []


async def test_a_log_without_witnesses_asks_nobody_and_complains_of_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path, refuse=True)
    bench.policy = WitnessPolicy((), (), (), "none")
    await bench.start()
    await bench.append(3)
    bench.later(10_000)
    await bench.witnessing.round()
    await bench.witnessing.settle()
    assert (bench.witnessing.witnessed_note(), bench.witnessing.witnessed_size()) == ("", 0)
    assert (bench.log.fault, bench.alerts()) == (None, [])
    await bench.close()


def test_refusing_without_witnesses_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="policy_file"):
        witnessing_of(
            Witnesses(refuse=True),
            folder=tmp_path,
            log=memory_sequencer(MemoryAuditStore(), MemoryHighWater()),
            log_keys=lambda: [SIGNER.public_key],
            gateway=GATEWAY,
            append=lambda leaf: asyncio.sleep(0),
            clock=StillClock(),
            random=bytes,
            registry=CollectorRegistry(),
        )


def policy_file(folder: Path, text: str) -> Path:
    file = folder / "witnesses.policy"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("quorum none", "leave policy_file out"),
        (f"log {OTHER_LOG}\nwitness a {{a}} http://a.example\nquorum a", "not among its logs"),
        ("witness a {a}\nquorum a", "no quorum"),
        ("witness a {a} http://a.example\nwitness b {b}\ngroup g all a b\nquorum g", "no quorum"),
        ("witness a {a} http://a.example:port/\nquorum a", "URL"),
        ("nonsense", "line 1"),
    ],
)
def test_a_policy_that_the_log_cannot_satisfy_is_refused(tmp_path: Path, text: str, told: str) -> None:
    filled = text.format(a=cosigner(1).key.text, b=cosigner(2).key.text)

    def make() -> Sequence[object]:
        file = policy_file(tmp_path, filled)
        policy = policy_of_log(file, origin=ORIGIN)
        http = httpx.AsyncClient()
        return [WitnessClient(witness=one, http=http, timeout_s=1) for one in policy.witnesses]

    with pytest.raises(BadConfiguration) as caught:
        make()
    assert told in caught.value.subject


def test_the_policy_of_this_log_is_read(tmp_path: Path) -> None:
    text = f"log {SIGNER.verifier_key}\nwitness a {cosigner(1).key.text} http://a.example\nquorum a"
    policy = policy_of_log(policy_file(tmp_path, text), origin=ORIGIN)
    assert policy.quorum == "a"


def test_a_policy_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ExchangeError):
        policy_of_log(tmp_path / "none", origin=ORIGIN)
