"""An asker that answers from memory: at once, when told, or never."""

import asyncio
from collections.abc import Callable, Sequence

from exchange.errors import ExchangeError, QueueFull
from exchange.rpc_errors import to_failure
from exchange.v1 import agent_pb2, audit_pb2, common_pb2

EXCHANGE_ID = bytes(range(16))
COLUMNS = (
    agent_pb2.AnswerColumn(name="name", type="text", values=["李雷", ""], nulls=[1]),
    agent_pb2.AnswerColumn(name="persons", type="integer", values=["3", "4"]),
    agent_pb2.AnswerColumn(name="rent", type="decimal", values=["10.50", "0.10"]),
    agent_pb2.AnswerColumn(name="since", type="date", values=["2020-01-31", "2021-02-28"]),
    agent_pb2.AnswerColumn(
        name="seen", type="timestamp", values=["2026-01-02T03:04:05+08:00", "2026-01-02T03:04:05"]
    ),
    agent_pb2.AnswerColumn(name="open", type="boolean", values=["true", "false"]),
    agent_pb2.AnswerColumn(name="stamp", type="bytes", values=["AAE=", ""]),
)
VERDICTS = (
    agent_pb2.AnswerColumn(name="name", type="boolean", values=["true"]),
    agent_pb2.AnswerColumn(name="address", type="boolean", values=["false"]),
    agent_pb2.AnswerColumn(name="phone", type="boolean", values=[""], nulls=[0]),
)


def echo(question: agent_pb2.AskRequest) -> agent_pb2.AskResponse:
    """Answer with one record that holds the first parameter."""
    value = question.parameters[0].value if question.parameters else ""
    column = agent_pb2.AnswerColumn(name="echo", type="text", values=[value])
    return answered(question.tag, [column], records=1)


def full(question: agent_pb2.AskRequest) -> agent_pb2.AskResponse:
    """Answer with every type, or with every verdict."""
    if question.kind == common_pb2.KIND_VERIFY:
        return answered(question.tag, VERDICTS, records=1)
    return answered(question.tag, COLUMNS, records=2)


def answered(tag: int, columns: Sequence[agent_pb2.AnswerColumn], *, records: int) -> agent_pb2.AskResponse:
    """Return an outcome with an answer and a receipt."""
    receipt = audit_pb2.Receipt(leaf=b"leaf", index=7, proof=b"p" * 32)
    return agent_pb2.AskResponse(
        tag=tag,
        exchange_id=EXCHANGE_ID,
        answer=agent_pb2.Answer(records=records, columns=columns, data_version="v1"),
        receipt=agent_pb2.VerifiedReceipt(index=7, receipt=receipt, checkpoint="origin\n8\nroot\n"),
    )


class FakeAsker:
    """Answers by a function; while `held` is set, only when `release` is called.

    Args:
        answer: makes the outcome of a question.
        room: most questions taken at a time.
    """

    def __init__(
        self,
        answer: Callable[[agent_pb2.AskRequest], agent_pb2.AskResponse] = echo,
        *,
        room: int = 100_000,
        held: bool = False,
    ) -> None:
        self.answer = answer
        self.room = room
        self.held = held
        self.asked: list[agent_pb2.AskRequest] = []
        self.pending: list[tuple[agent_pb2.AskRequest, Callable[[agent_pb2.AskResponse], None]]] = []
        self.arrived = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def ask(self, question: agent_pb2.AskRequest) -> agent_pb2.AskResponse:
        future: asyncio.Future[agent_pb2.AskResponse] = asyncio.get_running_loop().create_future()
        try:
            self.submit([question], lambda outcome: future.done() or future.set_result(outcome))
        except ExchangeError as error:
            return failed(question.tag, error)
        try:
            return await future
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    def submit(
        self,
        questions: Sequence[agent_pb2.AskRequest],
        deliver: Callable[[agent_pb2.AskResponse], None],
    ) -> None:
        if len(questions) > self.room:
            raise QueueFull("asker")
        self.asked.extend(questions)
        self.pending.extend((question, deliver) for question in questions)
        self.arrived.set()
        if not self.held:
            asyncio.get_running_loop().call_soon(self.release)

    def release(self) -> None:
        """Answer everything that is waiting."""
        pending, self.pending = self.pending, []
        for question, deliver in pending:
            deliver(self.answer(question))

    async def status(self) -> agent_pb2.GetAgentStatusResponse:
        hop = agent_pb2.HopStatus(hop="link", ok=True)
        return agent_pb2.GetAgentStatusResponse(spiffe_id="spiffe://x/org/y/agent/z", hops=[hop])


def failed(tag: int, error: ExchangeError) -> agent_pb2.AskResponse:
    """Return an outcome that is a failure."""
    return agent_pb2.AskResponse(tag=tag, exchange_id=EXCHANGE_ID, failure=to_failure(error, EXCHANGE_ID))
