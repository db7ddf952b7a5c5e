"""Wires a witness and runs it."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from nacl.signing import SigningKey

from exchange.clock import SystemClock
from exchange.configuration import read_passphrase
from exchange.cosignature import Cosigner
from exchange.errors import BadConfiguration, StoreDamaged
from exchange.keystore import FileKeyStore
from exchange.serving import keep_private, say_ready, serve_until_told
from exchange.telemetry import set_up_logs
from witness.config import WitnessConfig, load
from witness.judge import Witness
from witness.server import WitnessServer
from witness.store import DATABASE, SqliteWitnessStore

KEYS = "keys"
WITNESS_KEY = "witness"


@dataclass(frozen=True, slots=True)
class Serving:
    """Where a witness serves, and its key as C2SP text."""

    port: int
    key: str


def found(config: WitnessConfig) -> str:
    """Make a witness's database and key where they are missing.

    The database comes first: a key without it would be one that has forgotten what it signed.

    Returns:
        The witness's key as C2SP text.

    Raises:
        StoreDamaged: there is a key but no database, or either is damaged.
        BadConfiguration: the passphrase is wrong, or the folder cannot be used.
        WrongState: the witness is running.
    """
    keystore = _keystore(config)
    raw = keystore.get(WITNESS_KEY)
    if raw is not None and not (config.folder / DATABASE).exists():
        raise StoreDamaged(f"{DATABASE} is missing: what was cosigned is not known")
    SqliteWitnessStore(folder=config.folder, make=True).close()
    # A crash here leaves a database without a key, which the next run takes.
    if raw is None:
        keystore.put(WITNESS_KEY, bytes(SigningKey.generate()))
    return cosigner_of(config).key.text


def cosigner_of(config: WitnessConfig) -> Cosigner:
    """Return what signs.

    Raises:
        BadConfiguration: there is no key yet.
    """
    raw = _keystore(config).get(WITNESS_KEY)
    if raw is None:
        raise BadConfiguration(f"{config.folder}: shuqiao audit witness init")
    return Cosigner(name=config.name, key=SigningKey(raw))


async def run(config: WitnessConfig, stop: asyncio.Event, ready: Callable[[Serving], None]) -> None:
    """Serve until told to stop.

    Args:
        config: the witness's.
        stop: set to end.
        ready: told where it serves, once it does.
    """
    async with AsyncExitStack() as stack:
        cosigner = cosigner_of(config)
        store = SqliteWitnessStore(folder=config.folder)
        stack.callback(store.close)
        witness = Witness(cosigner=cosigner, logs=config.log_keys, store=store, clock=SystemClock())
        server = WitnessServer(witness.add_checkpoint)
        port = await server.start(config.listen)
        stack.push_async_callback(server.stop)
        ready(Serving(port=port, key=cosigner.key.text))
        await stop.wait()


def serve(config_path: Path) -> int:
    """Run a witness until SIGTERM or SIGINT.

    Returns:
        The exit code: 0 after a stop.

    Raises:
        BadConfiguration: every fault of the configuration.
        StoreDamaged: what was cosigned is not known.
    """
    keep_private()
    set_up_logs("witness")
    config = load(config_path)

    def ready(serving: Serving) -> None:
        say_ready(process="witness", port=serving.port, key=serving.key)

    serve_until_told(lambda stop: run(config, stop, ready))
    return 0


def _keystore(config: WitnessConfig) -> FileKeyStore:
    return FileKeyStore(folder=config.folder / KEYS, passphrase=read_passphrase(config.passphrase_file))
