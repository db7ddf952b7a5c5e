"""The configurations of a demonstration's processes: what an operator would write for `serve`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from shuqiao.demo.files import HOST, Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a world is like.

    Args:
        division: of the authority's root and the gateway, 6 digits.
        trust_domain: of its identities.
        admins: ids of the two administrators.
        lifetime: of the processes' certificates, for example "30d".
    """

    division: str = "970100"
    trust_domain: str = "yunchuan.example"
    admins: tuple[str, str] = ("zhao-admin", "qian-admin")
    lifetime: str = "30d"


@dataclass(frozen=True, slots=True, kw_only=True)
class Department:
    """A department with an agent.

    Args:
        agent: name of its agent; it names files too.
        credit_code: 18 characters.
        purposes: for which its own system may ask.
        resources: blocks of its agent's configuration that say what it provides, TOML.
    """

    agent: str
    credit_code: str
    purposes: Sequence[str] = ("*",)
    resources: str = ""


def quoted(value: object) -> str:
    """Return text, a number or a list of text as TOML writes it; a JSON string is a TOML basic string."""
    return json.dumps(value, ensure_ascii=False)


def authority_text(layout: Layout, settings: Settings, *, ports: tuple[int, int]) -> str:
    """Return the authority's configuration.

    Args:
        layout: where everything is.
        settings: what the world is like.
        ports: of enrolment and service; 0 takes a free one.
    """
    return f"""\
folder = "authority"
passphrase_file = {quoted(layout.passphrase("authority").name)}
division = {quoted(settings.division)}
trust_domain = {quoted(settings.trust_domain)}

[listen]
host = "{HOST}"
enrolment_port = {ports[0]}
service_port = {ports[1]}
hosts = ["{HOST}", "localhost"]

[lifetimes]
agent = {quoted(settings.lifetime)}
gateway = {quoted(settings.lifetime)}
authority = {quoted(settings.lifetime)}
"""


def gateway_text(layout: Layout, *, ports: tuple[int, int, int], enrolment: str, service: str) -> str:
    """Return the gateway's configuration.

    Args:
        layout: where everything is.
        ports: of the gateway, its metrics and its log; 0 takes a free one.
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
log_host = "{HOST}"
log_port = {ports[2]}

[authority]
enrolment = {quoted(enrolment)}
service = {quoted(service)}
"""


def agent_text(layout: Layout, department: Department, *, http: str, grpc: str, token_hash: str) -> str:
    """Return an agent's configuration.

    Args:
        layout: where everything is.
        department: whose agent it is.
        http, grpc: local addresses of the two faces.
        token_hash: of the department's own system.
    """
    return f"""\
folder = {quoted(department.agent)}
passphrase_file = {quoted(layout.passphrase(department.agent).name)}

[local]
http = {quoted(http)}
grpc = {quoted(grpc)}

[[local.application]]
name = "counter"
token_hash = {quoted(token_hash)}
purposes = {quoted(list(department.purposes))}
operators = ["*"]
resources = ["*"]
{department.resources}"""
