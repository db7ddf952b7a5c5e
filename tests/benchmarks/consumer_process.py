"""A consumer's agent with the load inside: `Consumer.submit` is called where the faces would call it.

Orders come as JSON lines on standard input, results go as `result {json}` lines to standard output.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc

from agent.app import Agent
from agent.config import load
from exchange.errors import QueueFull
from exchange.serving import say_ready
from exchange.telemetry import set_up_logs
from exchange.tls import CHANNEL_OPTIONS, channel_credentials
from exchange.v1 import agent_pb2, common_pb2
from tests.benchmarks.echo import PATH

EMPTY = b"\0" * 600
LINKED_S = 20.0
Deliver = Callable[[agent_pb2.AskResponse], None]


class Load:
    """Asks through an agent's consumer, and makes the empty unary calls that stand beside it.

    Args:
        agent: linked.
        questions: what is asked, over and over.
    """

    def __init__(self, agent: Agent, questions: Sequence[agent_pb2.AskRequest]) -> None:
        self._agent = agent
        self._questions = questions

    async def linked(self, timeout_s: float) -> None:
        """Ask until the first answer comes.

        Raises:
            RuntimeError: none came in time; with the last outcome.
        """
        outcome = agent_pb2.AskResponse()
        try:
            async with asyncio.timeout(timeout_s):
                while not outcome.HasField("answer"):
                    await asyncio.sleep(0.1)
                    outcome = await self._agent.consumer.ask(self._questions[0])
        except TimeoutError:
            raise RuntimeError(f"no answer: {outcome}") from None

    async def rate(self, count: int, in_flight: int) -> dict[str, Any]:
        """Ask `count` questions, `in_flight` at a time; return questions per second and the failures."""
        consumer, questions = self._agent.consumer, self._questions
        done, failed, sent, due = 0, 0, 0, 0
        finished, topping = asyncio.Event(), False
        loop = asyncio.get_running_loop()

        def top_up() -> None:
            nonlocal sent, due, topping
            topping = False
            take = min(due, count - sent)
            due = 0
            if take:
                first = sent % len(questions)
                part = questions[first : first + take]
                part = [*part, *questions[: take - len(part)]] if len(part) < take else part
                sent += take
                consumer.submit(part, deliver)

        def deliver(outcome: agent_pb2.AskResponse) -> None:
            nonlocal done, failed, due, topping
            done += 1
            due += 1
            failed += not outcome.HasField("answer") or outcome.answer.records != 1
            if done == count:
                finished.set()
            elif not topping:
                topping = True
                loop.call_soon(top_up)

        begun = time.perf_counter()
        due = in_flight
        try:
            top_up()
        except QueueFull as error:
            return {"failed": count, "why": str(error)}
        await finished.wait()
        return {"rate": count / (time.perf_counter() - begun), "failed": failed}

    async def latency(self, count: int, block: int, address: str) -> dict[str, Any]:
        """Ask one at a time, in turns with empty unary calls; return all times in milliseconds."""
        held = self._agent.identity
        credentials = channel_credentials(
            root_pem=held.root_pem(), key_pem=held.key_pem(), chain_pem=held.chain_pem()
        )
        asks: list[float] = []
        empties: list[float] = []
        async with grpc.aio.secure_channel(address, credentials, options=CHANNEL_OPTIONS) as channel:
            empty = channel.unary_unary(PATH)
            await _timed(lambda: empty(EMPTY), block)
            for first in range(0, count, block):
                part = self._questions[first % len(self._questions) :][:block]
                turn = iter(part)
                asks += await _timed(lambda turn=turn: self._agent.consumer.ask(next(turn)), len(part))
                empties += await _timed(lambda: empty(EMPTY), block)
        return {"asks_ms": asks, "empties_ms": empties}

    async def unary_rate(self, count: int, in_flight: int, address: str, channels: int) -> dict[str, Any]:
        """Make empty unary calls, `in_flight` at a time; return calls per second."""
        held = self._agent.identity
        credentials = channel_credentials(
            root_pem=held.root_pem(), key_pem=held.key_pem(), chain_pem=held.chain_pem()
        )
        opened = [
            grpc.aio.secure_channel(address, credentials, options=CHANNEL_OPTIONS) for _ in range(channels)
        ]
        calls = [channel.unary_unary(PATH) for channel in opened]
        for call in calls:
            await call(EMPTY, wait_for_ready=True, timeout=10)
        each = max(1, count // in_flight)

        async def many(call: Any) -> None:
            for _ in range(each):
                await call(EMPTY)

        begun = time.perf_counter()
        await asyncio.gather(*(many(calls[place % channels]) for place in range(in_flight)))
        elapsed = time.perf_counter() - begun
        for channel in opened:
            await channel.close()
        return {"rate": each * in_flight / elapsed}


async def _timed(act: Callable[[], Awaitable[object]], count: int) -> list[float]:
    times = []
    for _ in range(count):
        begun = time.perf_counter_ns()
        await act()
        times.append((time.perf_counter_ns() - begun) / 1e6)
    return times


def serve(path: Path) -> int:
    """Run the agent of a configuration and follow orders until SIGTERM or the end of standard input.

    Args:
        path: JSON with `agent` (its TOML), `questions` (file of length-prefixed AskRequests).
    """
    set_up_logs("agent")
    spec = json.loads(path.read_text())
    asyncio.run(_main(Path(spec["agent"]), spec))
    return 0


async def _main(config: Path, spec: dict[str, Any]) -> None:
    agent = Agent(load(config), base=config.parent)
    questions = [
        agent_pb2.AskRequest(
            tag=place + 1,
            resource=spec["resource"],
            kind=common_pb2.KIND_QUERY,
            fields=spec["fields"],
            parameters=[agent_pb2.NamedValue(name=spec["key"], value=value)],
            purpose=spec["purpose"],
            matter=spec["matter"],
            case_number="CASE-2026-000001",
            operator="op-17",
            timeout_ms=60_000,
        )
        for place, value in enumerate(spec["values"])
    ]
    stop = asyncio.Event()
    running = asyncio.create_task(agent.run(stop, lambda _: None))
    orders = asyncio.create_task(_follow(Load(agent, questions)))
    await asyncio.wait([running, orders], return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    await running
    if orders.done():
        orders.result()
    orders.cancel()


async def _follow(load: Load) -> None:
    await load.linked(LINKED_S)
    say_ready()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
    )
    async for line in reader:
        order = json.loads(line)
        result = await getattr(load, order.pop("do"))(**order)
        print("result " + json.dumps(result), flush=True)
