"""What the risk rules cost an exchange: the shipped rules at work, and the guard of step 4."""

from pathlib import Path
from random import Random

from exchange.identity import Identity, Role
from exchange.region_rules import RegionRules
from exchange.subject_tags import tag_root
from exchange.v1 import audit_pb2, common_pb2, exchange_pb2
from gateway.audit.entries.exchange_entry import exchange_leaf
from gateway.record import Exchange, TagList
from gateway.risk.engine import Engine
from gateway.risk.holds import Hold
from tests.benchmarks.measure import Scale, per_second
from tests.benchmarks.rows import Group, Row
from tests.risk_corpus.score import Clock
from tests.risk_corpus.world import FIELDS, HOUR, MONDAY_MS, PROVIDERS, consumer, resources, tag

RULES = Path(__file__).resolve().parents[2] / "deploy" / "policies" / "risk.toml"
BATCH = 32
CONSUMERS, OPERATORS, PER_SECOND = 60, 12, 100
EXCHANGES = 48_000


class _Caller:
    """Who asked; nothing is settled here."""

    def __init__(self, number: int) -> None:
        self.identity = Identity("yunchuan.example", "970100", Role.AGENT, consumer(number), "agent-1")


def made(count: int, seed: int) -> list[Exchange]:
    """Return exchanges of busy counters: two for each case, each about one person."""
    random, catalogue = Random(seed), list(resources().values())
    callers = [_Caller(number) for number in range(CONSUMERS)]
    exchanges = []
    for number in range(count):
        who, resource = random.randrange(CONSUMERS), random.choice(catalogue)
        subject = tag(seed * EXCHANGES + number // 2)
        header = exchange_pb2.RequestHeader(
            exchange_id=number.to_bytes(16),
            operator=f"op-{who}-{random.randrange(OPERATORS)}",
            provider_organisation=PROVIDERS[resource.id],
            resource=resource.id,
            fields=FIELDS[resource.id],
            kind=common_pb2.KIND_QUERY,
            purpose="newborn",
            case_number=f"LJ-{seed}-{number // 2}",
        )
        exchanges.append(
            Exchange(
                callers[who],  # type: ignore[arg-type]
                common_pb2.Signed(),
                0,
                header=header,
                exchange_id=header.exchange_id,
                claimed=True,
                resource=resource,
                tags=TagList("2026Q1", 1, tag_root([subject]), subject),
            )
        )
    return exchanges


async def run(scale: Scale) -> list[Row]:
    """Measure a batch of answers through the engine, and the guard."""
    found: list[audit_pb2.FindingRecord] = []
    clock = Clock(MONDAY_MS + 10 * HOUR)
    engine = Engine(
        resource=resources().get, found=found.append, key=bytes(32), clock=clock, random=Random(1).randbytes
    )
    engine.use_rules(RegionRules(version=1, risk=RULES.read_text(encoding="utf-8")))
    count = scale.of(EXCHANGES, least=BATCH * 4) // BATCH * BATCH
    rounds, body = [made(count, seed) for seed in range(scale.repetitions + 1)], exchange_pb2.ResponseBody()
    waiting = iter(rounds)

    def conclude() -> int:
        exchanges = next(waiting)
        for first in range(0, count, BATCH):
            batch = exchanges[first : first + BATCH]
            clock.ms += 1000 * BATCH // PER_SECOND
            for exchange in batch:
                engine.release(exchange, body)
            engine.concluded(batch)
        return count

    def enter() -> int:
        for exchange in rounds[0]:
            exchange_leaf(exchange, salt=bytes(16), gateway="o", time_ms=clock.ms)
        return count

    def pass_guard() -> int:
        for exchange in rounds[0]:
            engine.holds.guard(exchange, None, clock.ms)
        return count

    cost = Row(
        id="risk_us_per_exchange",
        value=1e6 / per_second(conclude, scale),
        unit="us",
        beside=1e6 / per_second(enter, scale),
        beside_what="building the exchange's log entry",
        note=f"CPU, the 15 shipped rules, release guard and windows, batches of {BATCH}",
    )
    engine.holds = type(engine.holds)()
    idle = 1e6 / per_second(pass_guard, scale)
    for number in range(64):
        held = Hold(number.to_bytes(16), "rule", "refuse", f"other {number}", None, None, None, clock.ms * 2)
        engine.holds.put(held, clock.ms)
    busy = 1e6 / per_second(pass_guard, scale)
    return [
        cost,
        Row(
            id="risk_guard_us",
            value=idle,
            unit="us",
            beside=busy,
            beside_what="while 64 other consumers are held back",
            budget="<= 0.5",
            note="CPU, step 4 while nothing is held back",
        ),
    ]


GROUP = Group(ids=("risk_us_per_exchange", "risk_guard_us"), run=run)
