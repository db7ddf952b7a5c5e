"""`shuqiao agent`: sets up and runs a department's agent."""

from pathlib import Path
from typing import Annotated

import typer

from shuqiao.cli import agent_notices
from shuqiao.cli.invocation import of
from shuqiao.words import Text

app = typer.Typer(name="agent", help="前置节点 | The agent of a department")
agent_notices.register(app)

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
    name: Annotated[str, typer.Argument(metavar="NAME", help="系统名称 | Name of the system")],
    config: Config,
    purpose: Annotated[list[str], typer.Option("--purpose", help="用途，可重复 | Purpose, repeatable")],
    resource: Annotated[
        list[str],
        typer.Option("--resource", help="资源或前缀/*，可重复 | Resource or prefix/*, repeatable"),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="写入令牌与上下文文件的目录 | Folder to make, for token and context file"
        ),
    ],
    operator: Annotated[
        list[str] | None,
        typer.Option("--operator", help="经办人代号，可重复 | Pseudonym of an operator, repeatable"),
    ] = None,
) -> None:
    """Enter a system in the agent's configuration and make its token; it counts from the next start."""
    from shuqiao import installing

    call = of(context)
    made = installing.add_application(
        config,
        out,
        name=name,
        purposes=purpose,
        resources=resource,
        operators=operator or [],
        random=call.random,
    )
    said = Text(
        "{name} 已登记，重启前置节点后生效；上下文文件 {file}",
        "Entered {name}, in force once the agent is started again; context file {file}",
    )
    call.out.show(
        {"ok": True, "name": name, "context": str(made), "token": str(out / installing.TOKEN)},
        lambda: call.out.done(said.filled(name=name, file=made)),
    )


@app.command("serve", help="运行前置节点 | Run the agent")
def serve(config: Config) -> int:
    """Run the agent until it is told to stop; return its exit code."""
    from agent.app import serve as run

    return run(config)
