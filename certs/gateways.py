"""What the authority knows of gateways and their logs, and who may change which part of it.

1. A gateway enters its own name, its own origin and its addresses, and the first key of its log.
2. A further key of the same log needs the word of the newest one (a planned change). Whoever holds the
   gateway's certificate alone, on an empty folder for example, gets no second log under the same name.
3. Another origin needs the opening of an epoch by two administrators, and closes the log before: its keys
   stay, so that what it signed verifies; its addresses go. No epoch is opened twice, and none goes back.
"""

from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from certs.records import ENDED_LOGS, GATEWAY_EPOCHS, GATEWAY_LIVE_KEYS, GATEWAYS, note
from exchange.checkpoint import MAX_NOTE_CHARS, open_checkpoint
from exchange.errors import BadSignature, Malformed, ReceiptBroken, SecondPersonRequired, WrongState
from exchange.identity import Identity
from exchange.lineage import split_origin
from exchange.log_keys import Epoch, check_age, check_opening, vouched
from exchange.trust import MAX_LOG_KEYS, TrustAnchor, TrustedGateway, TrustList, read_gateway
from exchange.v1 import trust_pb2


class GatewayDesk:
    """Enters gateways, each within its caller's transaction.

    Args:
        anchor: the division's root.
        trust: the newest trust list, for revocations.
        now_ms: Unix milliseconds.
    """

    def __init__(self, *, anchor: TrustAnchor, trust: TrustList, now_ms: int) -> None:
        self._anchor = anchor
        self._trust = trust
        self._now_ms = now_ms

    def enter(
        self, connection: sa.Connection, request: trust_pb2.RegisterGatewayRequest, by: Identity
    ) -> bool:
        """Enter a gateway's log and addresses; keys entered before stay behind the new ones.

        Args:
            connection: the transaction.
            request: what the gateway tells.
            by: the gateway.

        Returns:
            Whether anything changed.

        Raises:
            Malformed: a part is ill-formed, or name or origin are not the gateway's own.
            SecondPersonRequired: another origin, or another key that the one before does not vouch for.
            WrongState: the epoch does not follow the one that is known.
            BadSignature, RoleNotAllowed, Revoked, NoIdentity, CertificateExpired: of opening or change.
        """
        told = self._told(request.gateway, by)
        held = connection.execute(sa.select(GATEWAYS).where(GATEWAYS.c.name == by.name)).one_or_none()
        if held is None or held.origin != told.origin:
            self._open(connection, held, told, request)
            keys = [key.hex() for key in told.log_keys]
        else:
            keys = self._keys(held, told, request.key_change)
        values = {"origin": told.origin, "log_keys": keys[:MAX_LOG_KEYS], "addresses": list(told.addresses)}
        was_live = _live_keys(connection, by.name) or (len(held.log_keys) if held is not None else 0)
        live = _live_now(keys, told, held, was_live)
        same = held is not None and all(getattr(held, name) == value for name, value in values.items())
        if same and live == was_live:
            return False
        connection.execute(GATEWAY_LIVE_KEYS.delete().where(GATEWAY_LIVE_KEYS.c.name == by.name))
        connection.execute(GATEWAY_LIVE_KEYS.insert().values(name=by.name, count=live))
        connection.execute(GATEWAYS.delete().where(GATEWAYS.c.name == by.name))
        connection.execute(GATEWAYS.insert().values(name=by.name, **values))
        note(connection, self._now_ms, by.uri, "register-gateway", f"{told.origin} {keys[0]}")
        return True

    @staticmethod
    def _told(gateway: trust_pb2.TrustedGateway, by: Identity) -> TrustedGateway:
        named = trust_pb2.TrustedGateway()
        named.CopyFrom(gateway)
        named.name = by.name
        told = read_gateway(named)
        base = f"{by.division}.{by.trust_domain}/{by.name}"
        if gateway.name not in ("", by.name) or split_origin(told.origin)[0] != base:
            raise Malformed(f"{by}: name or origin")
        return told

    @staticmethod
    def _keys(held: "sa.Row[tuple[str, ...]]", told: TrustedGateway, change: str) -> list[str]:
        """Return the keys of a log that goes on under the same origin."""
        known: Sequence[str] = held.log_keys
        new = [key.hex() for key in told.log_keys if key.hex() not in known]
        if not new:
            return list(known)
        if not change:
            raise SecondPersonRequired(
                f"{told.origin}: another key, and the one before does not vouch for it"
            )
        if len(change) > MAX_NOTE_CHARS:
            raise Malformed("key change")
        next_key = vouched(change, origin=told.origin, by=bytes.fromhex(known[0])).hex()
        if new != [next_key]:
            raise BadSignature(f"{told.origin}: change of the log's key")
        return [next_key, *known]

    def _open(
        self,
        connection: sa.Connection,
        held: "sa.Row[tuple[str, ...]] | None",
        told: TrustedGateway,
        request: trust_pb2.RegisterGatewayRequest,
    ) -> None:
        """Let a log begin: a gateway's first, or one that two administrators opened after a loss."""
        ended = connection.execute(sa.select(ENDED_LOGS).where(ENDED_LOGS.c.origin == told.origin)).first()
        if ended is not None:
            raise WrongState(f"{told.origin} has ended")
        if held is None and told.epoch == 1:
            return
        epoch, people = check_opening(request.epoch, self._anchor, at_ms=self._now_ms, trust=self._trust)
        check_age(epoch, self._now_ms)
        if epoch.origin != told.origin or told.log_keys != (epoch.log_key,):
            raise BadSignature(f"{told.origin}: what was opened is another log or key")
        if held is not None:
            self._close(connection, held, epoch)
            self._check_lost_head(connection, epoch)
        connection.execute(
            GATEWAY_EPOCHS.insert().values(
                origin=epoch.origin,
                name=told.name,
                first_entry=epoch.kept_size,
                lost_size=epoch.lost_size,
                opening=epoch.body,
            )
        )
        for person in people:
            note(connection, self._now_ms, person.uri, "open-epoch", epoch.origin)

    @staticmethod
    def _check_lost_head(connection: sa.Connection, epoch: Epoch) -> None:
        """Refuse a newest head that no key of the log before has signed: its size is what agents go by."""
        if not epoch.lost_checkpoint:
            return
        origin = epoch.lost_head.origin
        ended = connection.execute(sa.select(ENDED_LOGS).where(ENDED_LOGS.c.origin == origin)).one_or_none()
        keys = [bytes.fromhex(key) for key in ended.log_keys] if ended else []
        try:
            open_checkpoint(epoch.lost_checkpoint, origin=origin, log_keys=keys)
        except ReceiptBroken as error:
            raise BadSignature(f"{epoch.origin}: newest head of the log before") from error

    @staticmethod
    def _close(connection: sa.Connection, held: "sa.Row[tuple[str, ...]]", epoch: Epoch) -> None:
        if epoch.previous_origin != held.origin or epoch.epoch <= split_origin(held.origin)[1]:
            raise WrongState(f"{epoch.origin} does not follow {held.origin}")
        connection.execute(
            ENDED_LOGS.insert().values(origin=held.origin, name=held.name, log_keys=held.log_keys)
        )


