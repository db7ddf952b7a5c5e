"""Which witnesses count, and how many of them make a quorum: the C2SP tlog-policy file.

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> <any|all|k> <member> …
    quorum <name|none>

A line's items are parted by spaces and tabs; "#" begins a comment line. A name is defined above where it is
used, and is a member of one group at most, so that a witness counts in one way. Names are octets: they are
decoded so that each octet string has a text of its own, and are compared as such.
Bounds: 64 KiB, and the 32 logs, 32 witnesses and 32 groups that the specification asks for. Of the key types
the Ed25519 ones are known: logs 0x01, witnesses 0x04.
Source: c2sp.org/tlog-policy.
"""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from exchange.checkpoint import parse_verifier_key
from exchange.cosignature import WitnessKey, parse_witness_key
from exchange.errors import BadConfiguration
from exchange.files import read_bounded

MAX_POLICY_BYTES = 65_536
MAX_LINES_OF_A_KIND = 32
MAX_URL_CHARS = 512
NONE = "none"
_FORBIDDEN = re.compile(rb"[^\t\n\x20-\x7e\x80-\xff]")
_ITEM = re.compile(r"[^ \t]+")
_URL = re.compile(r"https?://[^/?#@\s]+(/[^?#\s]*)?")


@dataclass(frozen=True, slots=True)
class PolicyLog:
    """A log that the policy is for.

    Attributes:
        origin: its name.
        public_key: Ed25519, 32 bytes.
        url: "" where none is given.
    """

    origin: str
    public_key: bytes
    url: str


@dataclass(frozen=True, slots=True)
class PolicyWitness:
    """A witness.

    Attributes:
        name: in this file; its key may bear another.
        key: what its cosignatures are verified with.
        url: below which it takes checkpoints, without a slash at the end; "" where none is given.
    """

    name: str
    key: WitnessKey
    url: str


