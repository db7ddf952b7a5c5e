"""Writes docs/performance.json, and the table of docs/performance.md from it."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.benchmarks.rows import Row

DOCS = Path(__file__).resolve().parents[2] / "docs"
JSON, PAGE = DOCS / "performance.json", DOCS / "performance.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
LIBRARIES = ("grpcio", "protobuf", "cryptography", "pynacl")


def environment() -> dict[str, Any]:
    """Return what the numbers depend on."""
    model = "unknown"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": model,
        "cores": os.cpu_count(),
        "load_average_before": round(os.getloadavg()[0], 2),
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def write(rows: Sequence[Row], told: Mapping[str, Any], *, quick: bool) -> None:
    """Write the JSON and the table; rows that were not measured this time stay as they were."""
    made = {row.id: row.to_json() for row in rows}
    held = json.loads(JSON.read_text())["rows"] if JSON.exists() else []
    merged = [made.pop(row["id"], row) for row in held] + list(made.values())
    document = {"environment": {**told, "quick": quick}, "rows": merged}
    JSON.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n")
    if PAGE.exists():
        text = PAGE.read_text()
        before, after = text.split(BEGIN, 1)[0], text.split(END, 1)[1]
        PAGE.write_text(before + BEGIN + "\n" + table(merged, document["environment"]) + END + after)


def table(rows: Sequence[Mapping[str, Any]], told: Mapping[str, Any]) -> str:
    """Return the table as Markdown."""
    lines = [
        f"{told['processor']}, {told['cores']} cores, {told['system']}, CPython {told['python']}, "
        f"{told['measured_at']}{', quick run' if told['quick'] else ''}.",
        "",
        "| row | value | budget | beside | ratio | |",
        "|---|---:|---|---:|---:|---|",
    ]
    for row in rows:
        beside = f"{_number(row['beside'])} {row['unit']}" if row["beside"] is not None else ""
        ratio = f"{row['ratio']:.2f}" if row["ratio"] is not None else ""
        said = "; ".join(part for part in (row["note"], _beside(row)) if part)
        value = f"{_number(row['value'])} {row['unit']}"
        lines.append(f"| `{row['id']}` | {value} | {_budget(row)} | {beside} | {ratio} | {said} |")
    return "\n".join(lines) + "\n"


def _beside(row: Mapping[str, Any]) -> str:
    return f"beside: {row['beside_what']}" if row["beside_what"] else ""


def _budget(row: Mapping[str, Any]) -> str:
    """Return the budget and whether it holds."""
    budget = str(row["budget"])
    if not budget:
        return ""
    sense, bound = budget.split()[:2]
    limit = float(bound.replace(",", ""))
    holds = row["value"] <= limit if sense == "<=" else row["value"] >= limit
    return f"{budget.replace('<=', '≤').replace('>=', '≥')} {'✓' if holds else '✗'}"


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
