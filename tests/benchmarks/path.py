"""The whole path with real agents: consumer, gateway, provider, SQLite source, back; one caller's delay."""

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from exchange.identity import Role
from tests.benchmarks import envoy
from tests.benchmarks.measure import Scale, median, process_cpu_s
from tests.benchmarks.processes import Child
from tests.benchmarks.rows import Row
from tests.benchmarks.world import (
    FIELDS,
    HEALTH,
    KEY,
    MATTER,
    ORIGIN,
    POLICE,
    PURPOSE,
    World,
    resource_of,
)

PEOPLE, IN_FLIGHT = 2000, 256
RATE, LATENCY = "path_exchanges_per_s", "added_latency_ms_p50"


@dataclass(frozen=True, slots=True, kw_only=True)
class Departments:
    """A consumer with the load inside and a provider over SQLite, both linked."""

    consumer: Child
    provider: Child


async def open_departments(world: World) -> Departments:
    """Start both agents."""
    _make_database(world)
    provider = _write_agent(world, "police", POLICE, _RESOURCE)
    consumer = _write_agent(world, "health", HEALTH, "")
    spec = world.folder / "load.json"
    spec.write_text(
        json.dumps(
            {
                "agent": str(consumer),
                "resource": resource_of(POLICE),
                "fields": list(FIELDS),
                "key": KEY,
                "purpose": PURPOSE,
                "matter": MATTER,
                "values": [_citizen(number) for number in range(PEOPLE)],
            }
        )
    )
    serving = await world.children.start("police", "agent", provider)
    asking = await world.children.start("health", "consumer", spec)
    return Departments(consumer=asking, provider=serving)


def _citizen(number: int) -> str:
    return f"97010219900101{number:04d}"


def _make_database(world: World) -> None:
    db = sqlite3.connect(world.folder / "household.db")
    columns = ", ".join(f"{name} TEXT NOT NULL" for name in FIELDS)
    db.execute(f"CREATE TABLE household ({KEY} TEXT PRIMARY KEY, {columns}) WITHOUT ROWID")
    rows = [
        (_citizen(n), f"李{n}", "女", f"云川省临江市东桥区滨江路{n}号", f"970102{n:05d}")
        for n in range(PEOPLE)
    ]
    db.executemany("INSERT INTO household VALUES (?, ?, ?, ?, ?)", rows)
    db.commit()
    db.close()


_RESOURCE = "".join(
    [
        f'\n[[resource]]\nid = "{resource_of(POLICE)}"\nrow_cap = 10\ntimeout_s = 10\n',
        '[resource.source]\nkind = "sql"\nurl = "sqlite:///HERE/household.db"\ntable = "household"\n',
        f'[[resource.parameter]]\nname = "{KEY}"\ncolumn = "{KEY}"\n',
        *(f'[[resource.field]]\nname = "{name}"\ncolumn = "{name}"\nlevel = "L3"\n' for name in FIELDS),
    ]
)


def _write_agent(world: World, name: str, organisation: str, provides: str) -> Path:
    folder = world.folder / name
    world.enter(world.issue(Role.AGENT, f"{name}-1", organisation), folder)
    path = world.folder / f"{name}.toml"
    provides = provides.replace("HERE", str(world.folder))
    path.write_text(
        f'folder = "{name}"\npassphrase_file = "passphrase"\n'
        f'[gateway]\norigin = "{ORIGIN}"\naddresses = ["{world.address}"]\n{provides}'
    )
    return path


async def rate_row(world: World, parties: Departments, beside: envoy.Forwarder, scale: Scale) -> Row:
    """Measure exchanges per second over the whole path, in turns with unary calls through Envoy."""
    count = scale.of(15_000, least=2 * IN_FLIGHT)
    rates, calls, shares = [], [], []
    pids = {
        "consumer": parties.consumer.pid,
        "gateway": world.gateway.pid,
        "provider": parties.provider.pid,
    }
    await parties.consumer.order("rate", count=count // 2, in_flight=IN_FLIGHT)
    for _ in range(scale.repetitions):
        before = {name: process_cpu_s(pid) for name, pid in pids.items()}
        told = await parties.consumer.order("rate", count=count, in_flight=IN_FLIGHT)
        if told["failed"]:
            raise RuntimeError(f"{told} on the path")
        rates.append(told["rate"])
        shares.append({name: (process_cpu_s(pid) - before[name]) / count * 1e6 for name, pid in pids.items()})
        order = {"count": count // 2, "in_flight": IN_FLIGHT, "address": beside.address, "channels": 8}
        calls.append((await parties.consumer.order("unary_rate", **order))["rate"])
    spent = ", ".join(f"{name} {median(share[name] for share in shares):.0f}" for name in pids)
    return Row(
        id=RATE,
        value=median(rates),
        unit="1/s",
        beside=median(calls),
        beside_what="the same process making 600 B unary calls through Envoy to a gRPC echo",
        budget=">= 5,000",
        note=f"{IN_FLIGHT} in flight, load inside the consumer's agent (Consumer.submit); CPU us per "
        f"exchange: {spent}",
    )


async def latency_row(parties: Departments, beside: envoy.Forwarder, scale: Scale) -> Row:
    """Measure one caller's exchange, in turns with empty unary calls to the echo server."""
    count = scale.of(1000, least=50)
    told = await parties.consumer.order("latency", count=count + 100, block=50, address=beside.echo_address)
    asks, empties = median(told["asks_ms"][100:]), median(told["empties_ms"][50:])
    return Row(
        id=LATENCY,
        value=asks - empties,
        unit="ms",
        beside=empties,
        beside_what="an empty mTLS unary call, 600 B, same process",
        budget="<= 3",
        note=f"one caller: p50 of ask {asks:.2f} ms less p50 of the empty call; includes the SQLite read, "
        "the provider's journal and the log, both durable",
    )
