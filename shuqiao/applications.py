"""The local systems that may ask through an agent: blocks of its configuration, and their tokens.

The configuration is a person's file: what is written into it is a block of its own, what is removed is that
block, every other line stays as it is. A change counts from the agent's next start, and what would not be a
valid configuration is not written.
"""

import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.config import AgentConfig, load
from agent.consumer.credentials import ANY, new_token
from exchange.clock import Random
from exchange.durable import replace_file
from exchange.errors import BadConfiguration
from shuqiao.enrolling import write_private
from shuqiao.examples import quoted
from shuqiao.founding import CONTEXT

TOKEN = "token"  # noqa: S105  the name of a file
_TABLE = re.compile(r"^\[", re.MULTILINE)
_HEADER = "[[local.application]]"
_OWN_HASH = re.compile(r"^token_hash\s*=.*$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What a system may ask.

    Attributes:
        purposes, resources, operators, matters: "*" for any; without matters any, without operators none.
        cases: whether it may open and close cases.
        at_once: most questions it may have under way; 0 for what the agent allows each.
    """

    purposes: Sequence[str]
    resources: Sequence[str]
    operators: Sequence[str] = ()
    matters: Sequence[str] = ()
    cases: bool = False
    at_once: int = 0


def add(path: Path, out: Path, *, name: str, rights: Rights, random: Random) -> Path:
    """Let a local system ask through an agent: a block in its configuration, a token, and a context file.

    A crash before the end leaves a block with a token that nobody has; remove it and begin again.

    Args:
        path: the agent's configuration; it counts from the agent's next start.
        out: folder that is made, with `token` and `context.toml`.
        name: of the system.
        rights: for what it may ask; see docs/applications.md.
        random: what the token is made of.

    Returns:
        The context file.

    Raises:
        BadConfiguration: the folder is there, the name is taken, or the configuration would not be valid.
    """
    config = load(path)
    if out.exists() or name in {application.name for application in config.local.application}:
        raise BadConfiguration(f"{name}: {out}")
    token, token_hash = new_token(random)
    text = path.read_text(encoding="utf-8").rstrip("\n") + "\n\n" + _block(name, token_hash, rights)
    _write(path, text, f"--name {name} | --purpose | --resource | --operator | --matter | --at-once")
    return _hand_out(out, token, config)


def remove(path: Path, name: str) -> None:
    """Take a system's block out of an agent's configuration.

    Raises:
        BadConfiguration: there is none of that name.
    """
    _change(path, name, lambda block: "")


def rotate(path: Path, out: Path, *, name: str, random: Random) -> Path:
    """Give a system another token; the one before counts as well until `finish`.

    Returns:
        The context file beside the new token.

    Raises:
        BadConfiguration: there is no such system, the folder is there, or a change is not finished yet.
    """
    config = load(path)
    settings = {application.name: application for application in config.local.application}.get(name)
    if settings is None or out.exists():
        raise BadConfiguration(f"{name}: {out}")
    held = settings.hashes()
    if len(held) > 1:
        raise BadConfiguration(f"{name}: --finish")
    token, token_hash = new_token(random)
    file = settings.token_hash_file or path.with_name(f"{path.stem}.{name}.hashes")
    # A crash after this line leaves a second token that nobody has: --finish, and begin again.
    replace_file(file, f"{held[0]}\n{token_hash}\n".encode())
    if settings.token_hash_file is None:
        line = f"token_hash_file = {quoted(file.name)}"
        _change(path, name, lambda block: _OWN_HASH.sub(lambda _: line, block, count=1))
    return _hand_out(out, token, config)


def finish(path: Path, name: str) -> None:
    """Let only a system's newest token count.

    Raises:
        BadConfiguration: there is no such system, or its token is not being changed.
    """
    settings = {each.name: each for each in load(path).local.application}.get(name)
    if settings is None or settings.token_hash_file is None:
        raise BadConfiguration(name)
    replace_file(settings.token_hash_file, f"{settings.hashes()[-1]}\n".encode())


def listed(path: Path) -> list[dict[str, object]]:
    """Return the systems of an agent's configuration as plain values, without their tokens' hashes."""
    return [
        {
            "name": each.name,
            "purposes": list(each.purposes),
            "resources": list(each.resources),
            "matters": list(each.matters),
            "operators": list(each.operators),
            "cases": each.cases,
            "at_once": each.at_once,
            "tokens": len(each.hashes()),
        }
        for each in load(path).local.application
    ]


def _block(name: str, token_hash: str, rights: Rights) -> str:
    lines = [
        _HEADER,
        f"name = {quoted(name)}",
        f"token_hash = {quoted(token_hash)}",
        f"purposes = {quoted(list(rights.purposes))}",
        f"resources = {quoted(list(rights.resources))}",
        f"operators = {quoted(list(rights.operators))}",
    ]
    if rights.matters and list(rights.matters) != [ANY]:
        lines.append(f"matters = {quoted(list(rights.matters))}")
    if rights.cases:
        lines.append("cases = true")
    if rights.at_once:
        lines.append(f"at_once = {rights.at_once}")
    return "\n".join(lines) + "\n"


def _hand_out(out: Path, token: str, config: AgentConfig) -> Path:
    write_private(out / TOKEN, f"{token}\n".encode())
    lines = [f'agent_token_file = "{TOKEN}"', ""]
    if config.local.grpc:
        lines.insert(0, f"agent = {quoted(config.local.grpc)}")
    write_private(out / CONTEXT, "\n".join(lines).encode())
    return out / CONTEXT


def _change(path: Path, name: str, change: Callable[[str], str]) -> None:
    """Replace one system's block: from its header to the next table."""
    text = path.read_text(encoding="utf-8")
    starts = [match.start() for match in _TABLE.finditer(text)]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        if text.startswith(_HEADER, start) and _name_of(text[start:end]) == name:
            _write(path, text[:start] + change(text[start:end]) + text[end:], name)
            return
    raise BadConfiguration(name)


def _name_of(block: str) -> str:
    try:
        found = tomllib.loads(block)["local"]["application"][0]["name"]
    except (tomllib.TOMLDecodeError, KeyError, IndexError, TypeError):
        return ""
    return found if isinstance(found, str) else ""


def _write(path: Path, text: str, subject: str) -> None:
    """Write a configuration where it is valid; its mode stays, and what a link to it points at is written."""
    path = path.resolve()
    try:
        AgentConfig.model_validate(tomllib.loads(text))
    except ValueError as error:
        raise BadConfiguration(subject) from error
    replace_file(path, text.encode(), mode=path.stat().st_mode & 0o777)
