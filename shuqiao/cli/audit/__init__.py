"""`shuqiao audit`: everything people do with a gateway's log; one module per kind of work."""

import typer

from shuqiao.cli.audit import exporting, proving, reading

app = typer.Typer(name="audit", help="审计 | The audit log")
for module in (reading, proving, exporting):
    module.register(app)
