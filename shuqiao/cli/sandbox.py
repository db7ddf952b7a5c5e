"""`shuqiao sandbox`: a region of one's own with synthetic data, and the checklist before service."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shuqiao.cli.invocation import Invocation, of
from shuqiao.output import BAD, GOOD, UNSURE, Cell
from shuqiao.words import Text

if TYPE_CHECKING:
    from shuqiao.demo.world import World
    from shuqiao.sandbox.checklist import Item
    from shuqiao.sandbox.region import Plan
    from shuqiao.sandbox.samples import Sample

app = typer.Typer(
    name="sandbox", help="沙箱：合成数据的完整区域 | Sandbox: a whole region with synthetic data"
)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="沙箱目录 | The sandbox's folder")]
FAILED = 1
CASE, MATTER = "SANDBOX-1", "trial"
"""What the commands to try name."""


@app.command("init", help="由目录建立沙箱 | Make a sandbox from a catalogue")
def init(
    context: typer.Context,
    folder: Folder,
    catalogue: Annotated[
        list[Path],
        typer.Option(
            "--catalogue",
            help="导出的目录（JSON）或资源文件（TOML），可重复"
            " | Exported catalogue (JSON) or a resource's file (TOML), repeatable",
        ),
    ],
    grant: Annotated[
        list[Path] | None,
        typer.Option(
            "--grant", help="授权申请文件；不写则全部可共享项 | Grant application; all shared fields else"
        ),
    ] = None,
    purpose: Annotated[
        list[str] | None, typer.Option("--purpose", help="用途，可重复 | Purpose, repeatable")
    ] = None,
    matter: Annotated[
        list[str] | None, typer.Option("--matter", help="事项，可重复 | Matter, repeatable")
    ] = None,
    application: Annotated[
        list[str] | None,
        typer.Option("--application", help="业务系统名称，可重复 | Name of a system, repeatable"),
    ] = None,
    consumer: Annotated[
        str,
        typer.Option("--consumer", help="本部门统一社会信用代码 | Credit code of the department that asks"),
    ] = "",
    claims: Annotated[
        bool, typer.Option("--claims", help="办件编号仅为声明 | Case numbers are claims, not events")
    ] = False,
) -> None:
    """Found a region, enrol everybody, publish the catalogue, grant it; then stop everything."""
    from exchange.errors import BadConfiguration
    from shuqiao import forms
    from shuqiao.demo.world import World
    from shuqiao.sandbox.catalogue import read_catalogue
    from shuqiao.sandbox.region import Sandbox, settings_of

    call = of(context)
    if folder.exists() and any(folder.iterdir()):
        raise BadConfiguration(f"{folder}: not empty")
    entries = read_catalogue(catalogue)
    applied = [forms.read_form(forms.GrantForm, file) for file in grant or []]
    grants = {form.resource: form for form in applied}
    with World(folder, settings=settings_of(entries)) as world:
        plan = Sandbox(world, entries=entries, grants=grants, random=call.random).make(
            consumer=consumer,
            purposes=purpose or sorted({one for form in applied for one in form.purposes}) or ["sandbox"],
            matters=matter or sorted({one for form in applied for one in form.matters}),
            systems=application or [],
            events=not claims,
        )
    said = Text(
        "沙箱已建立：{n} 项资源，{p} 个提供部门。启动：shuqiao sandbox serve {folder}",
        "Sandbox made: {n} resources of {p} providers. Start it: shuqiao sandbox serve {folder}",
    )
    call.out.show(
        {"ok": True, "folder": str(folder), "resources": list(plan.resources), "consumer": plan.consumer},
        lambda: call.out.done(said.filled(n=len(plan.resources), p=len(plan.providers), folder=folder)),
    )


@app.command("serve", help="运行沙箱，直至中断 | Run a sandbox until it is interrupted")
def serve(context: typer.Context, folder: Folder) -> int:
    """Start every process, say what to call, and wait."""
    import threading

    from shuqiao.demo.run import interruptible
    from shuqiao.demo.world import World
    from shuqiao.sandbox.region import read_plan, settings_of_plan, start

    call = of(context)
    plan = read_plan(folder)
    with interruptible(), World(folder, settings=settings_of_plan(plan)) as world:
        start(world, plan)
        _say(call, world, plan)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            call.out.say(Text("沙箱已停止", "sandbox stopped"))
    return 0


@app.command("checklist", help="上线前清单，按沙箱日志核对 | Checklist before service, measured from the log")
def checked(
    context: typer.Context,
    folder: Folder,
    application: Annotated[str, typer.Option("--application", help="业务系统名称 | Name of the system")],
    resource: Annotated[
        list[str] | None,
        typer.Option("--resource", help="资源，可重复；不写则全部 | Resource, repeatable; all else"),
    ] = None,
) -> int:
    """Print what was seen of an application and what is missing; 1 while something measured is."""
    from exchange.errors import BadConfiguration
    from shuqiao.demo.files import Layout
    from shuqiao.demo.world import GATEWAY
    from shuqiao.sandbox.checklist import checklist
    from shuqiao.sandbox.evidence import read_record
    from shuqiao.sandbox.region import read_plan

    call = of(context)
    plan = read_plan(folder)
    wanted = resource or list(plan.resources)
    unknown = sorted(set(wanted) - set(plan.resources))
    if unknown:
        raise BadConfiguration(f"--resource {unknown[0]}")
    record = read_record(
        Layout(root=folder.absolute()), gateway=GATEWAY, consumer=plan.consumer, application=application
    )
    items = checklist(record, wanted, events=plan.events)
    missing = [item for item in items if item.missing]
    call.out.show(
        {
            "ok": not missing,
            "application": application,
            "items": [
                {
                    "key": item.key,
                    "resource": item.resource,
                    "sort": item.sort,
                    "done": item.done,
                    "seen": item.seen,
                    "zh": item.says.zh,
                    "en": item.says.en,
                }
                for item in items
            ],
        },
        lambda: _table(call, application, items),
    )
    return FAILED if missing else 0


def _table(call: Invocation, application: str, items: "list[Item]") -> None:
    language = call.out.language
    columns = (
        Text("项目", "Item"),
        Text("资源", "Resource"),
        Text("结果", "Result"),
        Text("依据", "Seen in"),
    )
    rows = [[item.says.of(language), item.resource, _result(call, item), item.seen] for item in items]
    title = Text("上线前清单：{name}", "Checklist before service: {name}").filled(name=application)
    call.out.table(title, columns, rows)
    call.out.say(
        Text(
            "“依据”为日志序号或次数。标“待签”的由责任人确认并签名：姓名________ 日期________",
            "“Seen in” are indexes of the log, or counts. To be signed: name ________ date ________",
        )
    )


def _result(call: Invocation, item: "Item") -> Cell:
    if item.done is None:
        return Cell(Text("待签", "to be signed").of(call.out.language), UNSURE)
    if item.done:
        return Cell(Text("通过", "seen").of(call.out.language), GOOD)
    word = Text("缺", "missing") if item.missing else Text("未见", "not seen")
    return Cell(word.of(call.out.language), BAD if item.missing else UNSURE)


def _say(call: Invocation, world: "World", plan: "Plan") -> None:
    """Say where the consumer's agent listens, which keys find a record, and how to ask."""
    from exchange.identity import parse_uri
    from shuqiao.sandbox.region import CONSUMER
    from shuqiao.sandbox.samples import samples

    told = world.processes[CONSUMER].told
    keys = [sample for agent in plan.providers for sample in samples(world.layout, agent)]
    root = world.layout.root
    tokens = {name: str(root / "applications" / name / "token") for name in plan.applications}
    tokens = tokens or {"counter": str(world.layout.token(CONSUMER))}
    document = {
        "ok": True,
        "http": str(told["http"]),
        "grpc": str(told["grpc"]),
        "tokens": tokens,
        "people": str(root / "people"),
        "participants": [
            parse_uri(str(world.processes[agent].told["spiffe_id"])).organisation for agent in plan.providers
        ],
        "samples": [sample._asdict() for sample in keys],
    }
    call.out.show(document, lambda: _guide(call, document, keys, plan))


