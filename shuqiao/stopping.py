"""Emergency stops as an officer orders them: bodies, the file for a second officer, and the calls."""

from collections.abc import Sequence
from pathlib import Path

import grpc

from exchange.canonical import LIFT, NONCE_BYTES, STOP
from exchange.clock import Clock, Random
from exchange.errors import BadConfiguration, UnknownStop
from exchange.identity import Identity
from exchange.stops import (
    MAX_SIGNERS,
    Stop,
    check_lift_signers,
    check_stop_signers,
    read_lift,
    read_stop,
)
from exchange.timestamps import timestamp
from exchange.trust import TrustAnchor
from exchange.v1 import common_pb2, stop_pb2, stop_pb2_grpc
from shuqiao.calling import CALL_TIMEOUT_S, HOP, calling, not_one
from shuqiao.regional import Signer
from shuqiao.signed_file import check_signs_once, read_message, signers_of, write_message
from shuqiao.views import View, moment

ID_HEX = 64
SCOPES = {
    name.removeprefix("STOP_SCOPE_").lower(): number
    for name, number in stop_pb2.StopScope.items()
    if number != stop_pb2.STOP_SCOPE_UNSPECIFIED
}
"""The scopes by the words of the command."""
_WORDS: dict[int, str] = {number: word for word, number in SCOPES.items()}
Statements = Sequence[common_pb2.Statement]


def stop_body(
    scope: str, target: str, *, minutes: int, rehearsal: bool, note: str, clock: Clock, random: Random
) -> bytes:
    """Return a StopBody, well formed.

    Args:
        scope: one of `SCOPES`.
        target: in that scope's form.
        minutes: how long it is to hold; 0 for without end.
        rehearsal: whether it only counts.
        note: why; no personal data.
        clock, random: for time and nonce.
    """
    now_ms = clock.now_ms()
    told = stop_pb2.StopBody(
        nonce=random(NONCE_BYTES),
        scope=SCOPES[scope],
        target=target,
        issued_at=timestamp(now_ms),
        until=timestamp(now_ms + minutes * 60_000) if minutes else None,
        rehearsal=rehearsal,
        note=note,
    )
    body = told.SerializeToString()
    read_stop(body)
    return body


def lift_body(stop_id: bytes, *, note: str, clock: Clock, random: Random) -> bytes:
    """Return a LiftBody for a stop's id of 32 bytes, well formed."""
    told = stop_pb2.LiftBody(
        nonce=random(NONCE_BYTES), stop_id=stop_id, issued_at=timestamp(clock.now_ms()), note=note
    )
    body = told.SerializeToString()
    read_lift(body)
    return body


def order(channel: grpc.Channel, statements: Statements) -> stop_pb2.StopResponse:
    """Stop something; the caller's statement is the first."""
    with calling():
        request = stop_pb2.StopRequest(stop=statements)
        return stop_pb2_grpc.StopServiceStub(channel).Stop(request, timeout=CALL_TIMEOUT_S)


def lift(channel: grpc.Channel, statements: Statements) -> int:
    """Lift a stop; the caller's statement is the first. Returns the index of the log entry."""
    with calling():
        request = stop_pb2.LiftRequest(lift=statements)
        return stop_pb2_grpc.StopServiceStub(channel).Lift(request, timeout=CALL_TIMEOUT_S).index


def list_stops(channel: grpc.Channel, *, everything: bool) -> list[stop_pb2.StopRecord]:
    """Return what is stopped, the newest first; what no longer holds too where everything is wanted."""
    with calling():
        request = stop_pb2.ListStopsRequest(all=everything)
        return list(stop_pb2_grpc.StopServiceStub(channel).ListStops(request, timeout=CALL_TIMEOUT_S).stops)


def find(channel: grpc.Channel, text: str) -> stop_pb2.StopRecord:
    """Return the stop in force whose id begins so.

    Raises:
        BadConfiguration: it is no beginning of an id.
        UnknownStop: none or several fit.
    """
    wanted = text.lower()
    if not wanted or set(wanted) - set("0123456789abcdef") or len(wanted) > ID_HEX:
        raise BadConfiguration(f"stop id: {text}")
    fitting = [one for one in list_stops(channel, everything=False) if one.stop_id.hex().startswith(wanted)]
    if len(fitting) != 1:
        raise UnknownStop(not_one(text, len(fitting)), hop=HOP)
    return fitting[0]


# -- two officers ----------------------------------------------------------------------------------------


def write(path: Path, record: stop_pb2.StopRecord) -> None:
    """Write the file that a second officer is to sign: a stop, or a stop and its lift.

    Raises:
        BadConfiguration: it cannot be written.
    """
    write_message(path, record)


def read(path: Path) -> stop_pb2.StopRecord:
    """Return what a file asks to be signed.

    Raises:
        BadConfiguration: it cannot be read or is no such file.
        Malformed, Oversized, BadIdentifier: a body will not do.
    """
    record = read_message(path, stop_pb2.StopRecord)
    if not 0 < len(record.stop) <= MAX_SIGNERS or len(record.lift) > MAX_SIGNERS:
        raise BadConfiguration(f"{path}: neither a stop nor a lift")
    stop = read_stop(record.stop[0].body)
    if record.lift and read_lift(record.lift[0].body).stop_id != stop.stop_id:
        raise BadConfiguration(f"{path}: the lift of another stop")
    return record


def signers(record: stop_pb2.StopRecord, anchor: TrustAnchor, now_ms: int) -> list[Identity]:
    """Return who signed what a file asks for: its lift where it has one, else its stop.

    Raises:
        ExchangeError: a signature does not verify.
    """
    signed, domain = (record.lift, LIFT) if record.lift else (record.stop, STOP)
    return signers_of(signed, domain, anchor, now_ms)


def sign(
    record: stop_pb2.StopRecord, signer: Signer, anchor: TrustAnchor, now_ms: int
) -> list[common_pb2.Statement]:
    """Return what a file asks for with one more signature, the signer's first.

    Raises:
        SecondPersonRequired: the signer has signed already.
        ExchangeError: what was signed before does not verify, or the signer is no officer.
    """
    before = signers(record, anchor, now_ms)
    check_signs_once(signer.identity, before)
    stop, people = read_stop(record.stop[0].body), [signer.identity, *before]
    if record.lift:
        check_lift_signers(stop, people)
        return [signer.sign(LIFT, record.lift[0].body), *record.lift]
    check_stop_signers(stop, people)
    return [signer.sign(STOP, record.stop[0].body), *record.stop]


# -- what people see -------------------------------------------------------------------------------------


def view(record: stop_pb2.StopRecord) -> View:
    """Return a stop as plain values."""
    body = stop_pb2.StopBody.FromString(record.stop[0].body)
    return {
        **described(read_stop(record.stop[0].body)),
        "issued_at": moment(body.issued_at),
        "until": moment(body.until),
        "note": body.note,
        "holds": record.holds,
        "logged": record.logged,
        "caught": record.caught,
        "signatures": len(record.stop),
        "lifted": bool(record.lift),
    }


def described(stop: Stop) -> View:
    """Return what is stopped, and under which id."""
    return {
        "stop_id": stop.stop_id.hex(),
        "scope": _WORDS[stop.scope],
        "target": stop.target,
        "rehearsal": stop.rehearsal,
    }
