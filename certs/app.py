"""The authority's process: environment, logs, signals. What it is made of is in certs/process.py."""

import asyncio
import sys
from pathlib import Path

from certs.config import AuthorityConfig, load
from exchange.errors import ExchangeError
from exchange.serving import keep_private, say_ready, serve_until_told
from exchange.telemetry import set_up_logs
from exchange.tls import prepare_environment


def serve(config_path: Path) -> int:
    """Run an authority until SIGTERM or SIGINT.

    Prints "ready {json}" on standard output when it serves, and JSON lines of its log on standard error.

    Returns:
        0 when it was told to stop, 1 when it could not start; standard error says why.
    """
    prepare_environment()
    keep_private()
    set_up_logs("authority")
    try:
        config = load(config_path)
        serve_until_told(lambda stop: _serve(config, stop))
    except ExchangeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


async def _serve(config: AuthorityConfig, stop: asyncio.Event) -> None:
    from certs.process import running

    async with running(config) as where:
        say_ready(
            process="authority",
            enrolment=f"{config.listen.hosts[0]}:{where.enrolment_port}",
            service=f"{config.listen.hosts[0]}:{where.service_port}",
            trust_list=where.authority.trust_lists.newest_number,
        )
        await stop.wait()
