"""The files of a demonstration: configurations that `serve` starts again by hand, passphrases, tokens.

```
DIR/authority.toml, authority/, authority.log       DIR/gateway.toml, gateway/, gateway.log
DIR/agents/<name>.toml, agents/<name>/              DIR/<name>.log
DIR/people/<name>/{identity,passphrase,context.toml} DIR/databases/<name>.db
```
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from exchange.clock import Random
from shuqiao.enrolling import write_private

HOST = "127.0.0.1"
PASSPHRASE_BYTES = 24
MAX_SOCKET_BYTES = 100
"""Longest path of a Unix socket that an agent takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where everything is.

    Args:
        root: the demonstration's folder, absolute.
    """

    root: Path

    @property
    def people(self) -> Path:
        """The folder of the people's folders."""
        return self.root / "people"

    @property
    def databases(self) -> Path:
        """The folder of the departments' databases."""
        return self.root / "databases"

    def home(self, process: str) -> Path:
        """Return a process's folder."""
        return self._beside(process, "")

    def config(self, process: str) -> Path:
        """Return a process's configuration."""
        return self._beside(process, ".toml")

    def passphrase(self, process: str) -> Path:
        """Return the file with a process's passphrase."""
        return self._beside(process, ".passphrase")

    def log(self, process: str) -> Path:
        """Return the file that takes a process's log."""
        return self.root / f"{process}.log"

    def token(self, agent: str) -> Path:
        """Return the file with the token by which a department's system calls its agent."""
        return self._beside(agent, ".token")

    def _beside(self, process: str, suffix: str) -> Path:
        folder = self.root if process in ("authority", "gateway") else self.root / "agents"
        return folder / f"{process}{suffix}"


def quoted(value: object) -> str:
    """Return text, a number or a list of text as TOML writes it; a JSON string is a TOML basic string."""
    return json.dumps(value, ensure_ascii=False)


def make_passphrase(file: Path, random: Random) -> bytes:
    """Write a new passphrase into a file of mode 0600 and return it."""
    passphrase = random(PASSPHRASE_BYTES).hex().encode()
    write_private(file, passphrase + b"\n")
    return passphrase


def authority_text(
    layout: Layout,
    *,
    division: str,
    trust_domain: str,
    ports: tuple[int, int],
    agent_lifetime: str,
) -> str:
    """Return the authority's configuration.

    Args:
        layout: where everything is.
        division: 6 digits.
        trust_domain: for example "yunchuan.example".
        ports: of enrolment and service; 0 takes a free one.
        agent_lifetime: of agents' certificates, for example "30d".
    """
    return f"""\
folder = "authority"
passphrase_file = {quoted(layout.passphrase("authority").name)}
division = {quoted(division)}
trust_domain = {quoted(trust_domain)}

[listen]
host = "{HOST}"
enrolment_port = {ports[0]}
service_port = {ports[1]}
hosts = ["{HOST}", "localhost"]

[lifetimes]
agent = {quoted(agent_lifetime)}
"""


def gateway_text(layout: Layout, *, ports: tuple[int, int], enrolment: str, service: str) -> str:
    """Return the gateway's configuration.

    Args:
        layout: where everything is.
        ports: of the gateway and of its metrics; 0 takes a free one.
        enrolment, service: addresses of the authority.
    """
    return f"""\
folder = "gateway"
passphrase_file = {quoted(layout.passphrase("gateway").name)}

[listen]
host = "{HOST}"
port = {ports[0]}
metrics_host = "{HOST}"
metrics_port = {ports[1]}

[authority]
enrolment = {quoted(enrolment)}
service = {quoted(service)}
"""


def agent_text(
    layout: Layout,
    name: str,
    *,
    http: str,
    grpc: str,
    token_hash: str,
    purposes: Sequence[str],
    resources: str,
) -> str:
    """Return an agent's configuration.

    Args:
        layout: where everything is.
        name: of the agent.
        http, grpc: local addresses of the two faces.
        token_hash: of the department's system.
        purposes: for which that system may ask.
        resources: the blocks of what the agent provides, TOML; empty where it provides nothing.
    """
    return f"""\
folder = {quoted(name)}
passphrase_file = {quoted(layout.passphrase(name).name)}

[local]
http = {quoted(http)}
grpc = {quoted(grpc)}

[[local.application]]
name = "counter"
token_hash = {quoted(token_hash)}
purposes = {quoted(list(purposes))}
operators = ["*"]
resources = ["*"]
{resources}"""


def socket_address(layout: Layout, agent: str) -> str:
    """Return an agent's gRPC address: a Unix socket, or loopback where the path would be too long for one."""
    path = layout.home(agent).with_suffix(".sock")
    return f"unix://{path}" if len(str(path).encode()) <= MAX_SOCKET_BYTES else f"{HOST}:0"
