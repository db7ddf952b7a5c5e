"""Founds an authority from its configuration, with a folder and a context file for each first administrator.

Every folder gets a passphrase of its own. In production the administrators take their folders to machines of
their own and delete them here.
"""

from collections.abc import Sequence
from pathlib import Path

from certs.config import AuthorityConfig
from certs.founding import initialise
from exchange.clock import Clock, Random
from exchange.configuration import read_passphrase
from exchange.enrolment_file import EnrolmentFile
from exchange.errors import BadConfiguration
from exchange.identity import Identity
from shuqiao.enrolling import KEYS, context_text, folder_of, write_private

PASSPHRASE_BYTES = 24
IDENTITY, PASSPHRASE, CONTEXT = "identity", "passphrase", "context.toml"


def found_authority(
    config: AuthorityConfig, *, admins: Sequence[str], out: Path, clock: Clock, random: Random
) -> list[Identity]:
    """Make the authority's folder, and below `out` a folder for each administrator.

    Args:
        config: of the authority; its passphrase file is made where it is missing.
        admins: ids of at least two people.
        out: each administrator's folder is `out`/<id>, with identity, passphrase and context file.
        clock: the time.
        random: for the passphrases.

    Returns:
        The administrators.

    Raises:
        BadConfiguration: an authority or a folder is there already, or an argument will not do.
    """
    taken = [str(out / name) for name in admins if (out / name).exists()]
    if taken or len(set(admins)) != len(admins):
        raise BadConfiguration(f"--admin: {', '.join(taken) or 'twice'}")
    if not config.passphrase_file.exists():
        make_passphrase(config.passphrase_file, random)
    for name in admins:
        make_passphrase(out / name / PASSPHRASE, random)
    host = config.listen.hosts[0]
    people = initialise(
        config.folder,
        division=config.division,
        trust_domain=config.trust_domain,
        passphrase=read_passphrase(config.passphrase_file),
        admins={name: (out / name / IDENTITY, read_passphrase(out / name / PASSPHRASE)) for name in admins},
        hosts=config.listen.hosts,
        enrolment_address=f"{host}:{config.listen.enrolment_port}",
        service_address=f"{host}:{config.listen.service_port}",
        lifetimes=config.lifetimes.lifetimes(),
        clock=clock,
    )
    for name in admins:
        _write_context(out / name)
    return people


def make_passphrase(file: Path, random: Random) -> None:
    """Write a new passphrase into a file that only its owner may read."""
    write_private(file, random(PASSPHRASE_BYTES).hex().encode() + b"\n")


def _write_context(folder: Path) -> None:
    identity = folder / IDENTITY
    held = folder_of(identity, read_passphrase(folder / PASSPHRASE), keys=identity / KEYS)
    told: EnrolmentFile = held.enrolment()
    text = context_text(
        told,
        identity=identity,
        keys=identity / KEYS,
        passphrase_file=folder / PASSPHRASE,
        beside=folder,
    )
    write_private(folder / CONTEXT, text.encode())
