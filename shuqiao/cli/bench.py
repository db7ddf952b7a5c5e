"""`shuqiao bench`: measures the budgets, in a checkout that has the benchmarks."""

import subprocess
import sys
from pathlib import Path

import typer

from shuqiao.cli.invocation import of
from shuqiao.words import Text

MODULE = "tests.benchmarks"
MISSING = Text(
    "此处没有性能测试：请在源代码目录中运行（git clone 之后 make bench）",
    "There are no benchmarks here: run this in a checkout of the source (git clone, then make bench)",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bench", help="性能测试 | Measure the budgets")(bench)


def checkout() -> Path | None:
    """Return the folder that holds tests/benchmarks: this source's own, or None where it is installed."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / "tests" / "benchmarks" / "__main__.py").is_file() else None


def bench(context: typer.Context) -> int:
    """Run the benchmarks; they write docs/performance.json."""
    call = of(context)
    root = checkout()
    if root is None:
        call.out.show({"ok": False, "benchmarks": None}, lambda: call.out.say(MISSING))
        return 1
    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-m", MODULE],
        cwd=root,
        stdout=sys.stderr if call.out.json_mode else None,
        check=False,
    )
    if call.out.json_mode:
        written = root / "docs" / "performance.json"
        call.out.line({"ok": ended.returncode == 0, "benchmarks": str(written)})
    return 0 if ended.returncode == 0 else 1
