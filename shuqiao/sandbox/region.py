"""Makes and runs a sandbox: a whole region of its own, on this machine, under a trust domain that says so.

Its authority, its identities and its log are made for it alone and begin with "sandbox.": no one that trusts
another region takes anything of it for real, and nothing of it is taken there.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.provider.synthetic_shapes import SANDBOX
from exchange.canonical import NONCE_BYTES, RULES
from exchange.clock import Random, system_random
from exchange.errors import BadConfiguration, WrongState
from exchange.identity import Role
from exchange.timestamps import timestamp
from exchange.v1 import grant_pb2, rules_pb2, rules_pb2_grpc
from shuqiao import applications, regional
from shuqiao.calling import CALL_TIMEOUT_S, calling
from shuqiao.demo.cast import AUDITOR, OFFICER
from shuqiao.demo.configurations import Department, Settings
from shuqiao.demo.members import Member
from shuqiao.demo.staging import Stage
from shuqiao.demo.world import AUTHORITY, GATEWAY, World
from shuqiao.enrolling import write_private
from shuqiao.forms import GrantForm, OrganisationForm
from shuqiao.sandbox.catalogue import Entry, Provider, invented_code, providers_of, region_of, source_block

TRUST_DOMAIN = f"{SANDBOX}shuqiao.example"
CONSUMER = "sandbox-consumer"
CONSUMER_STEWARD = "consumer-steward"
FILE = "sandbox.json"
TERM = timedelta(days=365)
NOT_SHARED = "not_shared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a sandbox is for; kept in `sandbox.json`.

    Attributes:
        consumer: credit code of the department that asks.
        purposes, matters: what grants are for; none of the latter for any.
        applications: names of the systems that may ask.
        events: whether cases are opened and closed by events; otherwise their numbers are claims.
        providers: names of the providers' agents.
        resources: ids.
        division: of the region.
    """

    consumer: str
    purposes: Sequence[str]
    matters: Sequence[str]
    applications: Sequence[str]
    events: bool
    providers: Sequence[str]
    resources: Sequence[str]
    division: str


