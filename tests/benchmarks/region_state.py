"""A region of a million grants and 100,000 resources beside one of a thousand each."""

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import Scale
from tests.benchmarks.rows import Group, Row

GRANTS, RESOURCES, FEW = 1_000_000, 100_000, 1_000
BESIDE = "the same with 1,000 grants and 1,000 resources"
IDS = (
    "region_start_s",
    "region_peak_mib",
    "region_decision_us",
    "region_grant_lookup_us",
    "region_grant_change_s",
)


async def run(scale: Scale) -> list[Row]:
    """Build both regions and measure each in a process of its own."""
    grants, resources = scale.of(GRANTS, least=FEW), scale.of(RESOURCES, least=FEW)
    many = await _measured(grants, resources, scale)
    few = await _measured(FEW, FEW, scale)
    size = f"{grants:,} grants, each accepted, and {resources:,} resources"
    notes = {
        "load_s": ("s", "<= 20 s", f"CPU, one core; from the projection; {size}"),
        "peak_mib": ("MiB", "<= 1,536 MiB", f"peak resident memory of the process that started; {size}"),
        "decide_us": (
            "us",
            "",
            "CPU; resource, grant and guards on grants drawn at random; bound: 1.5 of what stands beside it",
        ),
        "find_us": ("us", "", "CPU; by consumer and resource"),
        "change_s": (
            "s",
            "<= 1 s",
            "signed pause to decision: verified, logged in memory, folded, projected",
        ),
    }
    return [
        Row(
            id=row_id,
            value=many[name],
            unit=unit,
            beside=few[name],
            beside_what=BESIDE,
            budget=budget,
            note=note,
        )
        for row_id, (name, (unit, budget, note)) in zip(IDS, notes.items(), strict=True)
    ]


async def _measured(grants: int, resources: int, scale: Scale) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        told = [
            await _ran(what, Path(folder), grants, resources, scale.repetitions)
            for what in ("build", "measure")
        ]
    return told[0] | told[1]


async def _ran(what: str, folder: Path, *numbers: int) -> dict[str, Any]:
    module = "tests.benchmarks.region_state_process"
    arguments = ("-m", module, what, str(folder), *map(str, numbers))
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{what} ended with {process.returncode}")
    result: dict[str, Any] = json.loads(said.splitlines()[-1])
    return result


GROUP = Group(ids=IDS, run=run)
