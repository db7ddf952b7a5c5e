"""A region of real processes in which grants are supervised, walked through with the command alone.

Public security provides two resources of one register, under an allow-list of its own; health asks; civil
affairs asks, and provides what it makes from the register; medical insurance supervises and has no agent.
"""

import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shuqiao.cli.app import run
from shuqiao.demo.cast import CIVIL, HEALTH, INSURANCE, MATTER, POLICE, PURPOSE, Office
from shuqiao.demo.configurations import Department
from shuqiao.demo.staging import Stage
from shuqiao.demo.world import World
from shuqiao.door import Door, dial_mutual
from tests.support.real_region import RealRegion, until

HOUSEHOLD = "970100/public-security/household"
RESIDENCE = "970100/public-security/residence"
FAMILY = "970100/civil-affairs/family"
ADMINS = ("zhao-admin", "qian-admin")

_RESOURCE = """
id = "{id}"
title_zh = "{zh}"
title_en = "{en}"
kinds = ["query", "verify"]
row_cap = 10
{more}
[[parameters]]
name = "citizen_id"
type = "text"
level = "L4"
format = "citizen_id"
"""
_FIELD = """
[[fields]]
name = "{name}"
title_zh = "{name}"
title_en = "{name}"
level = "{level}"
share = "{share}"
"""
FIELDS = (
    ("name", "L3", "conditional"),
    ("relation", "L3", "conditional"),
    ("police_station", "L2", "unconditional"),
)
_SOURCE = """
[[resource]]
id = "{id}"

[resource.source]
kind = "sql"
url = "sqlite:///{database}"
table = "household"

[[resource.parameter]]
name = "citizen_id"
column = "citizen_id"
format = "citizen_id"
"""
_COLUMN = """
[[resource.field]]
name = "{name}"
column = "{name}"
level = "{level}"
"""
ALLOW = f"""
[[allow]]
consumer = "{HEALTH.credit_code}"
resource = "{HOUSEHOLD}"
purposes = ["{PURPOSE}"]
fields = ["name"]

[[allow]]
consumer = "{HEALTH.credit_code}"
resource = "{RESIDENCE}"
purposes = ["*"]

[[allow]]
consumer = "{CIVIL.credit_code}"
resource = "970100/public-security/*"
purposes = ["*"]
"""
SUPERVISIONS = f"""
[[supervisions]]
provider = "*"
supervisor = "{INSURANCE.credit_code}"
grants = true
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What the command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The JSON document, where it was asked for."""
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """The error of the JSON document."""
        return self.document["error"]


