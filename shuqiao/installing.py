"""Sets processes and people up: configuration, passphrase and identity.

A process's folder and passphrase file are named after its configuration file. What is there already is kept:
a run that failed, for instance because a second administrator has yet to approve, is simply repeated.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from exchange.clock import Clock, Random
from exchange.configuration import ProcessConfig, read_passphrase
from exchange.enrolment import enrol
from exchange.enrolment_file import EnrolmentFile, read_enrolment
from exchange.errors import BadConfiguration, ExchangeError
from exchange.trust import Verified
from shuqiao.enrolling import KEYS, folder_of
from shuqiao.examples import Place, Value, fill, read, without_blocks
from shuqiao.founding import CONTEXT, IDENTITY, PASSPHRASE, make_passphrase


def read_file(file: Path) -> EnrolmentFile:
    """Read an enrolment file.

    Raises:
        BadConfiguration: it cannot be read or is none.
    """
    try:
        return read_enrolment(file.read_bytes())
    except OSError as error:
        raise BadConfiguration(f"{file}: {error.strerror}") from error


def host_and_port(option: str, address: str) -> tuple[str, int]:
    """Return the parts of "host:port", as an option gives it.

    Raises:
        BadConfiguration: it is none.
    """
    from shuqiao.probe import host_and_port as parts

    try:
        return parts(address)
    except ValueError as error:
        raise BadConfiguration(f"{option} {address}") from error


def configuration_text(name: str, path: Path, values: Mapping[Place, Value]) -> str:
    """Return a process's annotated configuration.

    Args:
        name: "authority", "gateway" or "agent".
        path: where it will be; folder and passphrase file are named after it.
        values: what else to fill in.
    """
    own: dict[Place, Value] = {("", "folder"): path.stem, ("", "passphrase_file"): f"{path.stem}.passphrase"}
    return fill(without_blocks(read(name)), {**own, **values})


def write_configuration(path: Path, text: str) -> None:
    """Write a configuration that is not there yet.

    Raises:
        BadConfiguration: it is there already, or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise BadConfiguration(f"{path}: {error.strerror}") from error


def set_up(
    told: EnrolmentFile,
    path: Path,
    *,
    text: Callable[[], str],
    load: Callable[[Path], ProcessConfig],
    clock: Clock,
    random: Random,
) -> Verified:
    """Give a process its configuration, its passphrase and its identity.

    Args:
        told: its enrolment file; the token is used up.
        path: its configuration; written where it is missing, kept where it is not.
        text: makes the configuration.
        load: reads it, with every fault at once.
        clock, random: time, and what the passphrase is made of.

    Raises:
        ExchangeError: as `enrol`; a configuration that was written for it is gone again.
    """
    made = not path.exists()
    if made:
        write_configuration(path, text())
    try:
        config = load(path)
        if not config.passphrase_file.exists():
            make_passphrase(config.passphrase_file, random)
        passphrase = read_passphrase(config.passphrase_file)
        held = folder_of(config.folder / IDENTITY, passphrase, keys=config.folder / KEYS)
        return asyncio.run(enrol(told, held.keystore, held.folder, clock=clock))
    except ExchangeError:
        if made:
            path.unlink()
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonFiles:
    """Where a person's identity, keys, passphrase and context file are."""

    identity: Path
    keys: Path
    passphrase: Path
    context: Path


def person_files(folder: Path, random: Random) -> PersonFiles:
    """Return the files of a person below a folder, with a passphrase made where it is missing."""
    identity = folder / IDENTITY
    if not (folder / PASSPHRASE).exists():
        make_passphrase(folder / PASSPHRASE, random)
    return PersonFiles(
        identity=identity, keys=identity / KEYS, passphrase=folder / PASSPHRASE, context=folder / CONTEXT
    )
