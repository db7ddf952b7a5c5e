"""The `shuqiao` command: one module per group of commands, app.py puts them together."""

import gc

LOADING = 20_000
"""Objects made between two runs of the cycle collector; modules that are loaded make hardly any garbage."""


def main() -> None:
    """Run the command of this process and end it with its exit code."""
    gc.set_threshold(LOADING)
    from shuqiao.cli.app import main as run

    run()


__all__ = ["main"]
