"""A region with real processes: an authority, a gateway and departments' agents, on this machine alone.

Every process is the command that an operator would start, with a configuration that stays in the folder and
starts it again by hand. Ports are free ones: found by the processes, then written into the configurations.
All die with the process that made the world, however it ends.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import grpc

import shuqiao
from agent.consumer.credentials import hash_token, new_token
from certs.config import load as load_authority
from exchange.clock import Clock, Random, SystemClock, system_random
from exchange.enrolment import IDENTITY_FILE, IdentityFolder
from exchange.enrolment_file import read_enrolment
from exchange.identity import Role
from shuqiao.demo.configurations import Department, Settings, agent_text, authority_text, gateway_text
from shuqiao.demo.files import HOST, Layout, socket_address
from shuqiao.demo.members import Member, Registry
from shuqiao.demo.process import Process
from shuqiao.door import dial_mutual
from shuqiao.enrolling import write_private
from shuqiao.founding import IDENTITY, found_authority

AUTHORITY, GATEWAY = "authority", "gateway"
GATEWAY_NAME = "gateway-1"


class World:
    """A region that runs; leave it with `close`, or use it as a context.

    Args:
        root: its folder, made where it is missing.
        settings: what it is like.
        clock, random: time and randomness.
    """

    def __init__(
        self,
        root: Path,
        *,
        settings: Settings | None = None,
        clock: Clock | None = None,
        random: Random = system_random,
    ) -> None:
        self.layout = Layout(root=root.absolute())
        self.settings = settings or Settings()
        self._clock = clock or SystemClock()
        self._random = random
        self._registry: Registry | None = None
        self.processes: dict[str, Process] = {}

    def __enter__(self) -> "World":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- authority and people ----------------------------------------------------------------------------

    def start_authority(self) -> None:
        """Found the authority with its two administrators, and start it."""
        layout, settings = self.layout, self.settings
        for folder in (layout.root, layout.people, layout.databases, layout.root / "agents"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write_authority((0, 0))
        found_authority(
            load_authority(layout.config(AUTHORITY)),
            admins=settings.admins,
            out=layout.people,
            clock=self._clock,
            random=self._random,
        )
        told = self._start(AUTHORITY, "certs").ready()
        enrolment, service = str(told["enrolment"]), str(told["service"])
        self._write_authority((_port(enrolment), _port(service)))
        for name in settings.admins:
            self._tell_address(layout.people / name / IDENTITY, enrolment, service)
        self._registry = Registry(
            layout, admins=settings.admins, enrolment=enrolment, service=service, random=self._random
        )

    @property
    def registry(self) -> Registry:
        """Whoever was enrolled; there is one once the authority runs."""
        assert self._registry is not None, "the authority was not started"
        return self._registry

    def held(self, name: str) -> IdentityFolder:
        """Return the identity of a person or process."""
        return self.registry.held(name)

    # -- processes ---------------------------------------------------------------------------------------

    def start_gateway(self) -> None:
        """Enrol and start the gateway."""
        self.registry.enrol([Member(role=Role.GATEWAY, name=GATEWAY_NAME)])
        self._write_gateway((0, 0, 0))
        told = self._start(GATEWAY, GATEWAY).ready()
        port, metrics_port, log_port = (int(str(told[key])) for key in ("port", "metrics_port", "log_port"))
        self._write_gateway((port, metrics_port, log_port))

    def start_agents(self, departments: Sequence[Department]) -> None:
        """Enrol and start agents, all at once."""
        for department in departments:
            self.registry.enrol(
                [Member(role=Role.AGENT, name=department.agent, organisation=department.credit_code)]
            )
            token, _ = new_token(self._random)
            write_private(self.layout.token(department.agent), token.encode() + b"\n")
            self._write_agent(
                department, http=f"{HOST}:0", grpc_at=socket_address(self.layout, department.agent)
            )
        for department in departments:
            self._start(department.agent, "agent")
        for department in departments:
            told = self.processes[department.agent].ready()
            self._write_agent(department, http=str(told["http"]), grpc_at=str(told["grpc"]))

    def restart(self, process: str) -> None:
        """Start a process that ended, as an operator would by hand."""
        group = {AUTHORITY: "certs", GATEWAY: "gateway"}.get(process, "agent")
        self._start(process, group).ready()

    def restart_agents(self, agents: Sequence[str]) -> None:
        """Start agents that ended, all at once."""
        for agent in agents:
            self._start(agent, "agent")
        for agent in agents:
            self.processes[agent].ready()

    def _start(self, name: str, group: str) -> Process:
        layout = self.layout
        arguments = [group, "serve", "--config", str(layout.config(name))]
        process = Process(name=name, arguments=arguments, log=layout.log(name))
        self.processes[name] = process
        process.start()
        return process

    def stop_agents(self) -> None:
        """Stop every agent, all at once."""
        agents = [process for name, process in self.processes.items() if name not in (AUTHORITY, GATEWAY)]
        for process in agents:
            process.ask_to_stop()
        for process in agents:
            process.stop()

    def close(self) -> None:
        """Stop every process: agents first, the authority last."""
        try:
            self.stop_agents()
        finally:
            for name in (GATEWAY, AUTHORITY):
                if name in self.processes:
                    self.processes[name].stop()

    # -- ways in -----------------------------------------------------------------------------------------

    @property
    def gateway_address(self) -> str:
        """Where the gateway listens, "host:port"."""
        return f"{HOST}:{self.processes[GATEWAY].told['port']}"

    @property
    def metrics_url(self) -> str:
        """Where the gateway's metrics and readiness are."""
        return f"http://{HOST}:{self.processes[GATEWAY].told['metrics_port']}"

    @property
    def log_address(self) -> str:
        """Where the gateway serves its log, "host:port"."""
        return f"{HOST}:{self.processes[GATEWAY].told['log_port']}"

    @contextmanager
    def at_gateway(self, name: str) -> Iterator[grpc.Channel]:
        """Open a channel to the gateway as a person, over mutual TLS."""
        channel = dial_mutual(self.gateway_address, self.held(name))
        try:
            yield channel
        finally:
            channel.close()

    def connect(self, agent: str) -> "shuqiao.Client":
        """Return a client of a department's agent, as its own system would make it."""
        return shuqiao.connect(str(self.processes[agent].told["grpc"]), token_file=self.layout.token(agent))

    # -- files -------------------------------------------------------------------------------------------

    def _write_authority(self, ports: tuple[int, int]) -> None:
        text = authority_text(self.layout, self.settings, ports=ports)
        write_private(self.layout.config(AUTHORITY), text.encode())

    def _write_gateway(self, ports: tuple[int, int, int]) -> None:
        told = self.processes[AUTHORITY].told
        enrolment, service = str(told["enrolment"]), str(told["service"])
        text = gateway_text(self.layout, ports=ports, enrolment=enrolment, service=service)
        write_private(self.layout.config(GATEWAY), text.encode())

    def _write_agent(self, department: Department, *, http: str, grpc_at: str) -> None:
        token = self.layout.token(department.agent).read_text(encoding="ascii").strip()
        text = agent_text(self.layout, department, http=http, grpc=grpc_at, token_hash=hash_token(token))
        write_private(self.layout.config(department.agent), text.encode())

    def _tell_address(self, identity: Path, enrolment: str, service: str) -> None:
        """Enter the authority's addresses in an identity that was founded before they were known."""
        path = identity / IDENTITY_FILE
        told = read_enrolment(path.read_bytes())
        told = replace(told, enrolment_address=enrolment, service_address=service)
        write_private(path, told.to_json())


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
