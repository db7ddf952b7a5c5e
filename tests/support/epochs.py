"""Opens epochs of a house's log, step by step, as two administrators at a stopped gateway do."""

from collections.abc import Sequence
from pathlib import Path

from exchange.clock import SystemClock
from exchange.identity import Identity
from exchange.log_keys import Epoch, read_epoch
from exchange.v1 import common_pb2
from gateway.audit.epochs.log_folder import LogFolder
from gateway.audit.epochs.opening import open_epoch
from gateway.audit.epochs.proposal import propose
from gateway.audit.epochs.stopped_gateway import log_folder
from gateway.config import AuthorityAddress, GatewayConfig
from shuqiao import opening_file
from tests.support.house import House
from tests.support.running_authority import admin_folder

CLOCK = SystemClock()
NOTE = "disk failed, restored from the copy of the night"


async def folder_of(house: House) -> LogFolder:
    """Read the folder of the house's stopped gateway."""
    where = house.region.addresses
    config = GatewayConfig(
        folder=house.folder / "gateway-1",
        passphrase_file=house.folder / "passphrase",
        authority=AuthorityAddress(enrolment=where["enrolment_address"], service=where["service_address"]),
    )
    return await log_folder(config, CLOCK)


async def proposed(house: House, *, heads: Sequence[Path] = (), keep: int | None = None) -> bytes:
    return propose(await folder_of(house), heads=heads, note=NOTE, keep=keep, clock=CLOCK)


def signed(house: House, body: bytes, *names: str) -> list[common_pb2.Statement]:
    """Have administrators sign a body, one after the other."""
    statements: list[common_pb2.Statement] = []
    for name in names:
        held = admin_folder(house.folder, name)
        statements = opening_file.sign(body, statements, held.statement_signer(), held.anchor(), CLOCK)
    return statements


async def opened(house: House, statements: Sequence[common_pb2.Statement]) -> Epoch:
    epoch, people = open_epoch(await folder_of(house), statements, now_ms=CLOCK.now_ms())
    assert {person.name for person in people} == {"wang", "li"}
    assert read_epoch(statements[0].body) == epoch
    return epoch


def person(house: House, name: str) -> Identity:
    return admin_folder(house.folder, name).identity()
