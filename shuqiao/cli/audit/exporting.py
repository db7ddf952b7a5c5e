"""`shuqiao audit export`: takes the log away; the options choose the form, each in a module of its own."""

import typer

from shuqiao.cli.audit import evidence as bundles
from shuqiao.cli.audit import export_records, export_tiles
from shuqiao.cli.audit.evidence import EvidenceOptions
from shuqiao.cli.audit.export_records import RecordOptions
from shuqiao.cli.audit.export_tiles import TileOptions
from shuqiao.cli.audit.filters import FilterOptions, filter_from
from shuqiao.cli.audit.options import taking
from shuqiao.cli.invocation import of

FORMS = "--tiles | --evidence | --ocsf | --csv | --parquet | --syslog"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export", help="导出日志 | Take the log away")(taking(export))


def export(
    context: typer.Context,
    tiles: TileOptions,
    bundle: EvidenceOptions,
    records: RecordOptions,
    wanted: FilterOptions,
) -> int:
    """Export in the form that was chosen; exactly one must be."""
    from exchange.errors import BadConfiguration

    call = of(context)
    if (tiles.tiles is not None) + (bundle.evidence is not None) + records.chosen != 1:
        raise BadConfiguration(FORMS)
    if bundle.evidence is not None:
        return bundles.run(call, bundle, records.first, filter_from(wanted))
    if records.chosen:
        export_records.run(call, records, filter_from(wanted))
    else:
        export_tiles.run(call, tiles)
    return 0
