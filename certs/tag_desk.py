"""The providers' keys for the tags of subjects (exchange/subject_tags.py): made, told, used and erased here.

1. A period's key is made once, when it is first needed; that of the next period two weeks before it begins,
   so that providers hold it in time. It is durable in the key store before anybody gets it.
2. Agents get the keys with which they tag now and next, none of the past: only the authority keeps those, so
   that erasing one here is the erasure.
3. A person's tags are derived for officers and auditors, and for a steward who corrects a value: who, when,
   of which format and why, or for which dispute, is recorded and the identifier is not; each may so many an
   hour.
4. A key is erased by two people, once its period has been over for a day, and never made again.
"""

import sqlalchemy as sa

from certs.profiles import DAY_MS
from certs.records import ACTS, TAG_ERASURES, Records, note
from certs.tokens import in_good_standing
from exchange.canonical import DIGEST_BYTES
from exchange.clock import Clock, Random
from exchange.errors import Malformed, SecondPersonRequired, StoreDamaged, TooMany
from exchange.identity import Identity
from exchange.keystore import KeyStore
from exchange.subject_tags import (
    KEY_BYTES,
    canonical_identifier,
    check_period,
    inner_tag,
    names_a_person,
    period_end_ms,
    period_of,
)

HOUR_MS = 3_600_000
LEAD_MS = 14 * DAY_MS
"""How long before a period its key is made."""
ERASABLE_AFTER_MS = DAY_MS
CONSENT_MS = 7 * DAY_MS
"""How long the first person's wish to erase a key stands."""
MAX_KEPT = 64
MAX_WHY = 200
ERASED, SECOND_PERSON = "erased", "second-person"
DERIVE, ASK, ERASE = "derive-tags", "ask-tag-key-erasure", "erase-tag-key"
DERIVE_CORRECTION = "derive-correction-tags"
_PREFIX = "tags-"


