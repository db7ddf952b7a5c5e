"""Puts the command together and runs it: exit 0 done, 1 refused or failed, 2 used wrongly.

`--json`, `--lang` and `--context` (or `--as`) may stand anywhere before a lone "--"; they are moved to the
front, where the root command reads them. Of the modules of commands only the one is loaded whose command is
called; help and misspellings want all of them.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from exchange.clock import Clock, Random, system_random
from exchange.errors import BadConfiguration, ExchangeError, Internal
from shuqiao.cli.invocation import Invocation, of
from shuqiao.output import Output
from shuqiao.words import Language, language_from, localise

if TYPE_CHECKING:
    from shuqiao.door import Door

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
DEBUG = "SHUQIAO_DEBUG"
"""Set it to see where something unforeseen happened."""
FLAGS = frozenset({"--json"})
VALUED = frozenset({"--lang", "--context", "--as"})
GROUPS = (
    "gateway",
    "agent",
    "certs",
    "org",
    "catalog",
    "grant",
    "case",
    "rules",
    "stop",
    "risk",
    "dispute",
    "demand",
    "quality",
    "report",
    "audit",
    "sandbox",
)
"""Modules of this package that are each a group of commands of their name, in the order of the help."""
SINGLE: Mapping[str, tuple[str, ...]] = {
    "demo": ("demo",),
    "exchange": ("query", "verify"),
    "example": ("example",),
    "doctor": ("doctor",),
    "bench": ("bench",),
}
"""Modules of this package, and their commands that are in no group."""

TAGLINE = "数桥：部门之间安全、可审计的数据交换 | Shuqiao: secure, audited data exchange between departments"


def build(*, help_alone: bool, word: str = "") -> typer.Typer:
    """Return the command.

    Args:
        help_alone: whether a group without a command prints its help; otherwise it is a usage error.
        word: the group or command that is called: it alone is there. All are where it names none.
    """
    app = typer.Typer(
        name="shuqiao",
        help=TAGLINE,
        no_args_is_help=help_alone,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    app.callback()(_root)
    called = [module for module in (*SINGLE, *GROUPS) if word in SINGLE.get(module, (module,))]
    for module in called or (*SINGLE, *GROUPS):
        loaded = import_module(f"shuqiao.cli.{module}")
        if module in SINGLE:
            loaded.register(app)
        else:
            app.add_typer(loaded.app, no_args_is_help=help_alone)
    return app


def _root(
    context: typer.Context,
    context_file: Annotated[
        Path | None,
        typer.Option(
            "--context",
            "--as",
            help="以谁的身份：上下文文件或其目录（或 SHUQIAO_CONTEXT）"
            " | As whom: a context file or its folder (or SHUQIAO_CONTEXT)",
        ),
    ] = None,
    lang: Annotated[Language | None, typer.Option("--lang", help="语言 | Language")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="标准输出只有 JSON | Nothing but JSON on standard output")
    ] = False,
) -> None:
    of(context).context_file = context_file


def hoist(arguments: Sequence[str]) -> list[str]:
    """Move the options that belong to the whole command to the front.

    Args:
        arguments: as they were typed, without the program's name.

    Returns:
        The same arguments, the common options first, all else in its order.
    """
    front: list[str] = []
    rest: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        if argument == "--":
            rest += [argument, *waiting]
        elif argument in FLAGS or (argument.partition("=")[0] in VALUED and "=" in argument):
            front.append(argument)
        elif argument in VALUED:
            front += [argument, *(value for value in [next(waiting, None)] if value is not None)]
        else:
            rest.append(argument)
    return front + rest


def run(
    arguments: Sequence[str],
    *,
    stdout: IO[str],
    stderr: IO[str],
    environ: Mapping[str, str],
    door: "Door | None" = None,
    clock: Clock | None = None,
    random: Random = system_random,
) -> int:
    """Run the command once.

    Args:
        arguments: without the program's name.
        stdout: where results go.
        stderr: where errors go for people.
        environ: the environment.
        door: to processes and keys; the real ones where None.
        clock: the time.
        random: randomness.

    Returns:
        The exit code.
    """
    hoisted = hoist(arguments)
    language = _language(hoisted, environ)
    out = Output(language=language, json_mode="--json" in hoisted, stdout=stdout, stderr=stderr)
    invocation = Invocation(output=out, environ=environ, door=door, clock=clock, random=random)
    app = build(help_alone=not out.json_mode, word=_first_word(hoisted))
    command: Any = localise(typer.main.get_command(app), language)
    try:
        code = command.main(args=hoisted, prog_name="shuqiao", standalone_mode=False, obj=invocation)
    except typer.TyperException as error:
        return _used_wrongly(out, error)
    except ExchangeError as error:
        out.error(error)
        return USAGE if isinstance(error, BadConfiguration) and not error.hop else FAILED
    except typer.Abort:
        return INTERRUPTED
    except OSError as error:
        out.error(Internal(f"{error.filename or ''}: {error.strerror}", hop="shuqiao"))
        return FAILED
    except Exception as error:
        if environ.get(DEBUG):
            raise
        out.error(Internal(f"{type(error).__name__}, {DEBUG}=1", hop="shuqiao"))
        return FAILED
    return code if isinstance(code, int) else DONE


def main() -> None:
    """Run the command of this process and end it with its exit code."""
    from exchange.tls import prepare_environment

    prepare_environment()
    sys.exit(run(sys.argv[1:], stdout=sys.stdout, stderr=sys.stderr, environ=os.environ))


def _first_word(hoisted: Sequence[str]) -> str:
    """Return what follows the options of the whole command; empty where that is an option or nothing."""
    waiting = iter(hoisted)
    for argument in waiting:
        if argument in VALUED:
            next(waiting, None)
        elif argument not in FLAGS and argument.partition("=")[0] not in VALUED:
            return "" if argument.startswith("-") else argument
    return ""


def _language(hoisted: Sequence[str], environ: Mapping[str, str]) -> Language:
    """The language is needed before the arguments are parsed: for their own errors and help."""
    for position, argument in enumerate(hoisted):
        name, separator, value = argument.partition("=")
        if name == "--lang":
            wanted = value if separator else next(iter(hoisted[position + 1 :]), "")
            if wanted in tuple(Language):
                return Language(wanted)
    return language_from(environ)


def _used_wrongly(out: Output, error: typer.TyperException) -> int:
    """A group called alone has printed its help by now and has nothing more to say."""
    if error.format_message().strip():
        out.usage(error.format_message(), code=error.exit_code)
    return USAGE
