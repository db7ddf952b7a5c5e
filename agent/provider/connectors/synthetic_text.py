"""Texts that belong to nobody: by format, by pattern, or by what a column's name says."""

import random
import re
import re._parser as sre  # type: ignore[import-not-found]
import string
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from exchange.codes import CITIZEN_ID, CREDIT_CODE, DIVISION, citizen_id_check, credit_code_check

DIVISIONS = ("970102", "970103", "970121", "980301", "980302")
SURNAMES = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗"
GIVEN = "伟芳娜敏静丽强磊洋勇艳杰娟涛明超秀霞平刚"
STREETS = ("滨江路", "桥东大街", "书院巷", "望湖路", "石板街", "清风里")
MAX_REPEAT = 32
TRIES = 50
ALPHABET = string.ascii_letters + string.digits
_CREDIT = "0123456789ABCDEFGHJKLMNPQRTUWXY"


def citizen_id(chance: random.Random) -> str:
    """Return a citizen id of a division that exists nowhere, its checksum right."""
    born = date(1950, 1, 1) + timedelta(days=chance.randrange(25_000))
    digits = f"{chance.choice(DIVISIONS)}{born:%Y%m%d}{chance.randrange(1, 1000):03d}"
    return digits + citizen_id_check(digits)


def credit_code(chance: random.Random) -> str:
    """Return a credit code of a division that exists nowhere, its check character right."""
    first = "91" + chance.choice(DIVISIONS) + "".join(chance.choices(_CREDIT, k=9))
    return first + credit_code_check(first)


def division(chance: random.Random) -> str:
    """Return the code of a division that exists nowhere."""
    return chance.choice(DIVISIONS)


def _name(chance: random.Random) -> str:
    return chance.choice(SURNAMES) + "".join(chance.sample(GIVEN, chance.randint(1, 2)))


def _address(chance: random.Random) -> str:
    return f"云川省临江市{chance.choice(STREETS)}{chance.randint(1, 299)}号{chance.randint(1, 30)}栋"


def _phone(chance: random.Random) -> str:
    return f"000-{chance.randrange(10**8):08d}"


def _moment(chance: random.Random) -> datetime:
    return datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=chance.randrange(5 * 365 * 86_400))


NAMES: Sequence[tuple[str, Callable[[random.Random], str]]] = (
    ("citizen_id", citizen_id),
    ("id_card", citizen_id),
    ("id_number", citizen_id),
    ("mother_id", citizen_id),
    ("father_id", citizen_id),
    ("credit_code", credit_code),
    ("division", division),
    ("address", _address),
    ("phone", _phone),
    ("mobile", _phone),
    ("name", _name),
)
"""What a column whose name holds a word is filled with, where nothing else says what it is."""
_FORMATS: Mapping[str, Callable[[random.Random], str]] = {
    CITIZEN_ID: citizen_id,
    CREDIT_CODE: credit_code,
    DIVISION: division,
    "date": lambda chance: _moment(chance).date().isoformat(),
    "date-time": lambda chance: _moment(chance).isoformat(),
    "time": lambda chance: _moment(chance).time().isoformat() + "Z",
    "uuid": lambda chance: str(uuid.UUID(bytes=chance.randbytes(16), version=4)),
    "email": lambda chance: f"user{chance.randrange(10**6)}@sandbox.example",
    "hostname": lambda chance: f"host{chance.randrange(10**6)}.sandbox.example",
    "uri": lambda chance: f"https://sandbox.example/{chance.randrange(10**6)}",
    "ipv4": lambda chance: f"192.0.2.{chance.randrange(1, 255)}",
}


def text_of(column: str, form: str, schema: Mapping[str, Any], chance: random.Random) -> str:
    """Return a text for a column.

    Args:
        column: its name.
        form: "citizen_id", "credit_code", "division" or empty.
        schema: of the property; its pattern, format and lengths count.
        chance: where it is drawn from.

    Raises:
        ValueError: nothing was found that fits.
    """
    least, most = int(schema.get("minLength", 0)), int(schema.get("maxLength", 1 << 16))
    pattern = schema.get("pattern")
    maker = _FORMATS.get(form or str(schema.get("format", "")))
    if maker is None and pattern is None:
        maker = next((made for word, made in NAMES if word in column), None)
    for _ in range(TRIES):
        if maker is not None and (found := maker(chance)):
            text = found
        elif pattern is not None:
            text = matching(pattern, chance)
        else:
            text = "样例" + "".join(chance.choices(ALPHABET, k=8))
        if maker is None and pattern is None:
            text = text[:most].ljust(least, "例")
        if least <= len(text) <= most and (pattern is None or re.search(pattern, text)):
            return text
        if maker is not None and form == "" and "format" not in schema:
            # A guess by the name that does not fit is no more than that.
            maker = None
    raise ValueError("no text fits")


def matching(pattern: str, chance: random.Random) -> str:
    """Return a text that a pattern matches from beginning to end, or nearly: whoever calls checks it.

    Raises:
        ValueError: it has parts that no text is made for, such as looking ahead or back.
    """
    try:
        return _made(sre.parse(pattern), chance, {})
    except re.error as error:
        raise ValueError("pattern") from error


def _made(parts: Any, chance: random.Random, groups: dict[int, str]) -> str:
    return "".join(_part(str(op), told, chance, groups) for op, told in parts)


def _part(op: str, told: Any, chance: random.Random, groups: dict[int, str]) -> str:
    if op == "LITERAL":
        return chr(told)
    if op == "ANY":
        return chance.choice(ALPHABET)
    if op == "NOT_LITERAL":
        return chance.choice([one for one in ALPHABET if one != chr(told)])
    if op == "IN":
        return _one_of(told, chance)
    if op in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        least, most, repeated = told
        bound = max(int(least), min(int(most), int(least) + MAX_REPEAT))
        return "".join(_made(repeated, chance, groups) for _ in range(chance.randint(int(least), bound)))
    if op == "SUBPATTERN":
        number, _, _, inner = told
        text = _made(inner, chance, groups)
        if number is not None:
            groups[number] = text
        return text
    if op == "BRANCH":
        return _made(chance.choice(told[1]), chance, groups)
    if op == "GROUPREF":
        return groups.get(told, "")
    if op == "AT":
        return ""
    raise ValueError(f"pattern: {op}")


def _one_of(told: Any, chance: random.Random) -> str:
    negated, allowed = False, list[str]()
    for op, value in told:
        name = str(op)
        if name == "NEGATE":
            negated = True
        elif name == "LITERAL":
            allowed.append(chr(value))
        elif name == "RANGE":
            low, high = value
            allowed += [chr(code) for code in range(low, min(high, low + 30_000) + 1)]
        elif name == "CATEGORY":
            allowed += _CATEGORIES[str(value)]
        else:
            raise ValueError(f"pattern: {name}")
    if negated:
        taken = frozenset(allowed)
        return chance.choice([one for one in ALPHABET if one not in taken])
    return chance.choice(allowed)


_CATEGORIES: Mapping[str, Sequence[str]] = {
    "CATEGORY_DIGIT": string.digits,
    "CATEGORY_WORD": string.ascii_letters + string.digits + "_",
    "CATEGORY_SPACE": " ",
    "CATEGORY_NOT_DIGIT": string.ascii_letters,
    "CATEGORY_NOT_WORD": "-",
    "CATEGORY_NOT_SPACE": ALPHABET,
}
