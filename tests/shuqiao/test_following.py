"""Following the log as programs do: what is lost is made again, from where it was."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from grpc_status import rpc_status

from exchange import errors as e
from exchange.rpc_errors import to_status
from exchange.v1 import audit_pb2, audit_pb2_grpc
from shuqiao import following
from shuqiao.following import Lost, follow

Script = Sequence[audit_pb2.TailResponse | e.ExchangeError]


def frame(*indexes: int, following: int = -1, **changes: Any) -> audit_pb2.TailResponse:
    reached = following if following >= 0 else indexes[-1] + 1
    leaves = [b"%d" % index for index in indexes]
    held = {"indexes": indexes, "leaves": leaves, "next_index": reached, "checkpoint": "log\n9\nroot\n"}
    return audit_pb2.TailResponse(**(held | changes))  # type: ignore[arg-type]


class Gateway(audit_pb2_grpc.AuditServiceServicer):
    """Plays one script per call; afterwards it is away."""

    def __init__(self) -> None:
        self.scripts: list[Script] = []
        self.received: list[audit_pb2.TailRequest] = []

    def Tail(self, request: audit_pb2.TailRequest, context: Any) -> Iterator[audit_pb2.TailResponse]:
        self.received.append(request)
        for told in self.scripts.pop(0) if self.scripts else [e.GatewayAway("down")]:
            if isinstance(told, e.ExchangeError):
                context.abort_with_status(rpc_status.to_status(to_status(told)))
            yield told


class Reader:
    """Follows the gateway and keeps what it hears."""

    def __init__(self, gateway: Gateway, address: str) -> None:
        self.gateway = gateway
        self._address = address
        self.dialled = 0
        self.lost: list[Lost] = []
        self.pauses: list[float] = []

    @contextmanager
    def dial(self) -> Iterator[grpc.Channel]:
        self.dialled += 1
        with grpc.insecure_channel(self._address, options=[("grpc.enable_http_proxy", 0)]) as channel:
            yield channel

    def read(self, *scripts: Script, **asked: Any) -> list[int]:
        self.gateway.scripts = list(scripts)
        frames = follow(self.dial, first=0, lost=self.lost.append, pause=self.pauses.append, **asked)
        return [entry.entry for frame in frames for entry in frame.entries]


@pytest.fixture
def reader() -> Iterator[Reader]:
    gateway = Gateway()
    with ThreadPoolExecutor(max_workers=2) as threads:
        server = grpc.server(threads, options=[("grpc.so_reuseport", 0)])
        audit_pb2_grpc.add_AuditServiceServicer_to_server(gateway, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield Reader(gateway, f"127.0.0.1:{port}")
        server.stop(None).wait()


AWAY = e.GatewayAway("restarting")


def test_it_goes_on_after_the_last_frame_whatever_ended_the_connection(reader: Reader) -> None:
    found = reader.read(
        [frame(0, 1), frame(following=7), AWAY],
        [frame(8, 9), e.Draining("tail")],
        [frame(10)],
        [frame(12)],
        limit=6,
    )
    assert found == [0, 1, 8, 9, 10, 12]
    assert [(asked.from_index, asked.limit) for asked in reader.gateway.received] == [
        (0, 6),
        (7, 4),
        (10, 2),
        (11, 1),
    ]
    assert [lost.next_index for lost in reader.lost] == [7, 10, 11] and reader.dialled == 4


def test_pauses_grow_up_to_a_bound_and_begin_anew_once_something_is_heard(reader: Reader) -> None:
    failing: list[Script] = [[AWAY]] * 12
    reader.read([frame(0), AWAY], *failing, [frame(1), AWAY], [frame(2)], limit=3)
    longest = [following.FIRST_PAUSE_S * 2**n for n in range(12)]
    for pause, most in zip(reader.pauses, [min(following.MAX_PAUSE_S, s) for s in longest], strict=False):
        assert most / 2 <= pause <= most
    assert reader.pauses[-1] <= following.FIRST_PAUSE_S and len(reader.pauses) == 14


def test_the_first_connection_must_succeed(reader: Reader) -> None:
    with pytest.raises(e.GatewayAway):
        reader.read([AWAY])
    assert reader.pauses == []


@pytest.mark.parametrize("error", [e.UnknownEntry("from_index"), e.RoleNotAllowed("x"), e.StoreDamaged("x")])
def test_what_would_not_be_better_for_trying_again_is_raised(reader: Reader, error: e.ExchangeError) -> None:
    with pytest.raises(type(error)):
        reader.read([frame(0), AWAY], [error])


def test_reading_to_the_end_ends_there_and_gives_up_after_a_number_of_tries(reader: Reader) -> None:
    assert reader.read([frame(0), AWAY], [frame(1)], go_on=False) == [0, 1]
    with pytest.raises(e.GatewayAway):
        reader.read([frame(0), AWAY], go_on=False)
    assert len(reader.gateway.received) == 2 + following.MAX_TRIES


@pytest.mark.parametrize(
    "told",
    [
        frame(4),
        frame(6, 6),
        frame(7, 6, following=8),
        frame(9, following=9),
        frame(following=4),
        frame(6, leaves=[]),
    ],
)
def test_a_gateway_that_repeats_or_goes_back_is_not_believed(
    reader: Reader, told: audit_pb2.TailResponse
) -> None:
    with pytest.raises(e.ReceiptBroken):
        reader.read([frame(3, following=5), told])
    with pytest.raises(e.ReceiptBroken):
        reader.read([frame(3, following=5), AWAY], [told])


def test_filter_and_state_are_asked_for_at_each_connection(reader: Reader) -> None:
    wanted = audit_pb2.EntryFilter(matter="newborn")
    state = audit_pb2.ENTRY_STATE_WITNESSED
    reader.read([frame(0), AWAY], [frame(1)], wanted=wanted, state=state, limit=2)
    assert all((asked.filter, asked.state) == (wanted, state) for asked in reader.gateway.received)
