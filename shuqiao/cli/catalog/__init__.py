"""`shuqiao catalog`: the catalogue of a region; one module per kind of work."""

import typer

from shuqiao.cli.catalog import changing, files, reading

app = typer.Typer(name="catalog", help="资源目录 | The catalogue")
for module in (reading, changing, files):
    module.register(app)
