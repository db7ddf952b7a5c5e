"""`shuqiao catalog import|export`: many entries at once, as a spreadsheet or JSON."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shuqiao.cli.invocation import Invocation, of
from shuqiao.output import BAD, GOOD, UNSURE, Cell
from shuqiao.words import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shuqiao.catalogue_file.entries import Fault, FileEntry

File = Annotated[
    Path, typer.Argument(metavar="FILE.xlsx|FILE.json", help="电子表格或 JSON 文件 | A spreadsheet, or JSON")
]
OUTCOMES = {
    "new": Cell(Text("新增", "new"), GOOD),
    "update": Cell(Text("更新", "update"), GOOD),
    "same": Cell(Text("无变化", "same"), ""),
    "breaking": Cell(Text("不兼容", "breaking"), UNSURE),
    "failed": Cell(Text("未发布", "failed"), BAD),
}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        "import", help="从文件发布多个资源（数据专员） | Publish many resources from a file (steward)"
    )(imported)
    app.command("export", help="把资源导出到文件 | Write resources to a file")(exported)


def imported(
    context: typer.Context,
    file: File,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="只检查，不发布 | Check only, publish nothing")
    ] = False,
) -> int:
    """Publish every entry of a file that differs from what is in force; nothing where a fault is found."""
    from shuqiao.catalogue_file.entries import check_entries

    call = of(context)
    found = _read(file)
    provider = call.holder.identity().organisation
    faults = [*found.faults, *check_entries(found.entries, provider=provider)]
    if faults:
        _print_faults(call, file, faults)
        return 1
    with call.gateway() as channel:
        told = [_publish(call, channel, entry, dry_run=dry_run) for entry in found.entries]
    failed = sum(one["outcome"] == "failed" for one in told)
    call.out.show({"ok": not failed, "dry_run": dry_run, "entries": told}, lambda: _print(call, file, told))
    return 1 if failed else 0


def exported(
    context: typer.Context,
    file: File,
    provider: Annotated[
        str, typer.Option("--provider", help="提供部门：信用代码或简称 | Provider: credit code or alias")
    ] = "",
    division: Annotated[
        str, typer.Option("--division", help="区划，含下级 | Division, and those below it")
    ] = "",
) -> None:
    """Write the entries in force to a file, so that they can be changed and imported again."""
    from shuqiao import catalogue
    from shuqiao.catalogue_file.document import write_document
    from shuqiao.catalogue_file.workbook import write_workbook
    from shuqiao.resource_form import form_of

    call = of(context)
    _check_name(file)
    wanted = catalogue.Search(provider=provider, division=division)
    with call.gateway() as channel:
        forms = [form_of(version.body) for version in catalogue.search(channel, wanted)]
    (write_workbook if _is_workbook(file) else write_document)(file, forms)
    said = Text("已导出 {count} 个资源：{file}", "Exported {count} resources: {file}")
    call.out.show(
        {"ok": True, "count": len(forms), "file": str(file)},
        lambda: call.out.done(said.filled(count=len(forms), file=file)),
    )


def _read(file: Path) -> Any:
    from shuqiao.catalogue_file.document import read_document
    from shuqiao.catalogue_file.workbook import read_workbook

    _check_name(file)
    return (read_workbook if _is_workbook(file) else read_document)(file)


def _check_name(file: Path) -> None:
    if file.suffix.lower() not in (".xlsx", ".json"):
        raise typer.BadParameter(f"{file}: .xlsx, .json")


def _is_workbook(file: Path) -> bool:
    return file.suffix.lower() == ".xlsx"


def _publish(call: Invocation, channel: Any, entry: "FileEntry", *, dry_run: bool) -> dict[str, Any]:
    """Publish an entry where it differs from what is in force; say what became of it."""
    from exchange.errors import ExchangeError
    from exchange.schema_change import changes
    from shuqiao import catalogue, resource_views
    from shuqiao.output import error_document
    from shuqiao.resource_form import form_of

    form = entry.form
    view: dict[str, Any] = {"id": form.id, "place": str(entry.place)}
    try:
        versions = catalogue.versions_or_none(channel, form.id)
        held = catalogue.in_force(versions)
        number = versions[-1].body.version + 1 if versions else 1
        body = call.filler.resource(form.model_copy(update={"version": number}), version=number)
        view["version"] = number
        if held is not None:
            if _same(form_of(held.body), form_of(body)):
                return view | {"outcome": "same", "version": held.body.version}
            found = [resource_views.change(one) for one in changes(held.body, body)]
            view["changes"] = found
            if any(one["breaking"] for one in found) and form.compatibility != "breaking":
                return view | {"outcome": "failed", "code": "INCOMPATIBLE"}
        if not dry_run:
            view["index"] = catalogue.publish_resource(channel, call.signer, body)
        return view | {"outcome": "update" if held else "new"}
    except ExchangeError as error:
        return view | {"outcome": "failed", "code": error.name, "error": error_document(error)["error"]}


def _same(held: Any, new: Any) -> bool:
    """Return whether two forms say the same, but for version and what the change means to others."""
    free = {"version": 0, "compatibility": ""}
    return bool(held.model_copy(update=free) == new.model_copy(update=free))


def _print(call: Invocation, file: Path, told: "Sequence[dict[str, Any]]") -> None:
    call.out.table(
        Text(f"导入 {file.name}", f"Import of {file.name}"),
        (
            Text("资源", "Resource"),
            Text("位置", "Place"),
            Text("版本", "Version"),
            Text("结果", "Outcome"),
            Text("说明", "Remark"),
        ),
        [
            [one["id"], one["place"], one.get("version", ""), OUTCOMES[one["outcome"]], _remark(one)]
            for one in told
        ],
    )


def _remark(one: dict[str, Any]) -> Text | str:
    first = next((change for change in one.get("changes", ()) if change["breaking"]), None)
    if one["outcome"] == "failed" and first:
        return Text(f"{first['subject']}：{first['zh']}", f"{first['subject']}: {first['en']}")
    if one["outcome"] == "failed":
        reason = one["error"]["reason"]
        subject = one["error"]["subject"]
        return Text(f"{one['code']} {reason['zh']}（{subject}）", f"{one['code']} {reason['en']} ({subject})")
    index = one.get("index")
    return Text(f"记录 {index}", f"entry {index}") if index is not None else ""


def _print_faults(call: Invocation, file: Path, faults: "Sequence[Fault]") -> None:
    told = [
        {
            "place": str(fault.place),
            "sheet": fault.place.sheet,
            "row": fault.place.row,
            "column": fault.place.column,
            "code": fault.code,
            "zh": fault.said.zh,
            "en": fault.said.en,
        }
        for fault in faults
    ]
    call.out.show(
        {"ok": False, "faults": told},
        lambda: call.out.table(
            Text(
                f"{file.name} 有 {len(faults)} 处问题，未发布任何资源",
                f"{file.name}: {len(faults)} faults, nothing published",
            ),
            (Text("位置", "Place"), Text("问题", "Fault"), Text("代码", "Code")),
            [[str(fault.place), fault.said, fault.code] for fault in faults],
        ),
    )
