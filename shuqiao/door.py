"""How the command reaches processes and keys: one seam, so that tests put loopback servers behind it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import grpc

from exchange.identity import Identity
from exchange.trust import TrustAnchor
from exchange.v1 import agent_pb2
from shuqiao import local_agent
from shuqiao.context import Context
from shuqiao.regional import Signer


class Holder(Protocol):
    """Whoever acts: a certificate and its key; exchange.enrolment.IdentityFolder is one."""

    def key_pem(self) -> bytes:
        """Private key, PEM."""
        ...

    def chain_pem(self) -> bytes:
        """Certificate and issuers without the root, PEM."""
        ...

    def root_pem(self) -> bytes:
        """The pinned root, PEM."""
        ...

    def identity(self) -> Identity:
        """Who the certificate names."""
        ...

    def anchor(self) -> TrustAnchor:
        """The pinned root as it verifies."""
        ...

    def statement_signer(self) -> Signer:
        """Signs statements with the certificate's key."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """The ways out of the command.

    Args:
        hold: opens the identity that a context names.
        dial: opens a channel to an address as that identity.
        ask: asks another department through the local agent.
        status: asks the local agent how it is.
    """

    hold: Callable[[Context], Holder]
    dial: Callable[[str, Holder], grpc.Channel]
    ask: Callable[[Context, agent_pb2.AskRequest], agent_pb2.AskResponse] = local_agent.ask
    status: Callable[[Context], agent_pb2.GetAgentStatusResponse] = local_agent.status


def hold_folder(context: Context) -> Holder:
    """Open the identity folder that a context names."""
    from shuqiao.enrolling import held_by

    return held_by(context)


def dial_mutual(address: str, holder: Holder) -> grpc.Channel:
    """Open a channel over mutual TLS."""
    from exchange.tls import CHANNEL_OPTIONS, channel_credentials

    credentials = channel_credentials(
        root_pem=holder.root_pem(), key_pem=holder.key_pem(), chain_pem=holder.chain_pem()
    )
    return grpc.secure_channel(address, credentials, options=CHANNEL_OPTIONS)


REAL = Door(hold=hold_folder, dial=dial_mutual)
"""Real keys and real sockets."""
