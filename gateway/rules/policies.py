"""Guards as Cedar policies: read, validated against the schema, asked.

1. Guards only forbid. What is allowed the grant index has decided; one `permit` of our own stands for that,
   and a policy that permits, or a template, is refused.
2. Every guard has an @id, unique over all files, and says why in both languages (@reason_zh, @reason_en).
3. At most 15 guards in all. Every one type-checks against the schema, so that none can fail later on.
4. Fail closed: a guard that cannot be evaluated forbids.
5. What Cedar could fall over it does not see (`gateway.rules.policy_text`).
Source: Cedar, https://docs.cedarpolicy.com (policies, schema grammar, validation).
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from exchange.errors import RulesInvalid
from gateway.rules.facts import PATHS, Facts, entities_of, request_of
from gateway.rules.policy_text import check_size, statements_of

MAX_GUARDS = 15
MAX_REASON = 200
MAX_FAULTS = 100
MAX_TOLD = 200
PERMIT = '@id("grant")\npermit (principal, action, resource);\n'
BROKEN = "broken"
"""Named in place of a guard where none can be named; also no guard may have this id."""

_ID = re.compile(r"[a-z0-9-]{1,40}")
_NUMBERED = re.compile(r"`?policy(\d+)`?")
_SCHEMA = "guards.cedarschema"
_HERE = Path(__file__).resolve().parent


class Fault(NamedTuple):
    """What is wrong with a file, and on which line."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """One guard.

    Attributes:
        file, line: where it stands.
        text: of the policy, its semicolon included.
        tree: the policy in Cedar's JSON form.
    """

    id: str
    reason_zh: str
    reason_en: str
    file: str
    line: int
    text: str
    tree: dict[str, Any]


@cache
def schema_text() -> str:
    """Return the schema of what guards can read: beside this module where installed, else in deploy/."""
    packaged = _HERE / _SCHEMA
    file = packaged if packaged.is_file() else _HERE.parent.parent / "deploy" / "policies" / _SCHEMA
    return file.read_text(encoding="utf-8")


def read_guards(files: Sequence[tuple[str, str]]) -> tuple[list[Guard], list[Fault]]:
    """Return the guards of some files, and everything that is wrong with them.

    Args:
        files: name and text of each.

    Raises:
        ImportError: Cedar is not installed.
    """
    import cedarpy

    guards: list[Guard] = []
    faults: list[Fault] = []
    for file, text in files:
        for line, statement in statements_of(text):
            if len(faults) >= MAX_FAULTS:
                return guards, faults
            try:
                check_size(statement)
                policy = json.loads(cedarpy.policies_to_json_str(statement))
                guards.append(_guard(policy, file, line, statement))
            except (ValueError, RecursionError) as error:
                faults.append(Fault(file, line, str(error)))
    faults += _faults_between(guards)
    if not faults and guards:
        faults += _faults_by_schema(guards)
    return guards, faults


def _guard(policy: dict[str, Any], file: str, line: int, statement: str) -> Guard:
    """Raises ValueError: the sentence of the fault."""
    if policy["templates"] or len(policy["staticPolicies"]) != 1:
        raise ValueError("no templates: one policy that forbids")
    (tree,) = policy["staticPolicies"].values()
    notes = tree.get("annotations", {})
    name, zh, en = (notes.get(key) or "" for key in ("id", "reason_zh", "reason_en"))
    if _ID.fullmatch(name) is None or name == BROKEN:
        raise ValueError("@id: a-z, 0-9 and -, at most 40")
    if tree["effect"] != "forbid":
        raise ValueError(f"{name}: guards only forbid; what is allowed, grants say")
    if not zh or not en or max(len(zh), len(en)) > MAX_REASON:
        raise ValueError(f"{name}: @reason_zh and @reason_en, at most {MAX_REASON} characters each")
    return Guard(id=name, reason_zh=zh, reason_en=en, file=file, line=line, text=statement, tree=tree)


def _faults_between(guards: Sequence[Guard]) -> Iterator[Fault]:
    seen: set[str] = set()
    for guard in guards:
        if guard.id in seen:
            yield Fault(guard.file, guard.line, f"{guard.id}: twice")
        seen.add(guard.id)
    for guard in guards[MAX_GUARDS : MAX_GUARDS + 1]:
        yield Fault(guard.file, guard.line, f"{len(guards)} guards; at most {MAX_GUARDS}")


def _faults_by_schema(guards: Sequence[Guard]) -> Iterator[Fault]:
    import cedarpy

    schema = cedarpy.Schema.from_str(schema_text())
    for guard in guards:
        found = cedarpy.validate_policies(guard.text, schema)
        if not found.validation_passed:
            told = "; ".join(fault.error for fault in found.errors) or "not valid"
            text = _NUMBERED.sub(guard.id, told).replace(f"for policy {guard.id}, ", "")
            yield Fault(guard.file, guard.line, f"{guard.id}: {text}")


class Guards:
    """Some guards, compiled. Any thread may ask.

    Args:
        files: name and text of each file.

    Attributes:
        all: the guards in the order of files and lines.
        read: names of the facts that any of them reads.

    Raises:
        RulesInvalid: they do not compile; the subject names file, line and fault.
    """

    def __init__(self, files: Sequence[tuple[str, str]]) -> None:
        try:
            import cedarpy
        except ImportError as error:
            raise RulesInvalid("guards: cedarpy is not installed") from error
        guards, faults = read_guards(files)
        if faults:
            raise RulesInvalid("; ".join(map(str, faults))[:MAX_TOLD])
        self.all: Sequence[Guard] = guards
        self.read = facts_read(guards)
        self._cedar = cedarpy
        self._policies = cedarpy.PolicySet.from_str(PERMIT + "\n".join(guard.text for guard in guards))

    def forbidding(self, facts: Facts) -> str:
        """Return the id of the first guard that forbids; "" where none does."""
        entities = json.dumps(entities_of(facts))
        answer = self._cedar.is_authorized(request_of(facts), self._policies, entities)
        said = answer.diagnostics
        if said.errors:
            # A policy that fails is passed over by Cedar; here it forbids.
            return self._named(said.errors[0])
        if answer.decision == self._cedar.Decision.Allow:
            return ""
        return min((self._place(one) for one in said.reasons), default=(0, BROKEN))[1]

    def _named(self, text: str) -> str:
        found = _NUMBERED.search(text)
        return self._place(found[0])[1] if found else BROKEN

    def _place(self, numbered: str) -> tuple[int, str]:
        """Return place and id of a guard by Cedar's own name for it; the permit has number 0."""
        found = _NUMBERED.fullmatch(numbered)
        number = int(found[1]) if found else 0
        return (number, self.all[number - 1].id) if 0 < number <= len(self.all) else (0, BROKEN)


