"""`python -m tests.benchmarks [--quick] [--only ID] [--dry]`: measures, writes docs/performance.{json,md}."""

import argparse
import asyncio
import sys

from exchange.tls import prepare_environment


def main(arguments: list[str]) -> int:
    """Measure what is asked for and write it down; return the exit code."""
    prepare_environment()
    from tests.benchmarks import report
    from tests.benchmarks.measure import FULL, QUICK
    from tests.benchmarks.suite import GROUPS, ROW_IDS, measure

    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("--quick", action="store_true", help="a minute at most, with less to average over")
    parser.add_argument(
        "--only", metavar="ID", action="append", choices=ROW_IDS, help="this row's group alone"
    )
    parser.add_argument("--dry", action="store_true", help="print the rows and write nothing")
    told = parser.parse_args(arguments)
    chosen = [group for group in GROUPS if not told.only or set(told.only) & set(group.ids)]
    environment = report.environment()
    rows = asyncio.run(measure(chosen, QUICK if told.quick else FULL))
    if not told.dry:
        report.write(rows, environment, quick=told.quick)
    print(report.table([row.to_json() for row in rows], environment | {"quick": told.quick}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
