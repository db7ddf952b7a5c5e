"""`shuqiao agent`: sets up and runs a department's agent."""

from pathlib import Path
from typing import Annotated

import typer

from shuqiao.cli import agent_notices
from shuqiao.cli.invocation import of
from shuqiao.words import Text

app = typer.Typer(name="agent", help="前置节点 | The agent of a department")
agent_notices.register(app)

kept = typer.Typer(name="applications", help="已登记的业务系统 | The department's systems")
app.add_typer(kept)

Name = Annotated[str, typer.Argument(metavar="NAME", help="系统名称 | Name of the system")]
Out = Annotated[
    Path,
    typer.Option(
        "--out", "-o", help="写入令牌与上下文文件的目录 | Folder to make, for token and context file"
    ),
]
Config = Annotated[Path, typer.Option("--config", help="配置文件（TOML） | Configuration file (TOML)")]


@app.command("init", help="配置并注册前置节点 | Configure and enrol an agent")
def init(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="注册文件 | Enrolment file")],
    config: Config,
    http: Annotated[
        str,
        typer.Option(
            "--http", help="本机 HTTP 接口；留空则不开 | Local address of the HTTP face; none where empty"
        ),
    ] = "127.0.0.1:7480",
    grpc: Annotated[
        str,
        typer.Option(
            "--grpc", help="本机 gRPC 接口；留空则不开 | Local address of the gRPC face; none where empty"
        ),
    ] = "127.0.0.1:7481",
) -> None:
    """Write an annotated configuration and a passphrase where they are missing, and enrol."""
    from agent.config import load
    from shuqiao import installing
    from shuqiao.cli.certs import certified

    call = of(context)
    told = installing.read_file(file)

    def text() -> str:
        return installing.configuration_text(
            "agent", config, {("local", "http"): http, ("local", "grpc"): grpc}
        )

    verified = installing.set_up(told, config, text=text, load=load, clock=call.clock, random=call.random)
    certified(call, verified, config)


@app.command("application", help="登记本部门的业务系统 | Let one of the department's systems ask")
def application(
    context: typer.Context,
    name: Name,
    config: Config,
    purpose: Annotated[list[str], typer.Option("--purpose", help="用途，可重复 | Purpose, repeatable")],
    resource: Annotated[
        list[str],
        typer.Option("--resource", help="资源或前缀/*，可重复 | Resource or prefix/*, repeatable"),
    ],
    out: Out,
    operator: Annotated[
        list[str] | None,
        typer.Option("--operator", help="经办人代号，可重复 | Pseudonym of an operator, repeatable"),
    ] = None,
    matter: Annotated[
        list[str] | None,
        typer.Option(
            "--matter", help="事项，可重复；不写则不限 | Matter, repeatable; any where there is none"
        ),
    ] = None,
    cases: Annotated[
        bool, typer.Option("--cases", help="可开办与办结办件 | May open and close cases")
    ] = False,
    at_once: Annotated[
        int, typer.Option("--at-once", min=0, help="同时在途的问题数上限 | Most questions under way")
    ] = 0,
) -> None:
    """Enter a system in the agent's configuration and make its token; it counts from the next start."""
    from shuqiao import applications

    call = of(context)
    rights = applications.Rights(
        purposes=purpose,
        resources=resource,
        operators=operator or [],
        matters=matter or [],
        cases=cases,
        at_once=at_once,
    )
    made = applications.add(config, out, name=name, rights=rights, random=call.random)
    said = Text(
        "{name} 已登记，重启前置节点后生效；上下文文件 {file}",
        "Entered {name}, in force once the agent is started again; context file {file}",
    )
    call.out.show(
        {"ok": True, "name": name, "context": str(made), "token": str(out / applications.TOKEN)},
        lambda: call.out.done(said.filled(name=name, file=made)),
    )


@kept.command("list", help="列出业务系统及其权限 | List the systems and what they may ask")
def listed(context: typer.Context, config: Config) -> None:
    """Print the systems of an agent's configuration."""
    from shuqiao import applications

    call = of(context)
    found = applications.listed(config)
    keys = ("name", "purposes", "resources", "matters", "operators", "cases", "at_once", "tokens")
    columns = (
        Text("系统", "System"),
        Text("用途", "Purposes"),
        Text("资源", "Resources"),
        Text("事项", "Matters"),
        Text("经办人", "Operators"),
        Text("可开办件", "Cases"),
        Text("在途上限", "At once"),
        Text("令牌数", "Tokens"),
    )
    call.out.show(
        {"applications": found},
        lambda: call.out.table(
            Text("业务系统", "Systems"), columns, [[view[key] for key in keys] for view in found]
        ),
    )


@kept.command("remove", help="删除业务系统 | Remove a system")
def remove(context: typer.Context, name: Name, config: Config) -> None:
    """Take a system out of the agent's configuration; it counts from the next start."""
    from shuqiao import applications

    call = of(context)
    applications.remove(config, name)
    said = Text("{name} 已删除，重启前置节点后生效", "Removed {name}, once the agent is started again")
    call.out.show({"ok": True, "name": name}, lambda: call.out.done(said.filled(name=name)))


@kept.command("rotate", help="更换令牌 | Change a system's token")
def rotate(
    context: typer.Context,
    name: Name,
    config: Config,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="写入新令牌的目录；旧令牌仍有效 | Folder for the new token; the old one counts as well",
        ),
    ] = None,
    finish: Annotated[
        bool, typer.Option("--finish", help="只留最新的令牌 | Let only the newest token count")
    ] = False,
) -> None:
    """Make a second token, or end the first; either counts from the next start."""
    from exchange.errors import BadConfiguration
    from shuqiao import applications

    call = of(context)
    if finish == (out is not None):
        raise BadConfiguration("--out | --finish")
    if out is None:
        applications.finish(config, name)
        said = Text(
            "{name} 只认最新的令牌，重启前置节点后生效", "{name} has one token, once the agent is restarted"
        )
        call.out.show({"ok": True, "name": name}, lambda: call.out.done(said.filled(name=name)))
        return
    made = applications.rotate(config, out, name=name, random=call.random)
    said = Text(
        "{name} 有新令牌，重启前置节点后新旧皆可；上下文文件 {file}",
        "{name} has a new token, both count once the agent is started again; context file {file}",
    )
    call.out.show(
        {"ok": True, "name": name, "context": str(made), "token": str(out / applications.TOKEN)},
        lambda: call.out.done(said.filled(name=name, file=made)),
    )


@app.command("serve", help="运行前置节点 | Run the agent")
def serve(config: Config) -> int:
    """Run the agent until it is told to stop; return its exit code."""
    from agent.app import serve as run

    return run(config)