def facts_read(guards: Sequence[Guard]) -> tuple[str, ...]:
    """Return the names of the facts that some guards read; rather one too many than one too few."""
    paths: set[tuple[str, ...]] = set()
    for guard in guards:
        for variable in ("principal", "action", "resource"):
            if guard.tree[variable]["op"] != "All":
                paths.add((variable,))
        for condition in guard.tree["conditions"]:
            _visit(condition["body"], paths)
    # A variable alone stands for its id, but also for all below it: `principal in ...` may look further.
    return tuple(name for name, at in PATHS.items() if any(at[: len(path)] == path for path in paths))


def _visit(node: Any, paths: set[tuple[str, ...]]) -> None:
    """Note every attribute and every bare variable below a node of Cedar's JSON form."""
    path = _path(node)
    if path:
        paths.add(path)
    elif isinstance(node, dict):
        for below in node.values():
            _visit(below, paths)
    elif isinstance(node, list):
        for below in node:
            _visit(below, paths)


def _path(node: Any) -> tuple[str, ...]:
    """Return the path of a variable or of attributes of one; () where the node is something else."""
    if not isinstance(node, dict) or len(node) != 1:
        return ()
    if isinstance(node.get("Var"), str):
        return (node["Var"],)
    below = node.get(".") or node.get("has")
    if not isinstance(below, dict) or not isinstance(below.get("attr"), str):
        return ()
    before = _path(below["left"])
    return (*before, below["attr"]) if before else ()
