"""The departments of the household scenario: who they are, what one offers, what the others applied for.

Everything here is invented: division codes 97 and 98 are assigned to nobody.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from shuqiao.demo.configurations import Department, quoted
from shuqiao.demo.people import Person, create_household_db, people
from shuqiao.forms import FieldForm, GrantForm, OrganisationForm, ParameterForm, ResourceForm
from shuqiao.words import Text

RESOURCE = "970100/public-security/household"
DISTRICT = "970102"
PURPOSE = "newborn-registration"
MATTER = "newborn"
PEOPLE_COUNT = 240
PEOPLE_SEED = 970100
TERM = timedelta(days=365)


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """A department of the scenario.

    Args:
        agent: name of its agent, and its alias in resource ids.
        credit_code: 18 characters.
        name: in both languages.
        steward: id of the person who signs for it.
    """

    agent: str
    credit_code: str
    name: Text
    steward: str

    def form(self) -> OrganisationForm:
        """Return it as an administrator enters it."""
        return OrganisationForm(
            credit_code=self.credit_code,
            alias=self.agent,
            name_zh=self.name.zh,
            name_en=self.name.en,
            division="970100",
        )


POLICE = Office(
    agent="public-security",
    credit_code="11970100MB1A0001XA",
    name=Text("临江市公安局", "Linjiang Public Security Bureau"),
    steward="zhou-steward",
)
HEALTH = Office(
    agent="health",
    credit_code="11970100MB1A00028A",
    name=Text("临江市卫生健康委员会", "Linjiang Health Commission"),
    steward="wu-steward",
)
CIVIL = Office(
    agent="civil-affairs",
    credit_code="11970100MB1A000365",
    name=Text("临江市民政局", "Linjiang Civil Affairs Bureau"),
    steward="zheng-steward",
)
INSURANCE = Office(
    agent="medical-insurance",
    credit_code="11970100MB1A000440",
    name=Text("临江市医疗保障局", "Linjiang Medical Insurance Bureau"),
    steward="wang-steward",
)
OFFICES = (POLICE, HEALTH, CIVIL, INSURANCE)
OFFICER, AUDITOR = "feng-officer", "chen-auditor"

# name, column, level, share, in Chinese, in English, padding of its sealed cells in bytes
_FIELDS = (
    ("name", "name", "L3", "conditional", "姓名", "Name", 64),
    ("address", "address", "L4", "conditional", "户籍地址", "Household address", 256),
    ("household_number", "household_no", "L3", "conditional", "户号", "Household number", 64),
    ("police_station", "police_station", "L2", "unconditional", "派出所", "Police station", 64),
    ("relation", "relation", "L3", "conditional", "与户主关系", "Relation to the head", 64),
    ("birth_date", "birth_date", "L3", "conditional", "出生日期", "Date of birth", 64),
)
_FIELD = """
[[resource.field]]
name = "{n}"
column = "{c}"
type = "{t}"
level = "{l}"
"""
GRANTED = ("name", "address", "household_number", "police_station")
TITLES = {name: Text(zh, en) for name, _, _, _, zh, en, _ in _FIELDS}
LEVELS = {name: level for name, _, level, _, _, _, _ in _FIELDS}


def _type(name: str) -> str:
    return "date" if name == "birth_date" else "text"


def resource() -> ResourceForm:
    """Return the catalogue entry that public security publishes."""
    return ResourceForm(
        id=RESOURCE,
        title_zh="户籍信息",
        title_en="Household record",
        kinds=["query", "verify"],
        case_required=True,
        row_cap=10,
        fields=[
            FieldForm.model_validate(
                {
                    "name": name,
                    "title_zh": zh,
                    "title_en": en,
                    "type": _type(name),
                    "level": level,
                    "share": share,
                    "padding": padding,
                }
            )
            for name, _, level, share, zh, en, padding in _FIELDS
        ],
        parameters=[ParameterForm(name="citizen_id", level="L4", format="citizen_id")],
    )


def grant(consumer: Office, fields: Sequence[str], *, until: datetime | None = None) -> GrantForm:
    """Return what a department applies for.

    Args:
        consumer: the department.
        fields: which ones.
        until: when it ends; after a year by default.
    """
    return GrantForm(
        consumer=consumer.credit_code,
        provider=POLICE.credit_code,
        resource=RESOURCE,
        fields=list(fields),
        kinds=["query", "verify"],
        purposes=[PURPOSE],
        matters=[MATTER],
        case_required=True,
        not_after=until or datetime.now(UTC) + TERM,
        justification="新生儿出生一件事：核对父母户籍",
    )


def make_database(folder: Path) -> tuple[Path, Sequence[Person]]:
    """Write the household register of public security; return the file and who is in it."""
    path = folder / f"{POLICE.agent}.db"
    persons = people(PEOPLE_COUNT, PEOPLE_SEED)
    create_household_db(path, persons)
    return path, persons


def residents(persons: Sequence[Person]) -> Sequence[Person]:
    """Return who of the people lives in the district of Dongqiao."""
    return [person for person in persons if person.division == DISTRICT]


def departments(database: Path) -> Sequence[Department]:
    """Return the agents, public security's with its source."""
    return [
        Department(
            agent=office.agent,
            credit_code=office.credit_code,
            purposes=[PURPOSE],
            resources=_source(database) if office is POLICE else "",
        )
        for office in OFFICES
    ]


def _source(database: Path) -> str:
    fields = "".join(
        _FIELD.format(n=name, c=column, t=_type(name), l=level) for name, column, level, *_ in _FIELDS
    )
    return f"""
[[resource]]
id = "{RESOURCE}"
row_cap = 10

[resource.source]
kind = "sql"
url = {quoted(f"sqlite:///{database}")}
table = "household"

[[resource.parameter]]
name = "citizen_id"
column = "citizen_id"
format = "citizen_id"
{fields}"""
