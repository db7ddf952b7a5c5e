"""`shuqiao audit witnesses` and `audit witness …`: who cosigned the log, and a witness of one's own."""

from pathlib import Path
from typing import Annotated

import typer

from shuqiao.cli.invocation import of
from shuqiao.local_time import shown
from shuqiao.output import BAD, GOOD, UNSURE, Cell
from shuqiao.words import Text

Config = Annotated[Path, typer.Option("--config", help="配置文件（TOML） | Configuration file (TOML)")]

witness = typer.Typer(name="witness", help="见证人：为他方日志联署 | A witness that cosigns others' logs")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("witnesses", help="查看日志由谁联署见证 | Show who cosigned the log")(witnesses)
    app.add_typer(witness)


def witnesses(
    context: typer.Context,
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy", help="见证策略文件（C2SP tlog-policy） | Policy of the witnesses (C2SP tlog-policy)"
        ),
    ] = None,
) -> int:
    """Show the newest witnessed checkpoint; with a policy exit 1 where no quorum of it cosigned."""
    from shuqiao import regional
    from shuqiao.witnessed import judged

    call = of(context)
    with call.gateway() as channel:
        newest, note = regional.get_witnessed(channel)
    view = judged(newest, note, log_keys=call.log_keys(), policy_file=policy)

    def people() -> None:
        facts = [
            (Text("日志", "Log"), view["origin"]),
            (Text("记录数", "Entries"), view["size"]),
            (Text("已见证", "Witnessed"), view["witnessed_size"]),
        ]
        call.out.facts(Text("见证", "Witnesses"), facts)
        columns = (Text("见证人", "Witness"), Text("时间", "Time"), Text("签名", "Signature"))
        rows = [[one["name"], shown(one["time"]), _mark(one["cosigned"])] for one in view["witnesses"]]
        call.out.table(Text("联署", "Cosignatures"), columns, rows)
        call.out.say(*_verdict(view["quorum"]))

    call.out.show(view, people)
    return 1 if view["quorum"] is False else 0


@witness.command("init", help="建立见证人 | Set up a witness")
def init(
    context: typer.Context,
    config: Config,
    name: Annotated[
        str,
        typer.Option(
            "--name", help="名称，形如 witness.example/w1 | Its name, for example witness.example/w1"
        ),
    ],
    listen: Annotated[
        str, typer.Option("--listen", help="监听的地址 主机:端口 | host:port to listen on")
    ] = "0.0.0.0:7450",
    log: Annotated[
        list[str] | None,
        typer.Option("--log", help="日志公钥（log-key.pub 的内容），可重复 | Key of a log, may be repeated"),
    ] = None,
) -> None:
    """Write configuration, passphrase and key where they are missing; print the key."""
    from exchange.errors import ExchangeError
    from shuqiao import installing
    from shuqiao.founding import make_passphrase
    from witness.app import found
    from witness.config import load

    call = of(context)
    made = not config.exists()
    if made:
        host, port = installing.host_and_port("--listen", listen)
        values: dict[tuple[str, str], str | int | list[str]] = {
            ("", "name"): name,
            ("", "logs"): [line for told in log or () for line in told.split("\n") if line.strip()],
            ("listen", "host"): host,
            ("listen", "port"): port,
        }
        installing.write_configuration(config, installing.configuration_text("witness", config, values))
    try:
        told = load(config)
        if not told.passphrase_file.exists():
            make_passphrase(told.passphrase_file, call.random)
        key = found(told)
    except ExchangeError:
        if made:
            config.unlink()
        raise

    def people() -> None:
        facts = [
            (Text("配置", "Configuration"), config),
            (Text("公钥", "Key"), key),
            (Text("日志数", "Logs"), len(told.log_keys)),
        ]
        call.out.facts(Text("见证人已建立", "The witness is set up"), facts)

    call.out.show({"ok": True, "config": str(config), "name": told.name, "key": key}, people)


@witness.command("serve", help="运行见证人 | Run a witness")
def serve(config: Config) -> int:
    """Run the witness until it is told to stop; return its exit code."""
    from witness.app import serve as run

    return run(config)


@witness.command("show", help="查看见证人已联署到何处 | Show what a witness cosigned last")
def show(context: typer.Context, config: Config) -> None:
    """Show, per log, size and time of the last cosignature; the witness may be running."""
    from shuqiao.views import unix_ms
    from witness.config import load
    from witness.store import read_all

    call = of(context)
    told = load(config)
    held = dict(read_all(told.folder))
    logs = [
        {
            "origin": origin,
            "configured": origin in told.log_keys,
            "size": held[origin].size if origin in held else 0,
            "root": held[origin].root.hex() if origin in held else "",
            "time": unix_ms(held[origin].time_s * 1000) if origin in held else "",
        }
        for origin in sorted({*held, *told.log_keys})
    ]

    def people() -> None:
        columns = (Text("日志", "Log"), Text("记录数", "Entries"), Text("时间", "Time"), Text("根", "Root"))
        rows = [[one["origin"], one["size"], shown(str(one["time"])), one["root"]] for one in logs]
        call.out.table(Text("见证人 {name}", "Witness {name}").filled(name=told.name), columns, rows)

    call.out.show({"ok": True, "name": told.name, "logs": logs}, people)


def _mark(cosigned: bool | None) -> Cell:
    """Say whether a cosignature verified; None where nobody has told which key it should be."""
    if cosigned is None:
        return Cell(Text("未验证", "not verified"), UNSURE)
    return Cell(Text("有效", "valid"), GOOD) if cosigned else Cell(Text("无", "none"), BAD)


def _verdict(quorum: bool | None) -> tuple[Text, str]:
    known: dict[bool | None, tuple[Text, str]] = {
        True: (Text("达到法定数", "A quorum cosigned"), GOOD),
        False: (Text("未达到法定数", "No quorum cosigned"), BAD),
        None: (
            Text("未给出策略（--policy），未验证联署", "No policy given (--policy): nothing was verified"),
            UNSURE,
        ),
    }
    return known[quorum]
