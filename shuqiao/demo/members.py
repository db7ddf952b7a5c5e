"""Who takes part: people and processes, and how each gets its certificate by a one-time token.

Nothing is short-cut: the first administrator makes the token, the second approves it or the organisation's
steward countersigns it, and the holder makes a key of its own and has it certified.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from certs.client import AuthorityClient
from certs.tokens import COUNTERSIGNATURE, SECOND_PERSON
from exchange.clock import Random
from exchange.configuration import read_passphrase
from exchange.enrolment import IdentityFolder, enrol
from exchange.identity import Role
from shuqiao.demo.configurations import quoted
from shuqiao.demo.files import HOST, Layout, make_passphrase
from shuqiao.enrolling import KEYS, context_text, folder_of, write_private
from shuqiao.founding import CONTEXT, IDENTITY, PASSPHRASE


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Somebody to enrol.

    Args:
        role: of the certificate.
        name: of the process, or the person's id.
        organisation: credit code, for agents and stewards.
    """

    role: Role
    name: str
    organisation: str = ""


class Registry:
    """Enrols members and keeps who they became.

    Args:
        layout: where everything is.
        admins: ids of the two administrators, enrolled by the founding.
        enrolment, service: addresses of the authority.
        random: for the passphrases.
    """

    def __init__(
        self, layout: Layout, *, admins: tuple[str, str], enrolment: str, service: str, random: Random
    ) -> None:
        self._layout = layout
        self._enrolment = enrolment
        self._service = service
        self._random = random
        self._admins = admins
        self._held: dict[str, IdentityFolder] = {}
        self._stewards: dict[str, str] = {}

    def held(self, name: str) -> IdentityFolder:
        """Return the identity of a member."""
        if name not in self._held:
            folder = self._layout.people / name
            identity = folder / IDENTITY
            self._held[name] = folder_of(identity, read_passphrase(folder / PASSPHRASE), keys=identity / KEYS)
        return self._held[name]

    def authority(self, name: str) -> AuthorityClient:
        """Return the authority as a member sees it."""
        held = self.held(name)
        return AuthorityClient(held, service_address=self._service, enrolment_address=self._enrolment)

    def enrol(self, members: Sequence[Member]) -> None:
        """Enrol members, one after the other: an organisation's second key needs its first."""

        async def each() -> None:
            for member in members:
                await self._enrol(member)

        asyncio.run(each())

    async def _enrol(self, member: Member) -> None:
        first, second = self._admins
        made = await self.authority(first).create_token(
            member.role,
            name=member.name,
            organisation=member.organisation,
            hosts=(HOST, "localhost") if member.role is Role.GATEWAY else (),
        )
        if made.needs == SECOND_PERSON:
            await self.authority(second).approve(made.token_id)
        elif made.needs == COUNTERSIGNATURE:
            steward = self._stewards[member.organisation]
            await self.authority(steward).countersign(made.token_id, made.file.identity)
        held = self._folder(member)
        await enrol(made.file, held.keystore, held.folder)
        self._held[member.name] = held
        if member.role is Role.STEWARD:
            self._stewards[member.organisation] = member.name

    def _folder(self, member: Member) -> IdentityFolder:
        """Processes keep keys and identity in their own folder, people in one below `people`."""
        layout = self._layout
        if member.role in (Role.AGENT, Role.GATEWAY):
            process = "gateway" if member.role is Role.GATEWAY else member.name
            home = layout.home(process)
            passphrase = make_passphrase(layout.passphrase(process), self._random)
            return folder_of(home / IDENTITY, passphrase, keys=home / KEYS)
        folder = layout.people / member.name
        identity = folder / IDENTITY
        return folder_of(identity, make_passphrase(folder / PASSPHRASE, self._random), keys=identity / KEYS)

    def write_context(
        self, name: str, *, gateway: str, log: str = "", agent: str = "", token: Path | None = None
    ) -> None:
        """Write the context file with which a person uses the command.

        Args:
            name: the person's id.
            gateway: its address.
            log: address of its log.
            agent: local address of the agent that the person may ask through.
            token: the file with the token for it.
        """
        folder = self._layout.people / name
        held = self.held(name)
        text = context_text(
            held.enrolment(),
            identity=folder / IDENTITY,
            keys=folder / IDENTITY / KEYS,
            passphrase_file=folder / PASSPHRASE,
        )
        lines = [line for line in text.splitlines() if not line.startswith("gateway = ")]
        lines.append(f"gateway = {quoted(gateway)}")
        if log:
            lines.append(f"log = {quoted(log)}")
        if agent and token is not None:
            lines += [f"agent = {quoted(agent)}", f"agent_token_file = {quoted(str(token))}"]
        write_private(folder / CONTEXT, "\n".join([*lines, ""]).encode())
