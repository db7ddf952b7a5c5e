"""`shuqiao gateway`: runs a region's gateway."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(name="gateway", help="网关 | The gateway of a region")

Config = Annotated[Path, typer.Option("--config", help="配置文件（TOML） | Configuration file (TOML)")]


@app.command("serve", help="运行网关 | Run the gateway")
def serve(config: Config) -> int:
    """Run the gateway until it is told to stop; return its exit code."""
    from gateway.app import serve as run

    return run(config)
