"""Runs a demonstration: makes its folder, plays the scenario, shows the outcome, leaves nothing running."""

import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from exchange.errors import BadConfiguration, ExchangeError
from shuqiao.demo.cast import (
    AUDITOR,
    HEALTH,
    MATTER,
    PEOPLE_COUNT,
    PEOPLE_SEED,
    POLICE,
    PURPOSE,
    RESOURCE,
    residents,
)
from shuqiao.demo.household import NAME, Household
from shuqiao.demo.outcome import Outcome
from shuqiao.demo.people import people
from shuqiao.demo.show import Show, both
from shuqiao.demo.world import World
from shuqiao.output import Output
from shuqiao.words import Text

SCENARIOS = {NAME: Household}
DONE, FAILED = 0, 1


def run(*, scenario: str, keep: Path | None, out: Output) -> int:
    """Play a scenario.

    Args:
        scenario: "household".
        keep: an empty or new folder in which everything is left; a temporary one where None.
        out: where it is shown.

    Returns:
        The exit code: 0 when everything was as it must be.

    Raises:
        BadConfiguration: there is no such scenario, or the folder is not empty.
    """
    if scenario not in SCENARIOS:
        raise BadConfiguration(f"--scenario {scenario}: {', '.join(SCENARIOS)}")
    outcome = Outcome(scenario=scenario)
    show = Show(out)
    with _folder(keep) as root, interruptible():
        begun = time.monotonic()
        try:
            with World(root) as world:
                SCENARIOS[scenario](world, show=show, outcome=outcome).play()
        except ExchangeError as error:
            outcome.error = error
        outcome.elapsed_s = time.monotonic() - begun
        outcome.folder = str(root) if keep is not None else ""
    out.show(outcome.document(), lambda: show.summary(outcome))
    if outcome.error is not None and not out.json_mode:
        out.error(outcome.error)
    if keep is not None:
        _say_kept(out, root)
    return DONE if outcome.ok else FAILED


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """The folder that was named and stays, or one that goes."""
    if keep is None:
        root = Path(tempfile.mkdtemp(prefix="shuqiao-"))
        try:
            yield root
        finally:
            shutil.rmtree(root, ignore_errors=True)
        return
    if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise BadConfiguration(f"--keep {keep}: not empty")
    yield keep.absolute()


@contextmanager
def interruptible() -> Iterator[None]:
    """Take SIGTERM and SIGHUP like an interrupt, so that the processes are stopped in order."""

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say_kept(out: Output, root: Path) -> None:
    """Say how to go on with what was kept."""
    serve = [
        ("certs", f"{root}/authority.toml"),
        ("gateway", f"{root}/gateway.toml"),
        *(("agent", f"{root}/agents/{office.agent}.toml") for office in (POLICE, HEALTH)),
    ]
    trust = f"{root}/people/{AUDITOR}/identity/trust-list.pb"
    out.say(
        both("全部文件已保留，可以手工再次启动：", "everything was kept; start it again by hand:", lead="\n"),
        style="bold",
    )
    for group, config in serve:
        _say_command(out, f"shuqiao {group} serve --config {config}")
    out.say(both("以卫健的身份查询：", "then ask as health does:"), style="bold")
    person = residents(people(PEOPLE_COUNT, PEOPLE_SEED))[0].citizen_id
    asked = f"{RESOURCE} citizen_id={person} --purpose {PURPOSE} --matter {MATTER} --case LJ-2026-NB-000118"
    _say_command(out, f"shuqiao --context {root}/people/{HEALTH.steward}/context.toml query {asked}")
    out.say(both("离线验证日志：", "verify the log offline:"), style="bold")
    _say_command(out, f"shuqiao audit verify --log {root}/gateway --trust {trust}")


def _say_command(out: Output, command: str) -> None:
    out.say(Text(f"  {command}", f"  {command}"))
