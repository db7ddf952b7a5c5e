"""Brings a region to the point where departments can ask each other: people, catalogue, agents, grants.

Every step is what a person would do with the command: as that person, over mutual TLS, signed.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

import grpc

from exchange.clock import Clock, Random, SystemClock, system_random
from exchange.errors import DeadlinePassed
from exchange.identity import Role
from exchange.receipt import ReceiptVerifier
from exchange.trust import TrustList
from exchange.trust_feed import TrustFeed
from exchange.v1 import admin_pb2, admin_pb2_grpc, grant_pb2
from shuqiao import certification, regional
from shuqiao.calling import CALL_TIMEOUT_S, calling
from shuqiao.client import Client
from shuqiao.demo import cast
from shuqiao.demo.cast import AUDITOR, OFFICER, OFFICES, POLICE, Office
from shuqiao.demo.configurations import Department
from shuqiao.demo.counter import Counter
from shuqiao.demo.members import Member
from shuqiao.demo.people import Person
from shuqiao.demo.world import AUTHORITY, GATEWAY_NAME, World
from shuqiao.door import dial_mutual
from shuqiao.forms import Filler
from shuqiao.regional import Applied, Signer

PATIENCE_S = 30.0
POLL_S = 0.02


class Stage:
    """The household's region, step by step; `set_up` does all of them.

    Args:
        world: where it runs.
        clock, random: time and randomness.
    """

    def __init__(self, world: World, *, clock: Clock | None = None, random: Random = system_random) -> None:
        self.world = world
        self.clock = clock or SystemClock()
        self._random = random
        self.persons: Sequence[Person] = ()

    def set_up(self) -> None:
        """Take every step up to grants for health and medical insurance."""
        self.world.start_authority()
        self.enrol_people()
        self.world.start_gateway()
        self.enter_offices()
        self.publish()
        self.start_agents()
        for office, fields in ((cast.HEALTH, cast.GRANTED), (cast.INSURANCE, cast.GRANTED[:1])):
            self.accept(self.apply(office, fields))
        self.await_grants({POLICE.agent: 2, cast.HEALTH.agent: 1, cast.INSURANCE.agent: 1})

    # -- the steps ---------------------------------------------------------------------------------------

    def enrol_people(self) -> None:
        """Enrol a steward for each department, an officer and an auditor."""
        stewards = [
            Member(role=Role.STEWARD, name=office.steward, organisation=office.credit_code)
            for office in OFFICES
        ]
        others = [Member(role=Role.OFFICER, name=OFFICER), Member(role=Role.AUDITOR, name=AUDITOR)]
        self.world.registry.enrol([*stewards, *others])

    def enter_offices(self) -> None:
        """Enter the departments as an administrator."""
        admin = self.world.settings.admins[0]
        with self._as(admin) as (channel, signer, filler):
            for office in OFFICES:
                regional.add_organisation(channel, signer, filler.organisation(office.form()))

    def publish(self) -> None:
        """Publish the household record as public security's steward."""
        with self._as(POLICE.steward) as (channel, signer, filler):
            body = filler.resource(cast.resource(), version=1)
            regional.publish_resource(channel, signer, body)

    def start_agents(self) -> None:
        """Make the household register, then enrol and start every agent; returns when all are linked."""
        self.start_departments(cast.departments(self.make_register()))

    def make_register(self) -> Path:
        """Make the household register of public security; return its file."""
        database, self.persons = cast.make_database(self.world.layout.databases)
        return database

    def start_departments(self, departments: Sequence[Department]) -> None:
        """Enrol and start agents, some of the offices'; returns when all are linked."""
        self.world.start_agents(departments)
        self.until(lambda: len(self.linked()) == len(departments), "agents linked")
        self._write_contexts()

    def _write_contexts(self) -> None:
        """Give everybody a context file for the command; stewards may ask through their own agent."""
        world = self.world
        for person in (*world.settings.admins, OFFICER, AUDITOR):
            world.registry.write_context(person, gateway=world.gateway_address, log=world.log_address)
        for office in OFFICES:
            process = world.processes.get(office.agent)
            world.registry.write_context(
                office.steward,
                gateway=world.gateway_address,
                log=world.log_address,
                agent=str(process.told["grpc"]) if process is not None else "",
                token=world.layout.token(office.agent),
            )

    def apply(self, office: Office, fields: Sequence[str], *, until: datetime | None = None) -> Applied:
        """Apply for a grant as the consumer's steward."""
        with self._as(office.steward) as (channel, signer, filler):
            body = filler.grant(cast.grant(office, fields, until=until))
            return regional.apply_grant(channel, signer, body)

    def accept(self, applied: Applied) -> None:
        """Accept a grant as public security's steward."""
        with self._as(POLICE.steward) as (channel, signer, _):
            regional.decide_grant(
                channel,
                signer,
                applied.grant_id,
                grant_pb2.GRANT_ACTION_ACCEPT,
                clock=self.clock,
                random=self._random,
            )

    def await_grants(self, due: dict[str, int]) -> None:
        """Wait until agents know as many grants in force as they should, by their own account."""
        for agent, count in due.items():
            with self.world.connect(agent) as client:
                self.until(partial(_knows, client, count), f"{agent} knows {count} grants")

    def revoke(self, spiffe_id: str) -> int:
        """Revoke an identity's certificates at the authority, as the security officer.

        Returns:
            Number of the trust list that says so.
        """
        service = str(self.world.processes[AUTHORITY].told["service"])
        channel = dial_mutual(service, self.world.held(OFFICER))
        try:
            return certification.revoke(channel, spiffe_id=spiffe_id, note="demonstration")
        finally:
            channel.close()

    # -- looking -----------------------------------------------------------------------------------------

    def linked(self) -> set[str]:
        """Return the SPIFFE ids of the agents that the gateway has links of, as the officer sees them."""
        with self._as(OFFICER) as (channel, _, _), calling():
            stub = admin_pb2_grpc.AdminServiceStub(channel)
            answer = stub.GetStatus(admin_pb2.GetStatusRequest(), timeout=CALL_TIMEOUT_S)
        return {agent.spiffe_id for agent in answer.agents}

    def trust_list(self) -> TrustList:
        """Return the newest trust list, verified and kept in the auditor's folder."""
        held = self.world.held(AUDITOR)
        enrolment = str(self.world.processes[AUTHORITY].told["enrolment"])
        channel = dial_mutual(enrolment, held)
        try:
            statement = certification.get_trust_list(channel)
        finally:
            channel.close()
        feed = TrustFeed(anchor=held.anchor(), path=held.trust_list_path, clock=self.clock)
        feed.offer(statement)
        assert feed.current is not None
        return feed.current

    @property
    def origin(self) -> str:
        """Origin of the gateway's log."""
        settings = self.world.settings
        return f"{settings.division}.{settings.trust_domain}/{GATEWAY_NAME}"

    def counter(self, agent: str) -> Counter:
        """Return a department's own system."""
        gateway = self.trust_list().gateways[self.origin]
        receipts = ReceiptVerifier(origin=self.origin, log_keys=gateway.log_keys)
        return Counter(self.world, agent, receipts=receipts)

    def checkpoint(self) -> str:
        """Return the newest checkpoint, as the auditor."""
        with self._as(AUDITOR) as (channel, _, _):
            return regional.get_checkpoint(channel)

    def until(self, holds: Callable[[], bool], what: str, *, patience_s: float = PATIENCE_S) -> float:
        """Wait until something holds.

        Returns:
            How long that took, seconds.

        Raises:
            DeadlinePassed: it did not hold in time.
        """
        begun = time.monotonic()
        while not holds():
            if time.monotonic() - begun > patience_s:
                raise DeadlinePassed(what, hop="demo")
            time.sleep(POLL_S)
        return time.monotonic() - begun

    @contextmanager
    def _as(self, name: str) -> Iterator[tuple[grpc.Channel, Signer, Filler]]:
        held = self.world.held(name)
        filler = Filler(clock=self.clock, random=self._random, organisation=held.identity().organisation)
        with self.world.at_gateway(name) as channel:
            yield channel, held.statement_signer(), filler


def _knows(client: Client, grants: int) -> bool:
    hops = {hop.hop: hop for hop in client.status().hops}
    return hops["link"].ok and hops["grants"].detail.startswith(f"{grants} ")
