"""One run of the command: its language, its output, its context, and the doors to everything else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from exchange.clock import Clock, Random, SystemClock, system_random
from shuqiao.context import Context, find_context, read_context
from shuqiao.output import Output
from shuqiao.words import Text

if TYPE_CHECKING:
    import grpc

    from exchange.enrolment import IdentityFolder
    from exchange.trust import TrustList
    from shuqiao.door import Door, Holder
    from shuqiao.forms import Filler
    from shuqiao.regional import Signer
    from shuqiao.trust_files import LogKeys


HELD = Text("认证机构未应答，使用已有的信任列表", "The authority is away; the trust list held counts")


class Invocation:
    """What a command's function needs; made once per run.

    Args:
        output: where results go.
        environ: the environment.
        door: to processes and keys; the real ones where None.
        clock: the time.
        random: randomness.
    """

    def __init__(
        self,
        *,
        output: Output,
        environ: Mapping[str, str],
        door: Door | None = None,
        clock: Clock | None = None,
        random: Random = system_random,
    ) -> None:
        self.out = output
        self.environ = environ
        self.context_file: Path | None = None
        self.clock = clock or SystemClock()
        self.random = random
        self._door = door

    @cached_property
    def context(self) -> Context:
        """The context file, read when it is first needed."""
        return read_context(find_context(self.context_file, self.environ))

    @cached_property
    def door(self) -> Door:
        """Where channels and identities come from; grpc is loaded with it, so not before it is needed."""
        if self._door is not None:
            return self._door
        from shuqiao.door import REAL

        return REAL

    @cached_property
    def holder(self) -> Holder:
        """The identity that acts."""
        return self.door.hold(self.context)

    @cached_property
    def folder(self) -> IdentityFolder:
        """The identity folder of the context, for what writes to it."""
        from shuqiao.enrolling import held_by

        return held_by(self.context)

    @property
    def signer(self) -> Signer:
        """Signs as the identity that acts."""
        return self.holder.statement_signer()

    @property
    def filler(self) -> Filler:
        """Turns forms into bodies for the identity that acts."""
        from shuqiao.forms import Filler

        return Filler(clock=self.clock, random=self.random, organisation=self.holder.identity().organisation)

    @contextmanager
    def gateway(self) -> Iterator[grpc.Channel]:
        """Open a channel to the gateway and close it afterwards."""
        with self._open(self.gateway_address()) as channel:
            yield channel

    @contextmanager
    def authority(self) -> Iterator[grpc.Channel]:
        """Open a channel to the authority and close it afterwards."""
        with self._open(self.context.authority) as channel:
            yield channel

    @contextmanager
    def enrolment(self) -> Iterator[grpc.Channel]:
        """Open a channel to the authority's enrolment service and close it afterwards."""
        with self._open(self.context.enrolment) as channel:
            yield channel

    def gateway_address(self) -> str:
        """Return the gateway's address: the context's, or else the first that the trust list names.

        Raises:
            GatewayAway: no gateway has been entered in the trust list yet.
            AuthorityAway: no trust list is held and none can be had.
        """
        from exchange.errors import GatewayAway

        if self.context.has("gateway") or not self.context.has("identity"):
            return self.context.gateway
        trust = self.trust_list()
        for gateway in trust.gateways.values():
            if gateway.addresses:
                return gateway.addresses[0]
        raise GatewayAway(f"trust list {trust.number}")

    def trust_list(self) -> TrustList:
        """Return the newest trust list that can be had, verified.

        Raises:
            AuthorityAway: none is held and none can be had.
        """
        from exchange.errors import AuthorityAway
        from exchange.trust_feed import TrustFeed
        from shuqiao import certification

        held = self.context.identity / "trust-list.pb"
        feed = TrustFeed(anchor=self.holder.anchor(), path=held, clock=self.clock)
        if self.context.has("enrolment"):
            try:
                with self.enrolment() as channel:
                    feed.offer(certification.get_trust_list(channel))
            except AuthorityAway:
                self.out.progress(HELD)
        if feed.current is None:
            raise AuthorityAway(str(held))
        return feed.current

    def log_keys(self) -> LogKeys:
        """Return the keys of the region's logs. Raises as `trust_list`."""
        from shuqiao.trust_files import SIGNED, keys_of

        return keys_of(self.trust_list(), SIGNED)

    @contextmanager
    def _open(self, address: str) -> Iterator[grpc.Channel]:
        channel = self.door.dial(address, self.holder)
        try:
            yield channel
        finally:
            channel.close()


def of(context: typer.Context) -> Invocation:
    """Return the invocation that a command belongs to."""
    return cast(Invocation, context.obj)