class TagDesk:
    """Keeps the providers' tag keys. Every method runs on the authority's one thread.

    Args:
        keystore: where the keys are.
        records: where it is noted who did what.
        clock, random: time and randomness; keys are drawn from it.
        per_hour: how many subjects one person may have derived in an hour.
    """

    def __init__(
        self, *, keystore: KeyStore, records: Records, clock: Clock, random: Random, per_hour: int
    ) -> None:
        self._keystore = keystore
        self._records = records
        self._clock = clock
        self._random = random
        self._per_hour = per_hour

    def keys(self) -> dict[str, bytes]:
        """Return the keys with which providers tag now, and shortly before the next period begins also then.

        Raises:
            StoreDamaged: one cannot be read or kept.
        """
        now_ms = self._clock.now_ms()
        present = period_of(now_ms)
        due = {present, period_of(now_ms + LEAD_MS)}
        erased = self._erased()
        for period in erased:
            # A crash after the record and before the deletion left the key.
            self._keystore.delete(_name(period))
        return {period: self._key(period) for period in sorted(due - erased)}

    def derive(self, format: str, identifier: str, justification: str, *, by: Identity) -> dict[str, bytes]:
        """Return a subject's inner tag in every period whose key is kept, by period.

        Args:
            format: "citizen_id" or "credit_code".
            identifier: as typed; neither kept nor logged.
            justification: why, 1 to 200 characters without personal data; recorded.
            by: who asks.

        Raises:
            BadIdentifier, Malformed: nothing was derived.
            TooMany: the person has had too many derived within the hour.
            StoreDamaged: it could not be recorded, or a key cannot be read; nothing is told.
        """
        subject = canonical_identifier(format, identifier)
        return self._derive(DERIVE, format, subject, _reason(justification, subject), by)

    def derive_for_correction(
        self, format: str, identifier: str, ticket_id: bytes, *, by: Identity
    ) -> dict[str, bytes]:
        """Return the inner tags of whom a corrected value is about, by period; see `derive`.

        Args:
            format, identifier: as `derive`.
            ticket_id: of the dispute, 32 bytes; recorded.
            by: the steward who corrects.

        Raises:
            BadIdentifier, Malformed, TooMany, StoreDamaged: as `derive`.
        """
        if len(ticket_id) != DIGEST_BYTES:
            raise Malformed("ticket_id")
        subject = canonical_identifier(format, identifier)
        return self._derive(DERIVE_CORRECTION, format, subject, ticket_id.hex(), by)

    def _derive(self, act: str, format: str, subject: str, why: str, by: Identity) -> dict[str, bytes]:
        now_ms = self._clock.now_ms()
        self.keys()
        with self._records.begin() as connection:
            recent = sa.select(sa.func.count()).where(
                ACTS.c.act == act, ACTS.c.actor == by.uri, ACTS.c.at_ms > now_ms - HOUR_MS
            )
            if connection.execute(recent).scalar_one() >= self._per_hour:
                raise TooMany(f"{by}: derivations", retry_after_ms=HOUR_MS)
            note(connection, now_ms, by.uri, act, f"{format} {why}")
        # A crash before this line: recorded and not told, which is allowed; the other way round is not.
        return {period: inner_tag(self._key(period), format, subject) for period in self._kept()}

    def erase(self, period: str, *, by: Identity) -> str:
        """Erase a period's key as the second of two people, or ask for it as the first.

        Returns:
            "erased", or "second-person" where another one has to agree.

        Raises:
            Malformed: there is no such period, or it has not been over for a day.
            SecondPersonRequired: the same person asked before.
            StoreDamaged: it could not be recorded or deleted.
        """
        now_ms = self._clock.now_ms()
        if period_end_ms(check_period(period)) + ERASABLE_AFTER_MS > now_ms:
            raise Malformed(f"{period}: not over for a day")
        with self._records.begin() as connection:
            row = connection.execute(
                sa.select(TAG_ERASURES).where(TAG_ERASURES.c.period == period)
            ).one_or_none()
            if row is None or row.erased_at_ms is None:
                stands = row is not None and row.asked_at_ms > now_ms - CONSENT_MS
                if row is None or not stands or not in_good_standing(connection, row.asked_by, now_ms):
                    self._ask(connection, period, by, now_ms)
                    return SECOND_PERSON
                if row.asked_by == by.uri:
                    raise SecondPersonRequired(f"{period}: {SECOND_PERSON}")
                note(connection, now_ms, by.uri, ERASE, period)
                done = TAG_ERASURES.update().where(TAG_ERASURES.c.period == period)
                connection.execute(done.values(erased_by=by.uri, erased_at_ms=now_ms))
        # A crash here: erased as far as anybody asks, and the file goes at the next start or request.
        self._keystore.delete(_name(period))
        return ERASED

    def _ask(self, connection: sa.Connection, period: str, by: Identity, now_ms: int) -> None:
        connection.execute(TAG_ERASURES.delete().where(TAG_ERASURES.c.period == period))
        connection.execute(TAG_ERASURES.insert().values(period=period, asked_by=by.uri, asked_at_ms=now_ms))
        note(connection, now_ms, by.uri, ASK, period)

    def _key(self, period: str) -> bytes:
        key = self._keystore.get(_name(period))
        if key is None:
            key = self._random(KEY_BYTES)
            self._keystore.put(_name(period), key)
        if len(key) != KEY_BYTES:
            raise StoreDamaged(f"tag key {period}")
        return key

    def _kept(self) -> list[str]:
        """Return the periods whose keys are kept, the newest of them where there are very many."""
        names = (name.removeprefix(_PREFIX) for name in self._keystore.names() if name.startswith(_PREFIX))
        return sorted({name.upper() for name in names} - self._erased())[-MAX_KEPT:]

    def _erased(self) -> set[str]:
        with self._records.begin() as connection:
            found = connection.execute(
                sa.select(TAG_ERASURES.c.period).where(TAG_ERASURES.c.erased_at_ms.is_not(None))
            )
            return {row.period for row in found}


def _name(period: str) -> str:
    return f"{_PREFIX}{period.lower()}"


def _reason(justification: str, subject: str) -> str:
    why = justification.strip()
    if not 0 < len(why) <= MAX_WHY or not why.isprintable():
        raise Malformed("justification")
    if subject in why.upper() or names_a_person(why):
        raise Malformed("justification: personal data")
    return why
