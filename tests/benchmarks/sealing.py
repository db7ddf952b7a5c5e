"""Sealing and opening 1,000 records of 5 fields beside AES-GCM alone; the wrap of a session."""

import os
import time

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from exchange.clock import SystemClock
from exchange.envelope import ColumnPlan, DirectionKey, direction_key, open_, seal
from exchange.session import session_info
from exchange.suites import DEFAULT_SUITE, X25519_SUITE, suite
from exchange.v1 import exchange_pb2
from tests.benchmarks.measure import Scale, median, own_cpu_s, per_second
from tests.benchmarks.rows import Group, Row

RECORDS, FIELDS, VALUE_BYTES, PADDING = 1000, 5, 24, 64
BESIDE = "AES-256-GCM over blocks of the same size, called from Python alone"


def _key(header: bytes) -> DirectionKey:
    return direction_key(suite(DEFAULT_SUITE), b"s" * 32, header, "response")


def _columns() -> list[ColumnPlan]:
    return [
        ColumnPlan(f"field_{number}", [os.urandom(VALUE_BYTES) for _ in range(RECORDS)], PADDING)
        for number in range(FIELDS)
    ]


async def run(scale: Scale) -> list[Row]:
    """Measure seal and open; each repetition alternates with its baseline."""
    columns, header = _columns(), os.urandom(200)
    expected = [(name, padding) for name, _, padding in columns]
    envelope = exchange_pb2.Envelope.FromString(seal(_key(header), columns, RECORDS).SerializeToString())
    rounds = scale.of(20)
    aead, block, nonce, aad = AESGCM(os.urandom(32)), os.urandom(PADDING), os.urandom(12), os.urandom(74)
    sealed = aead.encrypt(nonce, block, aad)

    def seal_all() -> int:
        for _ in range(rounds):
            seal(_key(header), columns, RECORDS)
        return rounds * RECORDS * FIELDS

    def open_all() -> int:
        for _ in range(rounds):
            open_(_key(header), envelope, expected)
        return rounds * RECORDS * FIELDS

    def encrypt_all() -> int:
        for _ in range(rounds * RECORDS * FIELDS):
            aead.encrypt(nonce, block, aad)
        return rounds * RECORDS * FIELDS

    def decrypt_all() -> int:
        for _ in range(rounds * RECORDS * FIELDS):
            aead.decrypt(nonce, sealed, aad)
        return rounds * RECORDS * FIELDS

    note = f"{RECORDS} records x {FIELDS} fields of {VALUE_BYTES} B, padded to {PADDING} B; with the protobuf"
    return [
        Row(
            id="seal_fields_per_s",
            value=per_second(seal_all, scale),
            unit="1/s",
            beside=per_second(encrypt_all, scale),
            beside_what=BESIDE,
            budget=">= 400,000",
            note=note,
        ),
        Row(
            id="open_fields_per_s",
            value=per_second(open_all, scale),
            unit="1/s",
            beside=per_second(decrypt_all, scale),
            beside_what=BESIDE,
            budget=">= 400,000",
            note=note,
        ),
        _wrap_row(scale),
    ]


def _wrap_row(scale: Scale) -> Row:
    expiry_ms = SystemClock().now_ms() + 300_000

    def both_ends_us(number: int) -> float:
        chosen = suite(number)
        private, public = chosen.generate()
        times = []
        for _ in range(scale.of(2000, least=20)):
            begun = time.perf_counter_ns()
            info = session_info(
                suite=number,
                consumer_organisation="11970000MB1A0001X5",
                consumer_agent="health-1",
                consumer_kid=b"c" * 16,
                provider_organisation="11970100MB1A0001XA",
                provider_agent="police-1",
                provider_kid=b"p" * 16,
                session_id=os.urandom(16),
                expiry_ms=expiry_ms,
            )
            chosen.unwrap(private, info, chosen.wrap(public, info, b"s" * 32))
            times.append((time.perf_counter_ns() - begun) / 1000)
        return median(times)

    begun = own_cpu_s()
    value = both_ends_us(DEFAULT_SUITE)
    assert own_cpu_s() > begun
    return Row(
        id="hpke_wrap_us",
        value=value,
        unit="us",
        beside=both_ends_us(X25519_SUITE),
        beside_what="the same with suite 0x0001 (X25519)",
        note="wrap and unwrap together, suite 0x0002 (X-Wing); once per session of up to 65,536 exchanges",
    )


GROUP = Group(ids=("seal_fields_per_s", "open_fields_per_s", "hpke_wrap_us"), run=run)
