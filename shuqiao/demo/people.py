"""Synthetic people: seeded, reproducible, with valid citizen ids in divisions that exist nowhere (97, 98).

No name, address or number here belongs to anybody. The same count and seed give the same people everywhere,
so that a demonstration and a test can speak about the same person.
"""

import random
import sqlite3
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import date, timedelta
from pathlib import Path

WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
CHECKS = "10X98765432"

_DIVISIONS = (
    ("970102", "云川省临江市东桥区"),
    ("970103", "云川省临江市西津区"),
    ("970121", "云川省临江市清水县"),
    ("980301", "海岳省青屿市"),
    ("980302", "海岳省青屿市港前区"),
)
_SURNAMES = (
    *"王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕",
    "欧阳",
    "上官",
    "司徒",
    "诸葛",
    "㑇",
)
_GIVEN = tuple("伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华玉兰文辉鹏宇浩凯欣怡梓涵子轩雨泽思远嘉懿䶮")
_STREETS = (
    "滨江路",
    "桥东大街",
    "书院巷",
    "望湖路",
    "石板街",
    "清风里",
    "百草园路",
    "渡口街",
    "新安路",
    "古槐巷",
)
_ESTATES = ("江畔花园", "东桥新村", "梧桐苑", "碧水小区", "丁香里", "明德家园")
_STATIONS = ("东桥派出所", "渡口派出所", "书院派出所", "望湖派出所", "港前派出所")


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One synthetic person, as a household register knows them.

    Args:
        citizen_id: 18 characters, valid by GB 11643.
        name: in Chinese.
        sex: "男" or "女".
        birth_date: as in the citizen id.
        household_no: 11 digits; shared by the members of a household.
        relation: to the head of the household.
        address: of the household, in Chinese.
        police_station: that keeps the register.
        division: 6 digits.
    """

    citizen_id: str
    name: str
    sex: str
    birth_date: date
    household_no: str
    relation: str
    address: str
    police_station: str
    division: str


def check_character(digits: str) -> str:
    """Return the check character of a citizen id's first 17 digits (GB 11643, MOD 11-2)."""
    return CHECKS[sum(int(d) * w for d, w in zip(digits, WEIGHTS, strict=True)) % 11]


def people(count: int, seed: int) -> list[Person]:
    """Make people in households of one to five.

    Args:
        count: how many.
        seed: the same seed gives the same people.
    """
    chance = random.Random(seed)  # noqa: S311 - reproducible by intent, nothing secret
    made: list[Person] = []
    taken: set[str] = set()
    household = 0
    while len(made) < count:
        household += 1
        members = min(chance.randint(1, 5), count - len(made))
        made.extend(_household(chance, number=household, members=members, taken=taken))
    return made


def _household(chance: random.Random, *, number: int, members: int, taken: set[str]) -> list[Person]:
    division, place = chance.choice(_DIVISIONS)
    building = f"{chance.randint(1, 30)}栋{chance.randint(1, 6)}单元"
    room = f"{chance.randint(1, 18)}0{chance.randint(1, 4)}室"
    street = f"{chance.choice(_STREETS)}{chance.randint(1, 299)}号"
    address = f"{place}{street}{chance.choice(_ESTATES)}{building}{room}"
    surname, station = chance.choice(_SURNAMES), chance.choice(_STATIONS)
    found = []
    head = chance.randint(0, 1)
    for place_in_household in range(members):
        child = place_in_household >= 2
        sex = ("男", "女")[chance.randint(0, 1) if child else (head + place_in_household) % 2]
        born = date(2002 if child else 1955, 1, 1) + timedelta(
            days=chance.randint(0, 8000 if child else 15000)
        )
        spouse = place_in_household == 1
        given = "".join(chance.sample(_GIVEN, chance.randint(1, 2)))
        found.append(
            Person(
                citizen_id=_citizen_id(chance, division, born, sex, taken),
                name=(chance.choice(_SURNAMES) if spouse else surname) + given,
                sex=sex,
                birth_date=born,
                household_no=f"{division}{number:05d}",
                relation=("户主", "配偶")[place_in_household]
                if not child
                else ("子" if sex == "男" else "女"),
                address=address,
                police_station=station,
                division=division,
            )
        )
    return found


def _citizen_id(chance: random.Random, division: str, born: date, sex: str, taken: set[str]) -> str:
    while True:
        order = chance.randrange(1, 499) * 2 + (1 if sex == "男" else 0)
        digits = f"{division}{born:%Y%m%d}{order:03d}"
        if digits not in taken:
            taken.add(digits)
            return digits + check_character(digits)


def create_household_db(path: Path, persons: Sequence[Person]) -> None:
    """Write people into the table `household` of a new SQLite database.

    Args:
        path: of the file, which must not exist.
        persons: who.

    Raises:
        FileExistsError: there is such a file.
    """
    with path.open("xb"):
        pass
    connection = sqlite3.connect(path)
    try:
        connection.execute(
            "CREATE TABLE household (citizen_id TEXT PRIMARY KEY, name TEXT NOT NULL, sex TEXT NOT NULL,"
            " birth_date DATE NOT NULL, household_no TEXT NOT NULL, relation TEXT NOT NULL,"
            " address TEXT NOT NULL, police_station TEXT NOT NULL, division TEXT NOT NULL) WITHOUT ROWID"
        )
        connection.execute("CREATE INDEX household_no ON household (household_no)")
        rows = [tuple(v.isoformat() if isinstance(v, date) else v for v in astuple(p)) for p in persons]
        connection.executemany("INSERT INTO household VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        connection.commit()
    finally:
        connection.close()
