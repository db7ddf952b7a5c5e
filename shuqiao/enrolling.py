"""Enrolment as a person does it: tokens become files, files become identity folders and context files."""

import json
from collections.abc import Sequence
from pathlib import Path

from exchange.configuration import read_passphrase
from exchange.durable import replace_file
from exchange.enrolment import IdentityFolder
from exchange.enrolment_file import EnrolmentFile
from exchange.errors import BadConfiguration
from exchange.identity import Identity, Role
from exchange.keystore import FileKeyStore
from exchange.trust import TrustedGateway, read_gateway
from exchange.v1 import common_pb2, trust_pb2
from shuqiao.context import Context

KEYS = "keys"
"""Folder of the encrypted keys inside a person's identity folder; agents and gateways have it beside."""

CONTEXT = """\
# 由 shuqiao certs enrol 生成 · made by `shuqiao certs enrol`
{gateway}
authority = {authority}
enrolment = {enrolment}
identity = {identity}
keys = {keys}
passphrase_file = {passphrase}
"""
NO_GATEWAY = "# gateway：取信任列表所列 · the one that the trust list names"


def folder_of(identity: Path, passphrase: bytes, *, keys: Path) -> IdentityFolder:
    """Return an identity folder with the folder of its encrypted key."""
    return IdentityFolder(identity, FileKeyStore(folder=keys, passphrase=passphrase))


def held_by(context: Context) -> IdentityFolder:
    """Return the identity folder that a context names.

    Raises:
        BadConfiguration: it names none, or the passphrase is wrong.
    """
    passphrase = read_passphrase(context.passphrase_file)
    if not context.identity.is_dir():
        raise BadConfiguration(f"{context.identity}: not enrolled")
    return folder_of(context.identity, passphrase, keys=context.keys or context.identity / KEYS)


def gateways_of(statement: common_pb2.Statement) -> tuple[TrustedGateway, ...]:
    """Return the gateways that a trust list names."""
    body = trust_pb2.TrustListBody.FromString(statement.body)
    return tuple(read_gateway(gateway) for gateway in body.gateways)


def enrolment_file(
    known: EnrolmentFile,
    gateways: tuple[TrustedGateway, ...],
    *,
    role: str,
    organisation: str,
    name: str,
    division: str,
    hosts: Sequence[str],
    token: str,
) -> EnrolmentFile:
    """Return the one file from which somebody enrols.

    Args:
        known: where the authority is and which root it has, from the administrator's own enrolment.
        gateways: of the newest trust list.
        role: for example "agent".
        organisation: credit code, for agents and stewards.
        name: of the agent or gateway, or the person's id.
        division: 6 digits; the administrator's own where empty.
        hosts: of a gateway.
        token: the one-time secret.
    """
    who = Identity(
        known.identity.trust_domain, division or known.identity.division, Role(role), organisation, name
    )
    return EnrolmentFile(
        enrolment_address=known.enrolment_address,
        service_address=known.service_address,
        root_pem=known.root_pem,
        gateways=gateways,
        identity=who,
        hosts=tuple(hosts),
        token=token,
    )


def write_private(file: Path, content: bytes) -> None:
    """Write a file that only its owner may read.

    Raises:
        BadConfiguration: it cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, content)
    except OSError as error:
        raise BadConfiguration(f"{file}: {error.strerror}") from error


def context_text(
    file: EnrolmentFile, *, identity: Path, keys: Path, passphrase_file: Path, beside: Path | None = None
) -> str:
    """Return a context file for a person or process that has just enrolled.

    A gateway that is not known yet is left out: the command then takes the one that the trust list names.

    Args:
        file: from which they enrolled.
        identity, keys, passphrase_file: where these are.
        beside: folder of the context file; what lies below it is named relative to it, so that the folder
            can be taken to another machine.
    """

    def place(path: Path) -> str:
        whole = path.absolute()
        inside = beside is not None and whole.is_relative_to(beside.absolute())
        return _quoted(str(whole.relative_to(beside.absolute()) if beside and inside else whole))

    addresses = [address for gateway in file.gateways for address in gateway.addresses]
    return CONTEXT.format(
        gateway=f"gateway = {_quoted(addresses[0])}" if addresses else NO_GATEWAY,
        authority=_quoted(file.service_address),
        enrolment=_quoted(file.enrolment_address),
        identity=place(identity),
        keys=place(keys),
        passphrase=place(passphrase_file),
    )


def _quoted(text: str) -> str:
    """A JSON string is a TOML basic string."""
    return json.dumps(text, ensure_ascii=False)
