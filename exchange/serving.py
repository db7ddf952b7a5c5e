"""What every process does alike: bind, end on a signal, say when it serves, let go of its tasks."""

import asyncio
import gc
import json
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from exchange.errors import BadConfiguration

BACKLOG = 128


def keep_private() -> None:
    """Make the files of this process its user's alone, databases and their journals too.

    Sockets set their own rights. Called before any file is made.
    """
    os.umask(0o077)


def serve_until_told(run: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run a process's work on an event loop of its own until SIGTERM or SIGINT.

    Args:
        run: the work; it ends soon after the event is set.
    """

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await run(stop)

    asyncio.run(main())


def quiet_collector() -> None:
    """Have the cycle collector pass over everything that was loaded until now, and run less often.

    Modules are most of what it would walk through, again and again; what an exchange makes has no cycles
    and is freed without it (ADR 0013).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 20)


def say_ready(**told: object) -> None:
    """Print "ready" and a JSON object on standard output: whoever started the process waits for it."""
    quiet_collector()
    print(f"ready {json.dumps(told)}", flush=True)


async def first_of(tasks: Sequence["asyncio.Task[Any]"], stop: asyncio.Event) -> None:
    """Wait until told to stop or until a task that should not end does, and raise what it raised."""
    stopping = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await cancel_all([stopping])


async def cancel_all(tasks: Sequence["asyncio.Task[Any]"]) -> None:
    """Cancel tasks and wait until each has ended."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task


def bound(host: str, port: int, setting: str) -> socket.socket:
    """Return a TCP socket that listens at an address.

    Args:
        host: an address or a name.
        port: 0 takes a free one.
        setting: the configuration's name of the port, for the error.

    Raises:
        BadConfiguration: it cannot be bound.
    """
    # The protocol is named because asyncio turns Nagle's delay off only where it is.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        # Whoever hears that the process is ready may ask at once, before anything takes connections.
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise BadConfiguration(f"{setting} {port}: {error.strerror}") from None
    return sock
