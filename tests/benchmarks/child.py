"""One process of the measured world: authority, gateway, agent, consumer, faces or echo, and its file."""

import sys
from pathlib import Path

from exchange.tls import prepare_environment


def main(kind: str, path: Path) -> int:
    """Run one process until SIGTERM."""
    prepare_environment()
    if kind == "authority":
        from certs.app import serve
    elif kind == "gateway":
        from gateway.app import serve
    elif kind == "agent":
        from agent.app import serve
    elif kind == "faces":
        from tests.benchmarks.faces_process import serve
    elif kind == "consumer":
        from tests.benchmarks.consumer_process import serve
    else:
        from tests.benchmarks.echo import serve
    return serve(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
