"""A region of a million grants and 100,000 resources beside one of a thousand each."""

import asyncio
import json
import sys
import tempfile

from tests.benchmarks.measure import Scale
from tests.benchmarks.region_state_process import FEW
from tests.benchmarks.rows import Group, Row

GRANTS, RESOURCES = 1_000_000, 100_000
BESIDE = "the same with 1,000 grants and 1,000 resources"
IDS = (
    "region_start_s",
    "region_peak_mib",
    "region_decision_us",
    "region_grant_lookup_us",
    "region_grant_unpack_us",
    "region_resource_open_us",
    "region_grant_change_s",
)


async def run(scale: Scale) -> list[Row]:
    """Build both regions, and measure both in a process that starts on them."""
    grants, resources = scale.of(GRANTS, least=FEW), scale.of(RESOURCES, least=FEW)
    with tempfile.TemporaryDirectory() as folder:
        await _ran("build", folder, grants, resources, scale.repetitions)
        few, many = json.loads(await _ran("measure", folder, grants, resources, scale.repetitions))
    return rows_of(few, many, grants, resources)


def rows_of(few: dict[str, float], many: dict[str, float], grants: int, resources: int) -> list[Row]:
    """Return the rows of what was measured of both regions."""
    size = f"{grants:,} grants, each accepted, and {resources:,} resources"
    notes = {
        "load_s": ("s", "<= 20 s", f"CPU, one core; from the projection, clocks included; {size}"),
        "peak_mib": ("MiB", "<= 1,536 MiB", f"peak resident memory of the process that started; {size}"),
        "decide_us": (
            "us",
            "",
            "CPU; resource, grant and guards, grants drawn at random, in turns; bound: ratio 1.5",
        ),
        "find_us": ("us", "", "CPU; by consumer and resource"),
        "unpack_us": ("us", "", "CPU; asked for the first time after a start, one of four held already"),
        "open_us": ("us", "", "CPU; a catalogue entry, asked for the first time after a start"),
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


async def _ran(what: str, folder: str, *numbers: int) -> str:
    module = "tests.benchmarks.region_state_process"
    arguments = ("-m", module, what, folder, *map(str, numbers))
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{what} ended with {process.returncode}")
    return said.decode()


GROUP = Group(ids=IDS, run=run)
