"""What the agent knows of its region from signed statements alone: resources, and its organisation's grants.

Invariants: nothing is taken over whose signature does not verify up to the pinned root; a grant's revision
and a resource's version only count up, whatever a gateway serves; what was taken over is on disk first.
A gateway that withholds an event leaves the agent with what was signed before it: a grant whose revocation is
withheld lives on here until the event comes (docs/threat-model.md).
"""

import sqlite3
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Protocol

import structlog
from google.protobuf.message import DecodeError

from agent import shelf
from agent.names import Names
from agent.shelf import Shelf
from exchange import canonical, grants
from exchange.catalogue_review import reviewer_of
from exchange.clock import Clock
from exchange.errors import ExchangeError, StoreDamaged, UnknownResource, Withdrawn, WrongState
from exchange.grant_body import read_grant
from exchange.grants import Grant
from exchange.identity import Identity
from exchange.log_keys import Epoch, check_opening
from exchange.region_rules import NO_RULES, RegionRules
from exchange.resources import Resource, parse_resource
from exchange.statement import check_one_body
from exchange.trust import TrustAnchor, TrustList
from exchange.v1 import audit_pb2, common_pb2, directory_pb2

SCHEMA = """
CREATE TABLE IF NOT EXISTS organisation (credit_code TEXT PRIMARY KEY, statement BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS grant_ (grant_id BLOB PRIMARY KEY, statement BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS event (grant_id BLOB, revision INTEGER, statement BLOB NOT NULL,
    signer TEXT NOT NULL, PRIMARY KEY (grant_id, revision));
CREATE TABLE IF NOT EXISTS cursor (origin TEXT PRIMARY KEY, next INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS epoch (origin TEXT PRIMARY KEY, statement BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS kept (kind TEXT, key TEXT, value BLOB NOT NULL, PRIMARY KEY (kind, key));
"""

SUPERVISORS = "supervisor"
"""Kind under which it is kept who had to approve an event, by grant and revision: rules change later."""

Changed = Callable[[Grant], None]
Opened = Callable[[Epoch, int], None]
"""Told what an entry opens that two administrators signed, and its index; raises where it must not count."""


class EventRegister(Protocol):
    """Takes over events of some acts."""

    @property
    def acts(self) -> Collection[int]:
        """Its acts."""
        ...

    def take(self, act: audit_pb2.AdministrativeEntry, index: int, at_ms: int) -> None:
        """Take over an event that proves itself; durable on return.

        Args:
            act: of the log, verbatim; nothing in it was verified.
            index: of its entry.
            at_ms: when it was entered, Unix milliseconds, not after now.

        Raises:
            StoreDamaged: it cannot be written down; it comes again.
            ExchangeError: it does not verify; it is left out.
        """
        ...