def _live_keys(connection: sa.Connection, name: str) -> int:
    """Return how many of a gateway's log keys sign now; 0 where that was never noted."""
    query = sa.select(GATEWAY_LIVE_KEYS.c.count).where(GATEWAY_LIVE_KEYS.c.name == name)
    return connection.execute(query).scalar_one_or_none() or 0


def _live_now(
    keys: Sequence[str], told: TrustedGateway, held: "sa.Row[tuple[str, ...]] | None", was_live: int
) -> int:
    """Return how many keys, from the newest on, sign from now on.

    A key that has stopped signing never signs again: only a new key adds to their number.
    """
    wanted = len(told.log_keys)
    if {key.hex() for key in told.log_keys} != set(keys[:wanted]):
        wanted = len(keys)
    if held is None or held.origin != told.origin:
        return wanted
    return min(wanted, was_live + len(keys) - len(held.log_keys))


def listed_gateways(connection: sa.Connection) -> Iterator[trust_pb2.TrustedGateway]:
    """Yield the gateways as the trust list names them, then the logs that have ended, in a fixed order."""
    begun = {row.origin: row for row in connection.execute(sa.select(GATEWAY_EPOCHS))}
    for table, closed in ((GATEWAYS, False), (ENDED_LOGS, True)):
        for row in connection.execute(sa.select(table).order_by(table.c.name, table.c.origin)):
            start = begun.get(row.origin)
            yield trust_pb2.TrustedGateway(
                name=row.name,
                origin=row.origin,
                log_keys=[bytes.fromhex(key) for key in row.log_keys],
                addresses=() if closed else row.addresses,
                epoch=split_origin(row.origin)[1],
                closed=closed,
                live_keys=0 if closed else _live_keys(connection, row.name),
                first_entry=start.first_entry if start else 0,
                lost_size=start.lost_size if start else 0,
            )
