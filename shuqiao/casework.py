"""What people do to cases, as calls: shared by the command and the sandbox."""

from collections.abc import Sequence
from typing import NamedTuple

import grpc

from exchange import canonical
from exchange.cases import DAY_MS, OPEN
from exchange.clock import Clock, Random
from exchange.timestamps import timestamp
from exchange.v1 import case_pb2, case_pb2_grpc
from shuqiao.calling import CALL_TIMEOUT_S, calling
from shuqiao.regional import Signer
from shuqiao.views import View, moment

DEFAULT_DAYS = 30


class Told(NamedTuple):
    """A case: its newest body, whether it is open, and when it was opened."""

    body: case_pb2.CaseEventBody
    open: bool
    opened_at: str


class Casework:
    """Takes steps in cases.

    Args:
        channel: to the gateway.
        signer: a steward of the lead; for `show` anybody who may see the case.
        clock, random: time, and what nonces are made of.
    """

    def __init__(self, channel: grpc.Channel, signer: Signer, *, clock: Clock, random: Random) -> None:
        self._stub = case_pb2_grpc.CaseServiceStub(channel)
        self._signer = signer
        self._clock = clock
        self._random = random

    def open(self, number: str, *, matter: str, participants: Sequence[str], days: int = DEFAULT_DAYS) -> int:
        """Open a case that the signer's organisation leads; return the index of the log entry."""
        return self._step(
            case_pb2.CaseEventBody(
                case_number=number,
                revision=1,
                action=OPEN,
                lead=self._signer.identity.organisation,
                matter=matter,
                participants=participants,
                expires_at=timestamp(self._clock.now_ms() + days * DAY_MS),
            )
        )

    def change(self, number: str, *, participants: Sequence[str] | None, days: int | None) -> int:
        """Change who takes part in a case, or until when it is open; return the index of the log entry.

        Args:
            number: of the case.
            participants: besides the lead, all of them; None for as it is.
            days: from now on; None for as it is.
        """
        body = self.show(number).body
        if participants is not None:
            del body.participants[:]
            body.participants.extend(participants)
        if days is not None:
            body.expires_at.CopyFrom(timestamp(self._clock.now_ms() + days * DAY_MS))
        body.revision += 1
        body.action = case_pb2.CASE_ACTION_CHANGE
        return self._step(body)

    def close(self, number: str) -> int:
        """Close a case for good; return the index of the log entry."""
        body = self.show(number).body
        body.revision += 1
        body.action = case_pb2.CASE_ACTION_CLOSE
        return self._step(body)

    def show(self, number: str) -> Told:
        """Return a case.

        Raises:
            UnknownCase: nobody remembers one of that number, or it is not the caller's to see.
        """
        with calling():
            request = case_pb2.GetCaseRequest(case_number=number)
            record = self._stub.GetCase(request, timeout=CALL_TIMEOUT_S).record
        body = case_pb2.CaseEventBody.FromString(record.newest.body)
        return Told(body, record.open, moment(record.opened_at))

    def _step(self, body: case_pb2.CaseEventBody) -> int:
        body.nonce = self._random(canonical.NONCE_BYTES)
        body.issued_at.CopyFrom(timestamp(self._clock.now_ms()))
        event = self._signer.sign(canonical.CASE, body.SerializeToString())
        with calling():
            request = case_pb2.SubmitCaseEventRequest(event=event)
            return self._stub.SubmitCaseEvent(request, timeout=CALL_TIMEOUT_S).index


def view(told: Told) -> View:
    """Return a case as plain values."""
    body = told.body
    return {
        "case": body.case_number,
        "open": told.open,
        "closed": body.action == case_pb2.CASE_ACTION_CLOSE,
        "revision": body.revision,
        "lead": body.lead,
        "matter": body.matter,
        "participants": list(body.participants),
        "opened_at": told.opened_at,
        "changed_at": moment(body.issued_at),
        "expires_at": moment(body.expires_at),
    }
