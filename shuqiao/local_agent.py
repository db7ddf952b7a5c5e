"""Asks this department's own agent once, for the command.

Programs use shuqiao.client; the command wants the whole response, with the exchange's id and receipt even
where it was refused.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from exchange.v1 import agent_pb2, agent_pb2_grpc
from shuqiao.channel import GRACE_S, OPTIONS, lost, metadata_of, target_of
from shuqiao.context import Context

STATUS_TIMEOUT_S = 10.0
Metadata = tuple[tuple[str, str], ...]


def ask(context: Context, question: agent_pb2.AskRequest) -> agent_pb2.AskResponse:
    """Ask another department; a refusal is inside the response.

    Raises:
        ExchangeError: the agent cannot be reached or does not take the credential.
    """
    patience_s = question.timeout_ms / 1000 + GRACE_S
    with _open(context) as (stub, metadata):
        return stub.Ask(question, timeout=patience_s, metadata=metadata)


def status(context: Context) -> agent_pb2.GetAgentStatusResponse:
    """Return the agent's own account of its hops.

    Raises:
        ExchangeError: the agent cannot be reached or does not take the credential.
    """
    with _open(context) as (stub, metadata):
        request = agent_pb2.GetAgentStatusRequest()
        return stub.GetAgentStatus(request, timeout=STATUS_TIMEOUT_S, metadata=metadata)


@contextmanager
def _open(context: Context) -> Iterator[tuple[agent_pb2_grpc.AgentServiceStub, Metadata]]:
    target, kind = target_of(context.agent)
    metadata = metadata_of(context.agent_token_file)
    channel = grpc.secure_channel(target, grpc.local_channel_credentials(kind), options=OPTIONS)
    try:
        yield agent_pb2_grpc.AgentServiceStub(channel), metadata
    except grpc.RpcError as fault:
        raise lost(fault, address=context.agent) from fault
    finally:
        channel.close()