@dataclass(frozen=True, slots=True)
class PolicyGroup:
    """Members of which `threshold` suffice."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WitnessPolicy:
    """A policy whose names are all defined.

    Attributes:
        groups: each after those that it names.
        quorum: a witness, a group, or "none".
    """

    logs: tuple[PolicyLog, ...]
    witnesses: tuple[PolicyWitness, ...]
    groups: tuple[PolicyGroup, ...]
    quorum: str

    @property
    def keys(self) -> list[WitnessKey]:
        """What cosignatures are verified with."""
        return [witness.key for witness in self.witnesses]

    def reached(self, cosigned: Collection[WitnessKey]) -> bool:
        """Return whether these witnesses are a quorum."""
        if self.quorum == NONE:
            return True
        held = {witness.name for witness in self.witnesses if witness.key in cosigned}
        for group in self.groups:
            if sum(member in held for member in group.members) >= group.threshold:
                held.add(group.name)
        return self.quorum in held


def read_policy(path: Path) -> WitnessPolicy:
    """Read a policy file.

    Raises:
        BadConfiguration: it cannot be read, or every fault in it with its line.
    """
    content = read_bounded(path, MAX_POLICY_BYTES)
    try:
        return parse_policy(content)
    except BadConfiguration as error:
        raise BadConfiguration(f"{path}: {error.subject}") from None


def parse_policy(content: bytes) -> WitnessPolicy:
    """Return the policy that a file states.

    Raises:
        BadConfiguration: every fault found, each with its line.
    """
    if len(content) > MAX_POLICY_BYTES:
        raise BadConfiguration(f"more than {MAX_POLICY_BYTES} bytes")
    reader = _Reader()
    for number, raw in enumerate(content.split(b"\n"), 1):
        reader.read(number, raw)
    return reader.policy()


class _Reader:
    """Reads a policy line by line and collects what is wrong."""

    def __init__(self) -> None:
        self._faults: list[str] = []
        self._logs: list[PolicyLog] = []
        self._witnesses: list[PolicyWitness] = []
        self._groups: list[PolicyGroup] = []
        self._quorums: list[str] = []
        # A defined name -> the group that has it as a member, "" where none has yet.
        self._names: dict[str, str] = {}
        self._kinds: dict[str, Callable[[Sequence[str]], None]] = {
            "log": self._log,
            "witness": self._witness,
            "group": self._group,
            "quorum": self._quorum,
        }

    def read(self, number: int, raw: bytes) -> None:
        """Read one line, without its newline."""
        items = _ITEM.findall(raw.decode("utf-8", "surrogateescape"))
        try:
            if _FORBIDDEN.search(raw):
                raise BadConfiguration("control character")
            if items and not items[0].startswith("#"):
                kind = self._kinds.get(items[0])
                if kind is None:
                    raise BadConfiguration("neither log, witness, group nor quorum")
                kind(items[1:])
        except BadConfiguration as error:
            self._faults.append(f"line {number}: {error.subject}")

    def policy(self) -> WitnessPolicy:
        """Return what was read.

        Raises:
            BadConfiguration: every fault.
        """
        if not self._quorums and not any("quorum" in fault for fault in self._faults):
            self._faults.append("no quorum")
        if self._faults:
            raise BadConfiguration("; ".join(self._faults))
        return WitnessPolicy(tuple(self._logs), tuple(self._witnesses), tuple(self._groups), self._quorums[0])

    def _log(self, items: Sequence[str]) -> None:
        _count(items, 1, 2, "log <vkey> [<url>]")
        origin, public_key = parse_verifier_key(items[0])
        if any(log.public_key == public_key for log in self._logs):
            raise BadConfiguration("this log key is there already")
        self._logs.append(PolicyLog(origin, public_key, _url(items[1:])))
        _bound(self._logs)

    def _witness(self, items: Sequence[str]) -> None:
        _count(items, 2, 3, "witness <name> <vkey> [<url>]")
        # Defined even where its key is wrong: the lines that name it need not be reported too.
        self._define(items[0])
        key = parse_witness_key(items[1])
        if any(witness.key.public_key == key.public_key for witness in self._witnesses):
            raise BadConfiguration("this witness key is there already")
        self._witnesses.append(PolicyWitness(items[0], key, _url(items[2:])))
        _bound(self._witnesses)

    def _group(self, items: Sequence[str]) -> None:
        _count(items, 3, 2 + 2 * MAX_LINES_OF_A_KIND, "group <name> <any|all|k> <member> …")
        name, threshold, members = items[0], items[1], items[2:]
        self._check_new(name)
        faults = [fault for member in members if (fault := self._join(member, name))]
        self._names[name] = ""
        if faults:
            raise BadConfiguration(", ".join(faults))
        self._groups.append(PolicyGroup(name, _threshold(threshold, len(members)), tuple(members)))
        _bound(self._groups)

    def _quorum(self, items: Sequence[str]) -> None:
        _count(items, 1, 1, "quorum <name|none>")
        if self._quorums:
            raise BadConfiguration("a second quorum")
        if items[0] != NONE and items[0] not in self._names:
            raise BadConfiguration(f"quorum: {_shown(items[0])} is not defined above")
        self._quorums.append(items[0])

    def _define(self, name: str) -> None:
        self._check_new(name)
        self._names[name] = ""

    def _check_new(self, name: str) -> None:
        if name == NONE or name in self._names:
            raise BadConfiguration(f"{_shown(name)} is defined already")

    def _join(self, member: str, group: str) -> str:
        """Make a name a member of a group; return what is wrong with that, "" where nothing is."""
        held = self._names.get(member)
        if held is None:
            return f"{_shown(member)} is not defined above"
        if held:
            return f"{_shown(member)} is a member of {_shown(held)} already"
        self._names[member] = group
        return ""


def _count(items: Sequence[str], least: int, most: int, form: str) -> None:
    if not least <= len(items) <= most:
        raise BadConfiguration(form)


def _bound(lines: Sequence[object]) -> None:
    if len(lines) > MAX_LINES_OF_A_KIND:
        raise BadConfiguration(f"more than {MAX_LINES_OF_A_KIND} of a kind")


def _threshold(text: str, members: int) -> int:
    if text in ("any", "all"):
        return 1 if text == "any" else members
    if not re.fullmatch(r"[1-9][0-9]?", text) or int(text) > members:
        raise BadConfiguration(f"threshold of 1 to {members}, any or all")
    return int(text)


def _url(items: Sequence[str]) -> str:
    """Return a URL without a slash at its end; "" where there is none."""
    if not items:
        return ""
    if len(items[0]) > MAX_URL_CHARS or not _URL.fullmatch(items[0]):
        raise BadConfiguration("URL: http:// or https://, without user, query and fragment")
    return items[0].rstrip("/")


def _shown(name: str) -> str:
    return repr(name[:64])