class Walk(RealRegion):
    """What people do in it, by the command."""

    @property
    def root(self) -> Path:
        return self.world.layout.root

    def shuqiao(self, who: str, *arguments: str) -> Ran:
        """Run the command as a person whose folder is that; each person's key is opened once."""
        out, err = io.StringIO(), io.StringIO()
        code = run(
            ["--as", str(self.world.layout.people / who), *arguments],
            stdout=out,
            stderr=err,
            environ={**os.environ, "SHUQIAO_LANG": "zh"},
            door=Door(hold=lambda context: self.world.held(who), dial=dial_mutual),
        )
        return Ran(code=code, out=out.getvalue(), err=err.getvalue())

    def do(self, who: str, *arguments: str) -> Any:
        """Run what has to succeed; return its document."""
        ran = self.shuqiao(who, *arguments, "--json")
        assert ran.code == 0, ran.out
        return ran.document

    def say(self, who: str, *arguments: str) -> str:
        """Run what has to succeed; return what people read."""
        ran = self.shuqiao(who, *arguments)
        assert ran.code == 0, ran.err
        return ran.out

    def refused(self, who: str, *arguments: str) -> str:
        """Run what has to be refused; return the code."""
        ran = self.shuqiao(who, *arguments, "--json")
        assert ran.code == 1, ran.out
        return str(ran.error["code"])

    def asking(self, resource: str, field: str) -> Sequence[str]:
        """Return the arguments of a question about somebody."""
        person = f"citizen_id={self.person.citizen_id}"
        told = ["--purpose", PURPOSE, "--matter", MATTER, "--case", "LJ-2026-WALK-1"]
        return ["query", resource, person, "--field", field, *told]

    def outcome(self, who: Office, resource: str, field: str) -> str:
        """Ask about somebody; return the value, or the code of the refusal."""
        ran = self.shuqiao(who.steward, *self.asking(resource, field), "--json")
        return str(ran.document["records"][0][field] if ran.code == 0 else ran.error["code"])

    def answered(self, who: Office, resource: str, field: str) -> None:
        """Ask until the answer is right: agents learn a little later what the gateway knows."""
        values = {"name": self.person.name, "relation": self.person.relation}
        due = values.get(field, self.person.police_station)
        until(lambda: self.outcome(who, resource, field) == due, f"{who.agent} gets {field} of {resource}")

    def apply(self, who: Office, resource: str, *fields: str, more: str = "") -> str:
        """Apply for a grant; return its id."""
        provider = CIVIL if resource == FAMILY else POLICE
        file = self.written(
            "grant.toml",
            f'provider = "{provider.credit_code}"\nresource = "{resource}"\nfields = {json.dumps(fields)}\n'
            f'kinds = ["query", "verify"]\npurposes = ["{PURPOSE}"]\nmatters = ["{MATTER}"]\n'
            f'days = 365\njustification = "新生儿出生一件事"\n{more}',
        )
        return str(self.do(who.steward, "grant", "apply", file)["grant_id"])

    def grant(self, who: Office, resource: str, *fields: str, more: str = "") -> str:
        """Have a grant applied for, approved and supervised; return its id."""
        grant_id = self.apply(who, resource, *fields, more=more)
        provider = CIVIL if resource == FAMILY else POLICE
        self.do(provider.steward, "grant", "approve", grant_id)
        self.do(INSURANCE.steward, "grant", "supervise", grant_id)
        return grant_id

    def resource_file(self, resource: str, more: str = "", title: str = "户籍") -> str:
        """Write the file of a resource; return its path."""
        text = _RESOURCE.format(id=resource, zh=title, en="Register", more=more)
        fields = "".join(_FIELD.format(name=name, level=level, share=share) for name, level, share in FIELDS)
        return self.written("resource.toml", text + fields)

    def written(self, name: str, text: str) -> str:
        """Write a file; return its path."""
        file = self.root / name
        file.write_text(text, encoding="utf-8")
        return str(file)

    def set_rules(self) -> None:
        """Have two administrators set the rules that docs/decisions.md begins with, and a supervisor."""
        folder, signed = self.root / "rules", str(self.root / "rules-1.signed")
        self.do(ADMINS[0], "rules", "init", str(folder))
        with (folder / "region.toml").open("a", encoding="utf-8") as file:
            file.write(SUPERVISIONS)
        # A walk is refused often enough to be taken for probing.
        (folder / "risk.toml").unlink()
        self.do(ADMINS[0], "rules", "check", str(folder))
        self.do(ADMINS[0], "rules", "propose", str(folder), "--out", signed)
        assert self.refused(ADMINS[0], "rules", "publish", signed) == "SECOND_PERSON_REQUIRED"
        self.do(ADMINS[1], "rules", "sign", signed)
        self.do(ADMINS[1], "rules", "publish", signed)


def source(resource: str, database: Path) -> str:
    """Return what a configuration says of where a resource comes from."""
    columns = "".join(_COLUMN.format(name=name, level=level) for name, level, _ in FIELDS)
    return _SOURCE.format(id=resource, database=database) + columns


@contextmanager
def walked_region(folder: Path) -> Iterator[Walk]:
    """Run the region as long as the context lasts."""
    with World(folder) as world:
        stage = Stage(world)
        world.start_authority()
        stage.enrol_people()
        world.start_gateway()
        stage.enter_offices()
        database = stage.make_register()
        provided = {
            POLICE: source(HOUSEHOLD, database) + source(RESIDENCE, database) + ALLOW,
            HEALTH: "",
            CIVIL: source(FAMILY, database),
        }
        stage.start_departments(
            [
                Department(agent=office.agent, credit_code=office.credit_code, resources=resources)
                for office, resources in provided.items()
            ]
        )
        walk = Walk(world=world, stage=stage)
        walk.set_rules()
        for resource in (HOUSEHOLD, RESIDENCE):
            walk.do(POLICE.steward, "catalog", "publish", walk.resource_file(resource))
        yield walk
