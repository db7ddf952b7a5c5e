"""Writes what the shipped risk rules make of the corpus into docs/risk.md: `python -m tests.risk_corpus`."""

import sys
from collections.abc import Iterator
from pathlib import Path

from gateway.risk.rules_file import read_risk_rules
from tests.risk_corpus.score import Score, run

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "policies" / "risk.toml"
PAGE = ROOT / "docs" / "risk.md"
BEGINS, ENDS = "<!-- corpus: begins -->", "<!-- corpus: ends -->"
DAYS, EACH, SEED = 28, 6, 97


def table(score: Score, text: str) -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"{score.events:,} exchanges in {DAYS} days, {score.lawful:,} of them lawful; seed {SEED};"
    yield f"{len(score.incidents)} incidents of {len({one.kind for one in score.incidents})} kinds."
    yield ""
    yield "| 规则 rule | 动作 action | 发现 findings | 属实 right | 准确率 precision | 召回率 recall |"
    yield "|---|---|---|---|---|---|"
    for rule in read_risk_rules(text):
        found, right = score.findings[rule.id], score.right[rule.id]
        hits, meant = score.recall_of(rule.id)
        precision = f"{right / found:.2f}" if found else "–"
        recall = f"{hits / meant:.2f} ({hits}/{meant})" if meant else "–"
        yield f"| `{rule.id}` | {rule.action} | {found} | {right} | {precision} | {recall} |"
    total, right = sum(score.findings.values()), sum(score.right.values())
    hits = sum(bool(one.found_by) for one in score.incidents)
    yield (
        f"| **全部 all** | | {total} | {right} | {score.precision:.2f} "
        f"| {score.recall():.2f} ({hits}/{len(score.incidents)}) |"
    )
    yield ""
    yield (
        f"Recall without the hard cases {score.recall(hard=False):.2f}, of the hard cases alone "
        f"{score.recall(hard=True):.2f}. Held back: {score.attack_held:,} exchanges of incidents and "
        f"{score.lawful_held:,} lawful ones ({1000 * score.lawful_held / score.lawful:.1f} per mille)."
    )
    yield ""
    yield "| 事件 incident | 难例 hard | 发现 found by any rule |"
    yield "|---|---|---|"
    for kind in dict.fromkeys(one.kind for one in score.incidents):
        among = [one for one in score.incidents if one.kind == kind]
        found = sum(bool(one.found_by) for one in among)
        yield f"| {kind} | {'yes' if among[0].hard else ''} | {found}/{len(among)} |"


def main() -> int:
    """Run the corpus and rewrite the page between its marks."""
    text = RULES.read_text(encoding="utf-8")
    lines = list(table(run(text, days=DAYS, each=EACH, seed=SEED), text))
    if "--print" in sys.argv:
        sys.stdout.write("\n".join(lines) + "\n")
        return 0
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGINS)
    _, _, after = rest.partition(ENDS)
    PAGE.write_text(before + BEGINS + "\n" + "\n".join(lines) + "\n" + ENDS + after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
