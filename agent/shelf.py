"""The catalogue as the agent knows it: what is in force, what waits for review, what was withdrawn.

A version that the region's rules put in review is not in force here before the right person approved it,
whatever a gateway says (`exchange/catalogue_review.py`). A version only counts up; what was taken over is on
disk first.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from agent.names import Names
from exchange import canonical
from exchange.catalogue_review import (
    APPROVE,
    SUSPENSION,
    WITHDRAW,
    ResourceState,
    check_state_signer,
    read_state,
)
from exchange.errors import UnknownResource, WrongState
from exchange.identity import Identity
from exchange.record_schema import check_schema
from exchange.resources import Resource, check_publisher, parse_resource
from exchange.v1 import common_pb2, directory_pb2

SCHEMA = """
CREATE TABLE IF NOT EXISTS resource (id TEXT PRIMARY KEY, statement BLOB NOT NULL, suspended INTEGER NOT NULL,
    revision INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS waiting (id TEXT PRIMARY KEY, statement BLOB NOT NULL, reviewer TEXT NOT NULL,
    handed_in_by TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS withdrawn (id TEXT PRIMARY KEY, revision INTEGER NOT NULL);
"""

Write = Callable[[str, tuple[object, ...]], None]
"""Writes one row, durable on return; raises StoreDamaged where it cannot."""
Verify = Callable[[common_pb2.Statement, bytes, int], Identity]
"""Returns who signed a statement under a domain, at a time in Unix milliseconds; raises where nobody did."""
Reviewer = Callable[[str], str]
"""Returns whose stewards review a provider's new versions, both by credit code; empty for nobody's."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A version that waits: whose stewards review it, and the SPIFFE id of who handed it in."""

    resource: Resource
    reviewer: str
    handed_in_by: str


class Shelf:
    """Catalogue entries, durable, verified.

    Args:
        write: to the agent's file, which has SCHEMA.
        verify: tells who signed.
        names: whose name an id is in.
        reviewer: tells who reviews, by the rules that the agent holds.
    """

    def __init__(self, *, write: Write, verify: Verify, names: Names, reviewer: Reviewer) -> None:
        self._write = write
        self._verify = verify
        self._names = names
        self._reviewer = reviewer
        self._resources: dict[str, Resource] = {}
        self._revisions: dict[str, int] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._withdrawn: dict[str, str] = {}

    def load(self, db: sqlite3.Connection) -> None:
        """Read back what was verified when it was taken over."""
        for key, revision in db.execute("SELECT id, revision FROM withdrawn"):
            self._withdrawn[key] = ""
            self._revisions[key] = revision
        for raw, suspended, revision in db.execute("SELECT statement, suspended, revision FROM resource"):
            resource = parse_resource(common_pb2.Statement.FromString(raw), suspended=bool(suspended))
            if resource.id in self._withdrawn:
                self._withdrawn[resource.id] = resource.provider
            else:
                self._resources[resource.id] = resource
                self._revisions[resource.id] = revision
        for raw, reviewer, handed_in_by in db.execute(
            "SELECT statement, reviewer, handed_in_by FROM waiting"
        ):
            resource = parse_resource(common_pb2.Statement.FromString(raw))
            held = self._resources.get(resource.id)
            # Left behind by a crash between an approval and its end.
            over = resource.id in self._withdrawn or (held is not None and held.version >= resource.version)
            if not over:
                self._waiting[resource.id] = _Waiting(resource, reviewer, handed_in_by)

    def get(self, resource_id: str) -> Resource | None:
        """Return a resource in force; None where none is, as far as the agent knows."""
        return self._resources.get(resource_id)

    def withdrawn(self, resource_id: str) -> bool:
        """Return whether a resource was taken out of the catalogue for good."""
        return resource_id in self._withdrawn

    def provider(self, resource_id: str) -> str | None:
        """Return the credit code of whose a resource is, or was before it was withdrawn; None if unknown."""
        held = self._resources.get(resource_id)
        return held.provider if held is not None else self._withdrawn.get(resource_id) or None

    def all(self) -> list[Resource]:
        """Return all resources in force."""
        return list(self._resources.values())

    def publish(self, statement: common_pb2.Statement, at_ms: int) -> None:
        """Take over a version: in force, or waiting where the rules put it in review.

        Raises:
            WrongState: a version as new is known, or the entry was withdrawn.
            ExchangeError: it does not verify or is not well formed.
        """
        resource = parse_resource(statement)
        held, waiting = self._resources.get(resource.id), self._waiting.get(resource.id)
        if any(one and one.digest == resource.digest for one in (held, waiting and waiting.resource)):
            return
        signer = self._verify(statement, canonical.RESOURCE, at_ms)
        check_publisher(resource, signer)
        check_schema(directory_pb2.ResourceBody.FromString(statement.body))
        self._names.check_resource(resource)
        if resource.id in self._withdrawn:
            raise WrongState(resource.id)
        if held is not None and (held.provider != resource.provider or held.version >= resource.version):
            raise WrongState(resource.id)
        reviewer = self._reviewer(resource.provider)
        if not reviewer:
            self._put_in_force(resource, self._revisions.get(resource.id, 0))
            return
        if waiting is not None and waiting.resource.version > resource.version:
            raise WrongState(resource.id)
        self._write(
            "INSERT OR REPLACE INTO waiting VALUES (?, ?, ?, ?)",
            (resource.id, statement.SerializeToString(), reviewer, signer.uri),
        )
        self._waiting[resource.id] = _Waiting(resource, reviewer, signer.uri)

    def set_state(self, statement: common_pb2.Statement, at_ms: int) -> None:
        """Take over a suspension, its end, a review or a withdrawal.

        Raises:
            UnknownResource, WrongState: it is about nothing known, or is not the newest.
            ExchangeError: it does not verify or is not well formed.
        """
        change = read_state(statement)
        held, waiting = self._resources.get(change.id), self._waiting.get(change.id)
        about = held or (waiting.resource if waiting else None)
        if about is None:
            raise UnknownResource(change.id)
        check_state_signer(
            change,
            self._verify(statement, canonical.RESOURCE_STATE, at_ms),
            provider=about.provider,
            reviewer=waiting.reviewer if waiting else "",
            handed_in_by=waiting.handed_in_by if waiting else "",
        )
        if change.revision <= self._revisions.get(change.id, 0):
            raise WrongState(change.id)
        if change.action == WITHDRAW:
            self._withdraw(change)
        elif change.action == SUSPENSION:
            if held is None:
                raise UnknownResource(change.id)
            self._keep(held.with_suspended(change.suspended), change.revision)
        elif waiting is None or waiting.resource.version != change.version:
            raise WrongState(change.id)
        elif held is not None and held.version >= change.version:
            # A gateway that tells things out of their order does not bring an older version back.
            raise WrongState(change.id)
        else:
            self._review(waiting.resource, change)

    def _review(self, resource: Resource, change: ResourceState) -> None:
        if change.action == APPROVE:
            self._put_in_force(resource, change.revision)
        else:
            self._revisions[change.id] = change.revision
        self._write("DELETE FROM waiting WHERE id = ?", (change.id,))
        self._waiting.pop(change.id, None)

    def _withdraw(self, change: ResourceState) -> None:
        self._write("INSERT OR REPLACE INTO withdrawn VALUES (?, ?)", (change.id, change.revision))
        held = self._resources.pop(change.id, None)
        self._withdrawn[change.id] = held.provider if held is not None else ""
        self._revisions[change.id] = change.revision
        self._waiting.pop(change.id, None)

    def _put_in_force(self, resource: Resource, revision: int) -> None:
        held = self._resources.get(resource.id)
        if held is not None and held.suspended:
            # A suspension holds until it is lifted, whatever versions are published meanwhile.
            resource = resource.with_suspended(True)
        self._keep(resource, revision)

    def _keep(self, resource: Resource, revision: int) -> None:
        assert resource.statement is not None
        row = (resource.id, resource.statement.SerializeToString(), resource.suspended, revision)
        # A crash before this line leaves the older entry; the backlog brings the newer one again.
        self._write("INSERT OR REPLACE INTO resource VALUES (?, ?, ?, ?)", row)
        self._resources[resource.id] = resource
        self._revisions[resource.id] = revision
