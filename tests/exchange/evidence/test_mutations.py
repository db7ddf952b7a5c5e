"""Every change of a bundle is found, and placed: by people with no key, with an auditor's, with the log's.

A fifth of the ten thousand is in the suite, as many of each kind and power; `make faults` does all of them.
"""

import io
from collections import Counter
from functools import lru_cache
from typing import Any

import pytest

from exchange import checkpoint, cosignature, signing
from exchange.evidence.findings import Report
from exchange.evidence.trusted import Trusted
from exchange.evidence.verify import verify_bundle
from exchange.trust import TrustAnchor, TrustList, Verified
from exchange.v1 import common_pb2
from tests.support.evidence import POLICY, SmallLog, make_log, signed_file
from tests.support.evidence_changes import EDITS
from tests.support.evidence_mutations import KINDS, POWERS, Mutation, Mutator
from tests.support.evidence_rewritings import RAW, REWRITINGS
from tests.support.evidence_swaps import SWAPS

FEW = 2_016
MUTATIONS = 10_080
MANY = 100_800


class RememberingAnchor(TrustAnchor):
    """Verifies each statement once: same bytes, time and trust list, same answer."""

    def __init__(self, **held: Any) -> None:
        super().__init__(**held)
        self._answers: dict[tuple[object, ...], Verified] = {}

    def verify_statement(
        self, statement: common_pb2.Statement, domain: bytes, *, at_ms: int, trust: TrustList | None
    ) -> Verified:
        list_body = trust.statement.body if trust is not None else b""
        asked = (statement.SerializeToString(deterministic=True), domain, at_ms, list_body)
        if asked not in self._answers:
            self._answers[asked] = super().verify_statement(statement, domain, at_ms=at_ms, trust=trust)
        return self._answers[asked]


class SharedTrust(Trusted):
    """What is brought along, with one anchor for all runs."""

    anchors: dict[tuple[str, str], TrustAnchor] = {}  # noqa: RUF012

    def anchor(self, fallback: TrustList | None) -> TrustAnchor:
        made = super().anchor(fallback)
        place = made.division, made.trust_domain
        if place not in self.anchors:
            self.anchors[place] = RememberingAnchor(
                root_pem=self.root_pem, division=made.division, trust_domain=made.trust_domain
            )
        return self.anchors[place]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> SmallLog:
    SharedTrust.anchors.clear()
    return make_log(tmp_path_factory.mktemp("log"), 12)


@pytest.fixture(autouse=True)
def remembered_signatures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ed25519 too: what verified once need not be verified thousands of times; failures are never kept."""
    for module in (signing, checkpoint, cosignature):
        monkeypatch.setattr(module, "crypto_sign_open", lru_cache(4096)(module.crypto_sign_open))


def mutator(log: SmallLog, seed: int) -> Mutator:
    def trusted(**held: Any) -> Trusted:
        return SharedTrust(root_pem=log.region.authority.root_pem, **held)

    return Mutator(log=log, trusted=trusted, seed=seed, changes=EDITS | SWAPS, raw=RAW, rewritings=REWRITINGS)


def verified(content: bytes, trusted: Trusted) -> Report:
    return verify_bundle(io.BytesIO(content), trusted)


def unfound(mutation: Mutation) -> str:
    """Return "" where a mutation is found and placed, else what was found instead."""
    report = verified(mutation.content, mutation.trusted)
    due = f"due {sorted(mutation.records)} {sorted(mutation.entries)}"
    told = f"{mutation.kind} by {mutation.power}: {mutation.how}; {due}"
    if report.ok or report.proven:
        return f"NOT FOUND {told}"
    if not any(f.record in mutation.records or f.entry in mutation.entries for f in report.faults):
        return f"NOT PLACED {told}; got {[str(f) for f in report.faults[:5]]}"
    if mutation.manifest is not None and not any(f.record == mutation.manifest for f in report.faults):
        return f"MANIFEST NOT CONDEMNED {told}"
    return ""


def run(log: SmallLog, count: int, seed: int) -> Counter[tuple[str, str]]:
    source = mutator(log, seed)
    done: Counter[tuple[str, str]] = Counter()
    faults = []
    for number in range(count):
        kind, power = KINDS[number % len(KINDS)], POWERS[number // len(KINDS) % len(POWERS)]
        if fault := unfound(source.next(kind, power)):
            faults.append(fault)
        done[kind, power] += 1
    assert not faults, f"{len(faults)} of {count}:\n" + "\n".join(faults[:20])
    return done


def test_the_bundles_that_are_changed_hold_before(log: SmallLog) -> None:
    source = mutator(log, 1)
    for content in source.files:
        report = verified(content, source._trusted(policy=POLICY, heads=(log.known(log.size),)))
        assert report.ok, report.faults
        assert report.proven


@pytest.mark.parametrize(
    "count", [FEW, pytest.param(MUTATIONS, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_mutations_of_eight_kinds_by_three_powers_are_all_found_and_placed(log: SmallLog, count: int) -> None:
    done = run(log, count, seed=20)
    assert len(done) == len(KINDS) * len(POWERS)
    assert set(done.values()) == {count // len(done)}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_mutations_are_all_found_and_placed(log: SmallLog) -> None:
    run(log, MANY, seed=21)


def test_an_auditor_who_signs_again_is_believed_where_nothing_was_changed(log: SmallLog) -> None:
    source = mutator(log, 2)
    content = signed_file(log, source.items[0])
    assert content != source.files[0]
    assert verified(content, source._trusted(policy=POLICY)).ok
