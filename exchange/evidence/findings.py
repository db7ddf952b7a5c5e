"""What a verification finds: faults, each with its place, and sentences of what is proven and what is not."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from exchange.errors import ExchangeError
from exchange.evidence.records import Kind

MAX_FAULTS = 1000
RAISED = (ExchangeError, ValueError, OverflowError)
"""What verifying raises: besides the exchange's errors, what times raise that no calendar holds."""


class Said(NamedTuple):
    """One thing said in both languages."""

    zh: str
    en: str

    def filled(self, **values: object) -> "Said":
        """Return it with values put in for names in braces."""
        return Said(self.zh.format(**values), self.en.format(**values))


class Check(Enum):
    """The checks, numbered as in `exchange.evidence.verify`, and what it means when one fails."""

    FORMAT = (1, Said("文件格式不符", "The file is not of the form it must have"))
    MANIFEST = (2, Said("与导出人签名的清单不符", "It is not what the exporter signed"))
    TRUST = (3, Said("信任列表不成立", "A trust list does not hold"))
    HEAD = (4, Said("检查点不是该日志签发", "A checkpoint was not signed by the log"))
    WITNESS = (5, Said("见证联署不成立或不足", "Cosignatures of witnesses do not hold or do not suffice"))
    CONSISTENCY = (
        6,
        Said("未证明两个日志头同属一段历史", "Two heads of the log are not shown to be of one history"),
    )
    INCLUSION = (7, Said("记录不在日志的这一位置", "The entry is not at this place of the log"))
    SELECTION = (8, Said("内容与说明不符", "The content is not what the description says"))
    ENTRY = (9, Said("记录不可读或属于其他日志", "The entry is unreadable or of another log"))
    ACT = (10, Said("管理记录的签名不成立", "The statement in an administrative entry does not hold"))
    REQUEST = (11, Said("请求方签名不成立", "The consumer's signature does not hold"))
    RESPONSE = (12, Said("提供方签名不成立", "The provider's signature does not hold"))
    GRANT = (13, Said("当时没有覆盖此次交换的授权", "No grant covered the exchange at that time"))
    ATTACHMENT = (14, Said("附件与记录不符", "An attachment does not fit its entry"))
    CASE = (15, Said("当时没有为此开办的办件", "The case was not open for the exchange at that time"))

    @property
    def number(self) -> int:
        """Its number."""
        return self.value[0]

    @property
    def says(self) -> Said:
        """What it means when it fails."""
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that does not hold, and where.

    Attributes:
        check: which check failed.
        record: number of the record in the file.
        kind: what that record is; None where it could not be read.
        entry: index of the log's entry; None where it is about none.
        about: code and particulars.
    """

    check: Check
    record: int
    kind: Kind | None
    entry: int | None
    about: str

    def __str__(self) -> str:
        where = f"record {self.record}" + (f" ({self.kind.word})" if self.kind else "")
        entry = "" if self.entry is None else f", entry {self.entry}"
        return f"{self.check.number} {self.check.name.lower()}: {where}{entry}: {self.about}"


@dataclass(slots=True)
class Findings:
    """Collects what a verification finds; keeps the first thousand faults and counts all.

    Attributes:
        record: number of the record at hand.
        kind: its kind.
        entry: index of the entry at hand, None outside entries.
        counted: how often each thing was counted, by name.
    """

    record: int = 0
    kind: Kind | None = None
    entry: int | None = None
    faults: list[Fault] = field(default_factory=list)
    fault_count: int = 0
    counted: Counter[str] = field(default_factory=Counter)

    def fault(self, check: Check, about: str, *, record: int | None = None, kind: Kind | None = None) -> None:
        """Note that a check failed: at the record and entry at hand, or at another record."""
        self.fault_count += 1
        if len(self.faults) >= MAX_FAULTS:
            return
        if record is None:
            self.faults.append(Fault(check, self.record, self.kind, self.entry, about))
        else:
            self.faults.append(Fault(check, record, kind, None, about))

    @contextmanager
    def during(self, check: Check) -> Iterator[None]:
        """Turn what is raised inside into a fault of a check at the place at hand."""
        try:
            yield
        except RAISED as error:
            self.raised(check, error)

    def raised(self, check: Check, error: Exception) -> None:
        """Note what was raised, one of RAISED, as a fault of a check at the place at hand."""
        if isinstance(error, ExchangeError):
            self.fault(check, f"{error.name}: {error.subject}" if error.subject else error.name)
        else:
            self.fault(check, f"MALFORMED: {type(error).__name__}")


@dataclass(frozen=True, slots=True)
class Report:
    """What a verification says.

    Attributes:
        proven: what holds, as sentences; empty where nothing does.
        unproven: what the bundle does not show, as sentences.
        faults: what does not hold, at most a thousand.
        fault_count: how many there are in all.
        facts: numbers by name, for programs.
    """

    proven: tuple[Said, ...]
    unproven: tuple[Said, ...]
    faults: tuple[Fault, ...]
    fault_count: int
    facts: dict[str, object]

    @property
    def ok(self) -> bool:
        """Whether nothing was found that does not hold."""
        return not self.fault_count