class RegionView:
    """Resources and grants, durable, verified.

    Args:
        path: the SQLite file.
        origin: of the log whose events move the cursor; another gateway's log has a cursor of its own.
        anchor: the pinned root.
        trust: the newest trust list.
        clock: the time.
    """

    def __init__(
        self,
        *,
        path: Path,
        origin: str,
        anchor: TrustAnchor,
        trust: Callable[[], TrustList | None],
        clock: Clock,
    ) -> None:
        self._origin = origin
        self._anchor = anchor
        self._trust = trust
        self._clock = clock
        self._log = structlog.get_logger("agent.region")
        self._names = Names()
        self._rules: RegionRules = NO_RULES
        self._shelf = Shelf(
            write=self._write,
            verify=self._signer,
            names=self._names,
            reviewer=lambda provider: reviewer_of(self._rules, provider),
        )
        self._grants: dict[bytes, Grant] = {}
        self._subscribers: list[Changed] = []
        self._bundle_subscribers: list[Callable[[common_pb2.Statement], None]] = []
        self._epoch_subscribers: list[Opened] = []
        self._registers: dict[int, EventRegister] = {}
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(SCHEMA + shelf.SCHEMA)
        self.cursor = 0
        self._load()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def subscribe(self, changed: Changed) -> None:
        """Have a function called with each grant that is new or has changed."""
        self._subscribers.append(changed)

    def subscribe_bundles(self, told: Callable[[common_pb2.Statement], None]) -> None:
        """Have a function called with each key bundle that is logged under the agent's organisation."""
        self._bundle_subscribers.append(told)

    def subscribe_epochs(self, opened: Opened) -> None:
        """Have a function called with each epoch of the log that was opened after a loss."""
        self._epoch_subscribers.append(opened)

    def use_rules(self, rules: RegionRules) -> None:
        """Go by the region's rules that hold from the next event on."""
        self._rules = rules

    def government(self, code: str) -> bool:
        """Return whether an organisation is a government body; one that no administrator named is none."""
        return self._names.government(code)

    def add(self, register: "EventRegister") -> None:
        """Have a register told of its acts; before the first event is taken."""
        for act in register.acts:
            self._registers[act] = register

    def keep(self, kind: str, key: str, value: bytes) -> None:
        """Keep something of a register, durable on return, in place of what was kept under that key.

        Raises:
            StoreDamaged.
        """
        self._write("INSERT OR REPLACE INTO kept VALUES (?, ?, ?)", (kind, key, value))

    def forget(self, kind: str, key: str) -> None:
        """Keep something no longer.

        Raises:
            StoreDamaged.
        """
        self._write("DELETE FROM kept WHERE kind = ? AND key = ?", (kind, key))

    def kept(self, kind: str) -> dict[str, bytes]:
        """Return what is kept of a kind, by key."""
        return dict(self._db.execute("SELECT key, value FROM kept WHERE kind = ?", (kind,)))

    def signers(
        self, statements: Sequence[common_pb2.Statement], domain: bytes, *, at_ms: int
    ) -> list[Identity]:
        """Return who signed each of several statements over one body.

        Raises:
            BadSignature: the bodies differ, or a signature does not verify.
            NoIdentity, CertificateExpired, Revoked, Oversized.
        """
        check_one_body(statements)
        return [
            self._anchor.verify_statement(statement, domain, at_ms=at_ms, trust=self._trust()).identity
            for statement in statements
        ]

    def follow(self, origin: str, kept: int) -> None:
        """Go on with the events of a log that goes on after a loss.

        Args:
            origin: of the log from here on.
            kept: how many entries of the one before are still there: events below are the same in both.
        """
        before, self._origin = self.cursor, origin
        row = self._db.execute("SELECT next FROM cursor WHERE origin = ?", (origin,)).fetchone()
        self.cursor = row[0] if row else min(before, kept)

    def saw_opened(self, origin: str) -> bool:
        """Return whether the entry that opened an epoch was seen and taken."""
        return bool(self._db.execute("SELECT 1 FROM epoch WHERE origin = ?", (origin,)).fetchone())

    def resource(self, resource_id: str) -> Resource:
        """Return a resource.

        Raises:
            UnknownResource: none is in force, as far as the agent knows.
            Withdrawn: it was taken out of the catalogue.
        """
        found = self._shelf.get(resource_id)
        if found is None and self._shelf.withdrawn(resource_id):
            raise Withdrawn(resource_id)
        if found is None:
            raise UnknownResource(resource_id)
        return found

    def withdrawn(self, resource_id: str) -> bool:
        """Return whether a resource was taken out of the catalogue for good."""
        return self._shelf.withdrawn(resource_id)

    def provider(self, resource_id: str) -> str:
        """Return the credit code of whose a resource is, or was before it was withdrawn.

        Raises:
            UnknownResource: no version of it was ever in force, as far as the agent knows.
        """
        found = self._shelf.provider(resource_id)
        if found is None:
            raise UnknownResource(resource_id)
        return found

    def resources(self) -> list[Resource]:
        """Return all resources in force."""
        return self._shelf.all()

    def grant(self, grant_id: bytes) -> Grant | None:
        """Return a grant by its content address of 32 bytes."""
        return self._grants.get(grant_id)

    def grants(self) -> list[Grant]:
        """Return all grants the agent's organisation is a party to."""
        return list(self._grants.values())

    def take_event(self, event: directory_pb2.Event) -> None:
        """Take over an event of the region's log if it proves itself, and move the cursor.

        What does not verify is left out, logged and counted against nobody: the state stays what it was.

        Raises:
            StoreDamaged: it cannot be written down; neither state nor cursor has moved.
        """
        try:
            entry = audit_pb2.AuditEntry.FromString(event.leaf)
        except DecodeError:
            entry = audit_pb2.AuditEntry()
        act = entry.administrative
        try:
            at_ms = max(0, min(entry.time_ms, self._clock.now_ms()))
            register = self._registers.get(act.act)
            if register is not None:
                register.take(act, event.index, at_ms)
            elif act.act == audit_pb2.ACT_LOG_EPOCH:
                self._open_epoch(act, event.index, at_ms)
            else:
                self._take(act.act, act.statement, at_ms)
        except StoreDamaged:
            # The cursor stays: the event comes again once it can be kept, and no revocation is skipped.
            raise
        except ExchangeError as error:
            self._log.warning("event left out", index=event.index, reason=error.name, subject=error.subject)
        if event.index >= self.cursor:
            self._write("INSERT OR REPLACE INTO cursor VALUES (?, ?)", (self._origin, event.index + 1))
            self.cursor = event.index + 1

    def take_resource(self, statement: common_pb2.Statement) -> Resource:
        """Take over a catalogue entry that was fetched rather than told.

        Returns:
            The newest entry in force of that id.

        Raises:
            UnknownResource: none is in force here: it waits for an approval that was not shown.
            ExchangeError: it does not verify.
        """
        offered = parse_resource(statement)
        self._shelf.publish(statement, self._clock.now_ms())
        return self.resource(offered.id)

    def _take(self, act: int, statement: common_pb2.Statement, at_ms: int) -> None:
        if act == audit_pb2.ACT_ORGANISATION:
            self._name(statement, at_ms)
        elif act == audit_pb2.ACT_RESOURCE:
            self._shelf.publish(statement, at_ms)
        elif act == audit_pb2.ACT_RESOURCE_STATE:
            self._shelf.set_state(statement, at_ms)
        elif act == audit_pb2.ACT_GRANT:
            self._apply(statement, at_ms)
        elif act == audit_pb2.ACT_GRANT_EVENT:
            self._decide(statement, at_ms)
        elif act == audit_pb2.ACT_BUNDLE:
            self._anchor.verify_statement(statement, canonical.BUNDLE, at_ms=at_ms, trust=self._trust())
            for told in self._bundle_subscribers:
                told(statement)

    def _open_epoch(self, act: audit_pb2.AdministrativeEntry, index: int, at_ms: int) -> None:
        # Revocations counted when the authority took the opening over; its trust list names the epoch.
        statements = [act.statement, *act.countersignatures]
        epoch, _ = check_opening(statements, self._anchor, at_ms=at_ms, trust=None)
        for opened in self._epoch_subscribers:
            opened(epoch, index)
        row = (epoch.origin, act.statement.SerializeToString())
        self._write("INSERT OR REPLACE INTO epoch VALUES (?, ?)", row)

    def _name(self, statement: common_pb2.Statement, at_ms: int) -> None:
        told = self._names.read(statement)
        self._names.check(told, self._signer(statement, canonical.ORGANISATION, at_ms))
        row = (told.code, statement.SerializeToString())
        self._write("INSERT OR REPLACE INTO organisation VALUES (?, ?)", row)
        self._names.take(told)

    def _signer(self, statement: common_pb2.Statement, domain: bytes, at_ms: int) -> Identity:
        return self._anchor.verify_statement(statement, domain, at_ms=at_ms, trust=self._trust()).identity

    def _apply(self, statement: common_pb2.Statement, at_ms: int) -> None:
        grant = read_grant(statement)
        if grant.grant_id in self._grants:
            return
        signer = self._anchor.verify_statement(statement, canonical.GRANT, at_ms=at_ms, trust=self._trust())
        grant = grants.parse_grant(statement, signer)
        row = (grant.grant_id, statement.SerializeToString())
        self._write("INSERT INTO grant_ VALUES (?, ?)", row)
        self._keep_grant(grant)

    def _decide(self, statement: common_pb2.Statement, at_ms: int) -> None:
        event = grants.read_event(statement)
        grant = self._grants.get(event.grant_id)
        if grant is None:
            raise WrongState("grant unknown")
        if event.revision <= grant.revision:
            return
        signer = self._anchor.verify_statement(
            statement, canonical.GRANT_EVENT, at_ms=at_ms, trust=self._trust()
        )
        resource = self._shelf.get(grant.resource)
        supervisor = grants.supervisor_of(grant, resource, self._rules)
        grants.check_signer(grant, event, signer.identity, resource, supervisor=supervisor)
        decided = grants.follow(grant, event, statement, supervisor=supervisor)
        if supervisor and event.action in grants.BY_SUPERVISED:
            self.keep(SUPERVISORS, _place(event), supervisor.encode())
        row = (grant.grant_id, event.revision, statement.SerializeToString(), signer.identity.uri)
        # A crash before this line leaves the older revision: for a revocation the gateway still refuses,
        # and the backlog repeats the event, because the cursor is moved after it.
        self._write("INSERT INTO event VALUES (?, ?, ?, ?)", row)
        self._keep_grant(decided)

    def _keep_grant(self, grant: Grant) -> None:
        self._grants[grant.grant_id] = grant
        for changed in self._subscribers:
            changed(grant)

    def _write(self, statement: str, row: tuple[object, ...]) -> None:
        try:
            self._db.execute(statement, row)
        except sqlite3.Error as error:
            raise StoreDamaged(f"region.db: {error.sqlite_errorname}") from error

    def _load(self) -> None:
        """Read back what was verified when it was taken over."""
        for (raw,) in self._db.execute("SELECT statement FROM organisation"):
            self._names.take(self._names.read(common_pb2.Statement.FromString(raw)))
        self._shelf.load(self._db)
        for (raw,) in self._db.execute("SELECT statement FROM grant_"):
            grant = read_grant(common_pb2.Statement.FromString(raw))
            self._grants[grant.grant_id] = grant
        supervisors = self.kept(SUPERVISORS)
        for grant_id, raw in self._db.execute(
            "SELECT grant_id, statement FROM event ORDER BY grant_id, revision"
        ):
            statement = common_pb2.Statement.FromString(raw)
            event = grants.read_event(statement)
            supervisor = supervisors.get(_place(event), b"").decode()
            held = self._grants[grant_id]
            self._grants[grant_id] = grants.follow(held, event, statement, supervisor=supervisor)
        row = self._db.execute("SELECT next FROM cursor WHERE origin = ?", (self._origin,)).fetchone()
        self.cursor = row[0] if row else 0


def _place(event: grants.GrantEvent) -> str:
    return f"{event.grant_id.hex()}/{event.revision}"
