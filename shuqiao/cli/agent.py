"""`shuqiao agent`: runs a department's agent."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(name="agent", help="前置节点 | The agent of a department")

Config = Annotated[Path, typer.Option("--config", help="配置文件（TOML） | Configuration file (TOML)")]


@app.command("serve", help="运行前置节点 | Run the agent")
def serve(config: Config) -> int:
    """Run the agent until it is told to stop; return its exit code."""
    from agent.app import serve as run

    return run(config)
