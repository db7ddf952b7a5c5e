"""The `shuqiao` command: one module per group of commands, app.py puts them together."""

from shuqiao.cli.app import main

__all__ = ["main"]
