"""The benchmarks in form: every row once, with the numbers that a reader compares; no speed is asserted."""

import json

import pytest

from tests.benchmarks import envoy, report
from tests.benchmarks.measure import QUICK, TINY
from tests.benchmarks.suite import GROUPS, ROW_IDS, measure

NEEDED = {
    "gateway_cpu_us_per_exchange",
    "gateway_cpu_us_per_exchange_32_links",
    "gateway_cpu_us_per_exchange_128_links",
    "added_latency_ms_p50",
    "path_exchanges_per_s",
    "http_us_per_call",
    "grpc_unary_us_per_call",
    "sdk_stream_us_per_call",
    "seal_fields_per_s",
    "open_fields_per_s",
    "audit_append_per_s",
    "tail_delivery_ms_p99",
    "exchange_ms_with_searches",
    "exchanges_per_s_with_searches",
    "search_page_ms",
    "projection_entries_per_s",
    "audit_verify_per_s_per_core",
    "audit_proof_ms_10m",
    "sign_us_per_body",
    "verify_us_per_body",
    "hpke_wrap_us",
    "region_start_s",
    "region_peak_mib",
    "region_decision_us",
    "region_grant_change_s",
}
WITH_PROCESSES = {"gateway_cpu_us_per_exchange", "http_us_per_call", "tail_delivery_ms_p99"}
KEYS = {"id", "value", "unit", "beside", "ratio"}


def test_the_suite_promises_every_row_of_the_budgets_once() -> None:
    assert set(ROW_IDS) >= NEEDED and len(set(ROW_IDS)) == len(ROW_IDS)


@pytest.mark.slow
async def test_groups_that_need_no_processes_yield_what_they_promise() -> None:
    alone = [group for group in GROUPS if not WITH_PROCESSES & set(group.ids)]
    rows = await measure(alone, TINY)
    assert [row.id for row in rows] == [row_id for group in alone for row_id in group.ids]
    for row in rows:
        told = row.to_json()
        assert told.keys() >= KEYS and told["value"] > 0 and told["beside"] > 0 and told["ratio"] > 0


def test_what_is_written_down_has_every_row_and_the_table_is_made_from_it() -> None:
    document = json.loads(report.JSON.read_text())
    assert {row["id"] for row in document["rows"]} == set(ROW_IDS)
    assert report.table(document["rows"], document["environment"]) in report.PAGE.read_text()


@pytest.mark.slow
@pytest.mark.system
async def test_the_quick_run_yields_every_row() -> None:
    if envoy.installed() is None:
        pytest.skip("the extra [bench] is not installed")
    rows = await measure(GROUPS, QUICK)
    assert tuple(row.id for row in rows) == ROW_IDS
    assert all(row.value > 0 and row.beside and row.ratio for row in rows)