def _guide(call: Invocation, document: "dict[str, object]", keys: "Sequence[Sample]", plan: "Plan") -> None:
    out = call.out
    out.done(Text("沙箱已启动，按 Ctrl-C 停止", "The sandbox runs; Ctrl-C stops it"))
    tokens = document["tokens"]
    assert isinstance(tokens, dict)
    pairs: list[tuple[Text, object]] = [
        (Text("HTTP", "HTTP"), f"http://{document['http']}/docs"),
        (Text("gRPC 与 SDK", "gRPC and SDK"), document["grpc"]),
        *((Text(f"令牌 {name}", f"Token of {name}"), path) for name, path in tokens.items()),
        (Text("人员的上下文文件", "Context files of people"), f"{document['people']}/*/context.toml"),
    ]
    out.facts(Text("调用", "What to call"), pairs)
    for sample in keys:
        resource, found, nobody = sample
        shown = [
            (Text("查得到", "finds a record"), json.dumps(found, ensure_ascii=False)),
            (Text("查无记录", "finds none"), json.dumps(nobody, ensure_ascii=False)),
        ]
        out.facts(Text(resource, resource), shown)
    out.raw(calls_to_try(document, keys[0], plan))


def calls_to_try(document: "dict[str, object]", sample: "Sample", plan: "Plan") -> str:
    """Return commands that run as they are; where cases are events the first of them opens one."""
    import json

    tokens = document["tokens"]
    assert isinstance(tokens, dict)
    path = next(iter(tokens.values()))
    matter = plan.matters[0] if plan.matters else MATTER
    asked: dict[str, object] = {
        "resource": sample.resource,
        "parameters": sample.found,
        "purpose": plan.purposes[0],
        "matter": matter,
        "case": CASE,
        "operator": "op-1",
    }
    bodies = [("query", asked)]
    if plan.events:
        opened = {"case": CASE, "matter": matter, "participants": document["participants"], "days": 30}
        bodies.insert(0, ("cases", opened))
    return "\n" + "".join(
        f'  curl -s http://{document["http"]}/v1/{name} -H "Authorization: Bearer $(cat {path})" \\\n'
        f"    -H 'Content-Type: application/json' -d '{json.dumps(body, ensure_ascii=False)}'\n\n"
        for name, body in bodies
    )
