"""`shuqiao gateway`: sets up and runs a region's gateway."""

from pathlib import Path
from typing import Annotated

import typer

from shuqiao.cli import gateway_log
from shuqiao.cli.invocation import of

app = typer.Typer(name="gateway", help="网关 | The gateway of a region")
gateway_log.register(app)

Config = Annotated[Path, typer.Option("--config", help="配置文件（TOML） | Configuration file (TOML)")]


@app.command("init", help="配置并注册网关 | Configure and enrol a gateway")
def init(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="注册文件 | Enrolment file")],
    config: Config,
    address: Annotated[
        str,
        typer.Option(
            "--address",
            help="对外地址 主机:端口，端口也用于监听 | host:port to dial; its port is listened on",
        ),
    ] = "",
    metrics: Annotated[
        str, typer.Option("--metrics", help="指标与就绪 主机:端口 | host:port of /metrics and /ready")
    ] = "127.0.0.1:7444",
    log: Annotated[
        str, typer.Option("--log", help="日志的 HTTPS 监听 主机:端口 | host:port where the log is served")
    ] = "0.0.0.0:7445",
) -> None:
    """Write an annotated configuration and a passphrase where they are missing, and enrol."""
    from gateway.config import load
    from shuqiao import installing
    from shuqiao.cli.certs import certified

    call = of(context)
    told = installing.read_file(file)

    def text() -> str:
        dialled = address or f"{(told.hosts or ('localhost',))[0]}:7443"
        metrics_host, metrics_port = installing.host_and_port("--metrics", metrics)
        log_host, log_port = installing.host_and_port("--log", log)
        return installing.configuration_text(
            "gateway",
            config,
            {
                ("listen", "port"): installing.host_and_port("--address", dialled)[1],
                ("listen", "metrics_host"): metrics_host,
                ("listen", "metrics_port"): metrics_port,
                ("listen", "log_host"): log_host,
                ("listen", "log_port"): log_port,
                ("listen", "advertise"): [dialled],
                ("authority", "enrolment"): told.enrolment_address,
                ("authority", "service"): told.service_address,
            },
        )

    verified = installing.set_up(told, config, text=text, load=load, clock=call.clock, random=call.random)
    certified(call, verified, config)


@app.command("serve", help="运行网关 | Run the gateway")
def serve(config: Config) -> int:
    """Run the gateway until it is told to stop; return its exit code."""
    from gateway.app import serve as run

    return run(config)
