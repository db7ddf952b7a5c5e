"""The desk that every face passes questions over: what an application may ask, and how much at once.

Invariant: an application never holds more than `per_application` questions, whichever face they came
through, and a caller that goes away gives back what it held.
"""

from collections.abc import Sequence

from agent.consumer.asker import Asker, Cases, Deliver
from agent.consumer.credentials import Application
from exchange.errors import ExchangeError, QueueFull, UnknownCase
from exchange.rpc_errors import to_failure
from exchange.v1 import agent_pb2


class Slots:
    """How many questions one application has under way."""

    __slots__ = ("held", "most")

    def __init__(self, *, most: int) -> None:
        self.held = 0
        self.most = most

    def take(self, count: int) -> bool:
        """Take that many, all or none; return whether there was room."""
        if self.held + count > self.most:
            return False
        self.held += count
        return True

    def give(self, count: int) -> None:
        """Give back that many."""
        self.held -= count


class Desk:
    """Checks questions and hands them to the asker.

    Args:
        asker: who asks.
        hop: this agent as errors name it, for example "consumer/health-1".
        per_application: most questions that one application may have under way.
        cases: opens and closes cases, where the agent does.
    """

    def __init__(
        self, *, asker: Asker, hop: str, per_application: int = 2048, cases: Cases | None = None
    ) -> None:
        self._cases = cases
        self.hop = hop
        self._asker = asker
        self._per_application = per_application
        self._slots: dict[str, Slots] = {}

    def slots(self, application: Application) -> Slots:
        """Return the application's slots."""
        found = self._slots.get(application.name)
        if found is None:
            found = self._slots[application.name] = Slots(most=application.at_once or self._per_application)
        return found

    async def ask(self, application: Application, question: agent_pb2.AskRequest) -> agent_pb2.AskResponse:
        """Ask once; a refusal by the desk is an outcome like any other.

        Args:
            application: who asks.
            question: what.

        Returns:
            The outcome.
        """
        slots = self.slots(application)
        try:
            application.check(question.resource, question.purpose, question.matter, question.operator)
        except ExchangeError as refusal:
            return self.refused(question.tag, refusal)
        if not slots.take(1):
            return self.refused(question.tag, QueueFull(f"application {application.name}"))
        try:
            question.application = application.name
            return await self._asker.ask(question)
        finally:
            slots.give(1)

    def submit(
        self, application: Application, questions: Sequence[agent_pb2.AskRequest], deliver: Deliver
    ) -> None:
        """Ask many. The caller has taken the slots and gives them back as it passes the outcomes on.

        Args:
            application: who asks.
            questions: what, at most 256.
            deliver: called once for each question, for some of them before this returns.
        """
        admitted: list[agent_pb2.AskRequest] = []
        check = application.check
        for question in questions:
            try:
                check(question.resource, question.purpose, question.matter, question.operator)
            except ExchangeError as refusal:
                deliver(self.refused(question.tag, refusal))
            else:
                question.application = application.name
                admitted.append(question)
        if not admitted:
            return
        try:
            self._asker.submit(admitted, deliver)
        except ExchangeError as refusal:
            for question in admitted:
                deliver(self.refused(question.tag, refusal))

    async def open_case(
        self, application: Application, request: agent_pb2.OpenCaseRequest
    ) -> agent_pb2.OpenCaseResponse:
        """Open a case that this department leads; raises the ExchangeError that keeps it from that."""
        application.check_case(request.matter)
        return await self._held_cases().open_case(request)

    async def close_case(
        self, application: Application, request: agent_pb2.CloseCaseRequest
    ) -> agent_pb2.CloseCaseResponse:
        """Close a case that this department leads; raises the ExchangeError that keeps it from that."""
        cases = self._held_cases()
        held = cases.case(request.case_number)
        application.check_case(held.matter if held is not None else "")
        return await cases.close_case(request)

    def _held_cases(self) -> Cases:
        if self._cases is None:
            raise UnknownCase("cases are not served here")
        return self._cases

    async def status(self) -> agent_pb2.GetAgentStatusResponse:
        """Return how the agent is."""
        return await self._asker.status()

    def refused(self, tag: int, refusal: ExchangeError) -> agent_pb2.AskResponse:
        """Return a refusal as an outcome."""
        refusal.hop = refusal.hop or self.hop
        return agent_pb2.AskResponse(tag=tag, failure=to_failure(refusal, b""))