def read_plan(folder: Path) -> Plan:
    """Return what a folder's sandbox is for.

    Raises:
        BadConfiguration: it is no sandbox.
    """
    try:
        return Plan(**json.loads((folder / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise BadConfiguration(f"{folder}: {FILE}") from error


class Sandbox(Stage):
    """A sandbox while it is made.

    Args:
        world: where it runs.
        entries: the catalogue.
        grants: applications for grants by resource; all shared fields where there is none.
        random: randomness.
    """

    def __init__(
        self,
        world: World,
        *,
        entries: Sequence[Entry],
        grants: Mapping[str, GrantForm],
        random: Random = system_random,
    ) -> None:
        super().__init__(world, random=random)
        self._nonce = random
        self._providers = providers_of(entries)
        self._grants = grants

    def make(
        self,
        *,
        consumer: str,
        purposes: Sequence[str],
        matters: Sequence[str],
        systems: Sequence[str],
        events: bool,
    ) -> Plan:
        """Take every step up to grants in force, and write down what there is."""
        division = self.world.settings.division
        plan = Plan(
            consumer=consumer or invented_code(division, 99_999),
            purposes=purposes,
            matters=matters,
            applications=systems,
            events=events,
            providers=[provider.agent for provider in self._providers],
            resources=[entry.form.id for provider in self._providers for entry in provider.entries],
            division=division,
        )
        if plan.consumer in {provider.credit_code for provider in self._providers}:
            raise BadConfiguration("--consumer: a provider")
        self.world.start_authority()
        self._enrol(plan)
        self.world.start_gateway()
        self._enter(plan)
        self.world.start_agents(self._departments(plan))
        self.until(lambda: len(self.linked()) == len(self._providers) + 1, "agents linked")
        self._agree(plan)
        self._open_doors(plan)
        write_private(self.world.layout.root / FILE, json.dumps(asdict(plan), indent=1).encode())
        return plan

    def _enrol(self, plan: Plan) -> None:
        stewards = [(CONSUMER_STEWARD, plan.consumer)]
        stewards += [(steward_of(provider.agent), provider.credit_code) for provider in self._providers]
        members = [Member(role=Role.STEWARD, name=name, organisation=code) for name, code in stewards]
        others = [Member(role=Role.OFFICER, name=OFFICER), Member(role=Role.AUDITOR, name=AUDITOR)]
        self.world.registry.enrol([*members, *others])

    def _enter(self, plan: Plan) -> None:
        """Enter the departments, set the rules, and publish the catalogue, each as whoever may."""
        first, second = self.world.settings.admins
        told = [(CONSUMER, plan.consumer, plan.division)]
        told += [(one.alias, one.credit_code, one.division) for one in self._providers]
        with self._as(first) as (channel, signer, filler):
            for alias, code, division in told:
                form = OrganisationForm(
                    credit_code=code,
                    alias=alias,
                    name_zh=f"沙箱 {alias}",
                    name_en=f"Sandbox {alias}",
                    division=division,
                )
                regional.add_organisation(channel, signer, filler.organisation(form))
            if plan.events:
                body = self._rules()
                other = self.world.held(second).statement_signer()
                signed = [one.sign(RULES, body) for one in (signer, other)]
                with calling():
                    request = rules_pb2.SetRulesRequest(rules=signed)
                    rules_pb2_grpc.RulesServiceStub(channel).SetRules(request, timeout=CALL_TIMEOUT_S)
        for provider in self._providers:
            with self._as(steward_of(provider.agent)) as (channel, signer, filler):
                for entry in provider.entries:
                    body_of_entry = filler.resource(entry.form, version=1)
                    regional.publish_resource(channel, signer, body_of_entry)

    def _rules(self) -> bytes:
        return rules_pb2.RegionRulesBody(
            nonce=self._nonce(NONCE_BYTES),
            version=1,
            issued_at=timestamp(self.clock.now_ms()),
            case_mode=rules_pb2.CASE_MODE_EVENTS,
        ).SerializeToString()

    def _departments(self, plan: Plan) -> list[Department]:
        providing = [
            Department(
                agent=provider.agent,
                credit_code=provider.credit_code,
                resources="".join(map(source_block, provider.entries)),
            )
            for provider in self._providers
        ]
        return [*providing, Department(agent=CONSUMER, credit_code=plan.consumer)]

    def _agree(self, plan: Plan) -> None:
        """Apply for a grant of each resource and accept it, and wait until the agents know."""
        for provider in self._providers:
            for entry in provider.entries:
                form = self._grant(plan, provider, entry)
                with self._as(CONSUMER_STEWARD) as (channel, signer, filler):
                    applied = regional.apply_grant(channel, signer, filler.grant(form))
                with self._as(steward_of(provider.agent)) as (channel, signer, _), suppress(WrongState):
                    # Of unconditional fields alone the provider's agent may have accepted it by now.
                    regional.decide_grant(
                        channel,
                        signer,
                        applied.grant_id,
                        grant_pb2.GRANT_ACTION_ACCEPT,
                        clock=self.clock,
                        random=self._nonce,
                    )
        due = {provider.agent: len(provider.entries) for provider in self._providers}
        self.await_grants({**due, CONSUMER: len(plan.resources)})

    def _grant(self, plan: Plan, provider: Provider, entry: Entry) -> GrantForm:
        held = self._grants.get(entry.form.id)
        ends = datetime.now(UTC) + TERM
        if held is not None:
            parties = {"consumer": plan.consumer, "provider": provider.credit_code}
            return held.model_copy(update={**parties, "not_before": None, "not_after": ends})
        return GrantForm(
            consumer=plan.consumer,
            provider=provider.credit_code,
            resource=entry.form.id,
            fields=[field.name for field in entry.form.fields if field.share != NOT_SHARED],
            kinds=list(entry.form.kinds),
            purposes=list(plan.purposes),
            matters=list(plan.matters),
            case_required=entry.form.case_required,
            not_after=ends,
            justification="沙箱",
        )

    def _open_doors(self, plan: Plan) -> None:
        """Give people context files and the systems their tokens, as in service."""
        world = self.world
        names = [*world.settings.admins, OFFICER, AUDITOR, *map(steward_of, plan.providers)]
        for person in names:
            world.registry.write_context(person, gateway=world.gateway_address, log=world.log_address)
        world.registry.write_context(
            CONSUMER_STEWARD,
            gateway=world.gateway_address,
            log=world.log_address,
            agent=str(world.processes[CONSUMER].told["grpc"]),
            token=world.layout.token(CONSUMER),
        )
        rights = applications.Rights(
            purposes=plan.purposes, resources=["*"], operators=["*"], matters=plan.matters, cases=True
        )
        for name in plan.applications:
            out = world.layout.root / "applications" / name
            config = world.layout.config(CONSUMER)
            applications.add(config, out, name=name, rights=rights, random=self._nonce)


def steward_of(agent: str) -> str:
    """Return the id of the person who signs for a provider."""
    return f"{agent}-steward"


def settings_of(entries: Sequence[Entry]) -> Settings:
    """Return what the region of a sandbox is like."""
    return Settings(division=region_of(entries), trust_domain=TRUST_DOMAIN)


def settings_of_plan(plan: Plan) -> Settings:
    """Return what the region of a sandbox is like that was made."""
    return Settings(division=plan.division, trust_domain=TRUST_DOMAIN)


def start(world: World, plan: Plan) -> None:
    """Start every process of a sandbox that was made; returns when all serve."""
    for process in (AUTHORITY, GATEWAY):
        world.restart(process)
    world.restart_agents([*plan.providers, CONSUMER])
