"""How exchanges come together, and what is remembered for speed, changes nothing of what is found."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from exchange.region_rules import RegionRules
from exchange.v1 import reason_pb2 as r
from gateway.risk.detector import Alarm
from gateway.risk.observed import Observed
from gateway.risk.rule_set import MAX_LANES, Windows
from gateway.risk.rules_file import read_risk_rules
from tests.gateway.risk.test_corpus import score
from tests.risk_corpus.world import HOUR, MINUTE, MONDAY_MS
from tests.support.region import CIVIL, HEALTH, POLICE
from tests.support.risk import FIELDS, OWNERS, RESOURCES, tag

FINDINGS = Path(__file__).with_name("findings.txt")
SCOPES = ("consumer", "agent", "operator", "consumer+resource", "agent+resource", "operator+resource")
HEAD = 'title_zh = "题"\ntitle_en = "title"\nseverity = "notice"\n'
KINDS = {
    "refusals": 'reasons = ["NO_GRANT", "CASE_REQUIRED"]\nleast = 6\nin_a_row = true',
    "subjects": "least = 20",
    "subject_again": "least = 3",
    "no_case": "least = 10\npermille = 200",
    "silent_operator": "least = 5\npermille = 100",
    "volume": 'least = 30\nfactor = 1.5\nremember = "1d"\nlearn = "1h"',
    "out_of_hours": 'opens = "08:00"\nshuts = "09:00"\nleast = 10\nlearn_days = 0\nusual_permille = 1000',
}
UNSCOPED = {
    "new_pair": 'least = 12\nremember = "1d"',
    "case_load": "least = 4",
    "shared_operator": "least = 3",
}


def rules(shift: int) -> str:
    """Return a rule of each kind with the fewest cells; scopes are dealt out anew with each shift."""
    told = []
    for number, (kind, more) in enumerate([*KINDS.items(), *UNSCOPED.items()]):
        by = f'by = "{SCOPES[(number + shift) % len(SCOPES)]}"\n' if kind in KINDS else ""
        only = 'except_resources = ["*/civil/*"]\n' if (number + shift) % 4 == 0 else ""
        window = 'window = "30m"\nmax_keys = 100\n'
        text = f'id = "{kind.replace("_", "-")}"\nkind = "{kind}"\n{HEAD}{window}{by}{only}{more}'
        told.append("[[rule]]\n" + text)
    told.append(
        '[[rule]]\nid = "attempts"\nkind = "refusals"\nby = "agent"\nreasons = ["NO_GRANT"]\n'
        f'distinct = true\nleast = 8\nwindow = "10m"\n{HEAD}'
    )
    return "\n".join(told)


def stream(seed: int, count: int) -> Iterator[Observed]:
    """Yield exchanges of a few busy people and of very many others, some of one moment, some going back."""
    random, time_ms = Random(seed), MONDAY_MS + 10 * HOUR
    for number in range(count):
        if random.random() < 0.4:
            time_ms += random.choice([1, 500, 20_000, MINUTE, -30_000])
        time_ms += 3 * HOUR if random.random() < 0.002 else 0
        busy, resource = random.random() < 0.7, random.choice(list(OWNERS))
        refused = random.random() < 0.2
        subject = random.randrange(12 if busy else 5000)
        yield Observed(
            time_ms,
            random.choice([HEALTH, CIVIL, POLICE]),
            f"agent-{random.randrange(2)}",
            f"op-{random.randrange(5 if busy else 900)}" if random.random() < 0.8 else "",
            OWNERS[resource],
            resource,
            f"LJ-{random.randrange(60 if busy else 5000)}" if random.random() < 0.6 else "",
            random.random() < 0.8,
            not refused,
            random.choice([r.REASON_NO_GRANT, r.REASON_CASE_REQUIRED]) if refused else 0,
            refused and random.random() < 0.1,
            number.to_bytes(16),
            FIELDS[resource],
            random.randrange(1 << 60) if refused else 0,
            b"" if refused else tag(str(subject)) * random.choice([1, 1, 2]),
        )


def alarms(text: str, batches: Sequence[Sequence[Observed]], lanes: int) -> tuple[list[Alarm], int, int]:
    windows = Windows(read_risk_rules(text), RegionRules(), RESOURCES.get, max_lanes=lanes)
    found = [alarm for batch in batches for alarm in windows.take(batch)]
    return found, windows.held, windows.evicted


@pytest.mark.parametrize("shift", range(6))
def test_neither_batches_nor_lanes_change_what_is_found(shift: int) -> None:
    text, seen = rules(shift), list(stream(shift, 6000))
    rest = iter(seen)
    batches = list(iter(lambda: list(islice(rest, 32)), []))
    singly = alarms(text, [[one] for one in seen], 1)
    assert alarms(text, batches, MAX_LANES) == singly
    assert alarms(text, batches, 7) == singly
    found, _, evicted = singly
    assert len({alarm.rule.id for alarm in found}) >= 8
    assert evicted > 1000


def test_what_the_shipped_rules_find_in_the_small_corpus_is_what_it_was() -> None:
    """Whoever changes a rule, or the corpus, writes the file anew with what this shows."""
    assert "\n".join(score().told) + "\n" == FINDINGS.read_text(encoding="utf-8")
