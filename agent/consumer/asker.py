"""What the faces need from the agent: something that asks, and two optional views of what the agent knows."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from exchange.cases import Case
from exchange.v1 import agent_pb2

Deliver = Callable[[agent_pb2.AskResponse], None]
"""Takes one outcome; called on the event loop, once per question, in any order."""


class Asker(Protocol):
    """Asks other departments. Every question ends by its deadline, with an answer or a failure."""

    async def ask(self, question: agent_pb2.AskRequest) -> agent_pb2.AskResponse:
        """Ask once.

        Cancelling the call gives the question up. Failures are inside the outcome, never raised.

        Args:
            question: what to ask; `timeout_ms` 0 means 10 s.

        Returns:
            The outcome, with the question's tag.
        """
        ...

    def submit(self, questions: Sequence[agent_pb2.AskRequest], deliver: Deliver) -> None:
        """Ask many; take all or none.

        Args:
            questions: at most 256; valid for as long as the asker holds them.
            deliver: called once for each question.

        Raises:
            QueueFull: there is no room for them; nothing was taken.
        """
        ...

    async def status(self) -> agent_pb2.GetAgentStatusResponse:
        """Return how the agent is, hop by hop."""
        ...


class Cases(Protocol):
    """Opens and closes the cases that this department leads."""

    def case(self, number: str) -> Case | None:
        """Return a case that this department takes part in, None where it is not known."""
        ...

    async def open_case(self, request: agent_pb2.OpenCaseRequest) -> agent_pb2.OpenCaseResponse:
        """Open a case; raises the ExchangeError that keeps it from being opened."""
        ...

    async def close_case(self, request: agent_pb2.CloseCaseRequest) -> agent_pb2.CloseCaseResponse:
        """Close a case; raises the ExchangeError that keeps it from being closed."""
        ...


class Catalogue(Protocol):
    """The resources as this agent knows them."""

    async def resources(self) -> Sequence[Mapping[str, object]]:
        """Return one JSON-ready mapping per resource: at least "id", "provider", "fields", "parameters"."""
        ...


class Corrections(Protocol):
    """The corrections of values that this department received."""

    def corrections(self, shows: Callable[[str], bool]) -> Mapping[str, object]:
        """Return "corrections", JSON-ready, one mapping per dispute, and whether there are "more".

        Args:
            shows: whether the caller may see what is about a resource.
        """
        ...

    def done(self, ticket: str, shows: Callable[[str], bool]) -> Mapping[str, object]:
        """Note that the caller has put the department's own record right.

        Args:
            ticket: hexadecimal, 64 digits.
            shows: as above.

        Raises:
            UnknownTicket: nothing of it is to be seen.
        """
        ...


class Receipts(Protocol):
    """The verified receipts that this agent keeps."""

    async def receipt(self, exchange_id: bytes) -> agent_pb2.VerifiedReceipt | None:
        """Return the receipt of an exchange.

        Args:
            exchange_id: 16 bytes.

        Returns:
            The receipt, or None where the agent holds none.
        """
        ...
