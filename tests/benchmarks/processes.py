"""Starts real processes and ends them; each says `ready {json}` when it is."""

import asyncio
import json
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

READY_S = 30.0
RESULT_S = 120.0
STOP_S = 15.0
SAID = 4000
"""Characters of what a process said that are told with an error."""
ROOT = Path(__file__).resolve().parents[2]


@dataclass(slots=True)
class Child:
    """A process and what it said when it was ready."""

    process: asyncio.subprocess.Process
    told: dict[str, Any]

    @property
    def pid(self) -> int:
        return self.process.pid

    async def order(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Give an order and wait for its result."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
        await self.process.stdin.drain()
        return await asyncio.wait_for(_said(self.process, b"result "), RESULT_S)


@dataclass(slots=True)
class Children:
    """The processes of a run, ended in reverse order whatever happens.

    Attributes:
        logs: folder for their output.
    """

    logs: Path
    running: list[Child] = field(default_factory=list)

    async def start(self, name: str, kind: str, config: Path) -> Child:
        """Start `tests.benchmarks.child` and wait until it is ready.

        Raises:
            RuntimeError: it ended or was not ready in time; with what it logged.
        """
        with (self.logs / f"{name}.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.benchmarks.child",
                kind,
                str(config),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=1 << 24,
                cwd=ROOT,
            )
        child = Child(process, {})
        self.running.append(child)
        try:
            child.told = await asyncio.wait_for(_said(process, b"ready "), READY_S)
        except (TimeoutError, EOFError):
            raise RuntimeError(f"{name} is not ready: {self.said_last(name)}") from None
        return child

    async def start_program(self, name: str, *command: str) -> Child:
        """Start another program, which says nothing."""
        with (self.logs / f"{name}.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
        self.running.append(Child(process, {}))
        return self.running[-1]

    def said_last(self, name: str) -> str:
        """Return the end of a process's output."""
        return (self.logs / f"{name}.log").read_text(errors="replace")[-SAID:]

    async def stop(self, child: Child) -> None:
        """End one process and wait for it."""
        if child in self.running:
            self.running.remove(child)
        if child.process.returncode is None:
            with suppress(ProcessLookupError):
                child.process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(child.process.wait(), STOP_S)
            except TimeoutError:
                child.process.kill()
                await child.process.wait()

    async def stop_all(self) -> None:
        """End all, the newest first."""
        while self.running:
            await self.stop(self.running[-1])


async def _said(process: asyncio.subprocess.Process, word: bytes) -> dict[str, Any]:
    assert process.stdout is not None
    async for line in process.stdout:
        if line.startswith(word):
            told: dict[str, Any] = json.loads(line.removeprefix(word))
            return told
    raise EOFError("the process ended")
