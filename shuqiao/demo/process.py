"""One process of a demonstration: started, awaited, stopped; what it says goes into a file."""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from exchange.errors import Internal, WrongState

READY = b"ready "
READY_S = 60.0
STOP_S = 10.0
TAIL_CHARS = 600


class Process:
    """A `shuqiao … serve` in a process group of its own, which dies with this process.

    It must be started by a thread that lives as long as it shall: on Linux it ends with that thread.

    Args:
        name: of the process, for example "gateway".
        arguments: of the command `shuqiao`.
        log: the file that takes its standard error; appended to.
    """

    def __init__(self, *, name: str, arguments: Sequence[str], log: Path) -> None:
        self.name = name
        self._arguments = list(arguments)
        self._log = log
        self._child: subprocess.Popen[bytes] | None = None
        self.told: Mapping[str, object] = {}

    @property
    def pid(self) -> int:
        """Its process id.

        Raises:
            WrongState: it was not started.
        """
        return self._running().pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        """Start it; `ready` waits until it serves.

        Raises:
            WrongState: it runs already.
        """
        if self.alive:
            raise WrongState(self.name)
        command = [sys.executable, "-m", "shuqiao.demo.child", str(os.getpid()), *self._arguments]
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(  # noqa: S603  our own interpreter, arguments of our own
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                process_group=0,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    def ready(self, *, timeout_s: float = READY_S) -> Mapping[str, object]:
        """Wait until it serves.

        Returns:
            What it says of itself: the JSON after "ready".

        Raises:
            Internal: it ended, or did not serve in time; the subject ends with the end of its log.
        """
        child = self._running()
        assert child.stdout is not None
        deadline = time.monotonic() + timeout_s
        said = b""
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            while (line := _ready_line(said)) is None:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise self._failed("not ready in time")
                more = os.read(child.stdout.fileno(), 65536)
                if not more:
                    raise self._failed("ended")
                said += more
        with self._log.open("ab") as log:
            log.write(said)
        self.told = json.loads(line.removeprefix(READY))
        return self.told

    def stop(self, *, timeout_s: float = STOP_S) -> int:
        """Ask it to stop, and kill it when it does not.

        Returns:
            Its exit code; negative where a signal ended it.
        """
        if self._child is None:
            return 0
        self.ask_to_stop()
        try:
            code = self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return self.kill()
        self._close()
        return code

    def ask_to_stop(self) -> None:
        """Ask it to stop without waiting; `stop` waits."""
        if self.alive:
            self._signal(signal.SIGTERM)

    def kill(self) -> int:
        """End it at once; return its exit code."""
        child = self._running()
        self._signal(signal.SIGKILL)
        code = child.wait()
        self._close()
        return code

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._child is None:
            raise WrongState(f"{self.name}: not started")
        return self._child

    def _signal(self, number: signal.Signals) -> None:
        child = self._running()
        if child.poll() is None:
            os.killpg(child.pid, number)

    def _close(self) -> None:
        for pipe in (self._running().stdin, self._running().stdout):
            if pipe is not None:
                pipe.close()

    def _failed(self, what: str) -> Internal:
        try:
            tail = self._log.read_text(encoding="utf-8", errors="replace")[-TAIL_CHARS:]
        except OSError:
            tail = ""
        return Internal(f"{what}; {self._log}: {tail.strip()}", hop=self.name)


def _ready_line(said: bytes) -> bytes | None:
    """Return the first whole line that tells of being ready."""
    whole = said.split(b"\n")[:-1]
    return next((line for line in whole if line.startswith(READY)), None)
