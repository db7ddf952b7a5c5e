"""Where the files of a demonstration lie.

```
DIR/authority.toml, authority/, authority.log       DIR/gateway.toml, gateway/, gateway.log
DIR/agents/<name>.toml, agents/<name>/              DIR/<name>.log
DIR/people/<name>/{identity,passphrase,context.toml} DIR/databases/<name>.db
```
"""

from dataclasses import dataclass
from pathlib import Path

from exchange.clock import Random
from shuqiao.enrolling import write_private

HOST = "127.0.0.1"
PASSPHRASE_BYTES = 24
MAX_SOCKET_BYTES = 100
"""Longest path of a Unix socket that an agent takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where everything is.

    Args:
        root: the demonstration's folder, absolute.
    """

    root: Path

    @property
    def people(self) -> Path:
        """The folder of the people's folders."""
        return self.root / "people"

    @property
    def databases(self) -> Path:
        """The folder of the departments' databases."""
        return self.root / "databases"

    def home(self, process: str) -> Path:
        """Return a process's folder."""
        return self._beside(process, "")

    def config(self, process: str) -> Path:
        """Return a process's configuration."""
        return self._beside(process, ".toml")

    def passphrase(self, process: str) -> Path:
        """Return the file with a process's passphrase."""
        return self._beside(process, ".passphrase")

    def log(self, process: str) -> Path:
        """Return the file that takes a process's log."""
        return self.root / f"{process}.log"

    def token(self, agent: str) -> Path:
        """Return the file with the token by which a department's system calls its agent."""
        return self._beside(agent, ".token")

    def _beside(self, process: str, suffix: str) -> Path:
        folder = self.root if process in ("authority", "gateway") else self.root / "agents"
        return folder / f"{process}{suffix}"


def make_passphrase(file: Path, random: Random) -> bytes:
    """Write a new passphrase into a file of mode 0600 and return it."""
    passphrase = random(PASSPHRASE_BYTES).hex().encode()
    write_private(file, passphrase + b"\n")
    return passphrase


def socket_address(layout: Layout, agent: str) -> str:
    """Return an agent's gRPC address: a Unix socket, or loopback where the path would be too long for one."""
    path = layout.home(agent).with_suffix(".sock")
    return f"unix://{path}" if len(str(path).encode()) <= MAX_SOCKET_BYTES else f"{HOST}:0"
