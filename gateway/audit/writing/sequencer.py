"""The one writer of the log: bounded queue → group → one transaction → checkpoint → everybody released.

1. A group is what queued while the group before was being committed, up to 256 entries; there is no timer.
2. Nothing leaves before it is durable: no index, no proof, no checkpoint. Commit and high-water copy are made
   in one dedicated thread, so the event loop never waits for a disk.
3. On a write error nothing is released. The log is reloaded and compared (`recovery`); a group in doubt is
   released where it is durable, failed where it is not. Until a reload succeeds every append fails.
4. Where log, high-water copy or a signed head that somebody holds contradict each other, the fault is sticky
   and nothing is signed again.
5. Space is left on the disk for administrative entries: exchanges are refused first.
6. While nothing is appended, `probe` writes and syncs on the same way, so that a disk that fails shows before
   an exchange finds out; a write that does not come back within 3 s is a fault as well.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from exchange.checkpoint import LogSigner
from exchange.errors import AuditUnavailable, Draining, ExchangeError, Oversized
from exchange.receipt import MAX_LEAF_BYTES
from gateway.audit.log.ancestry import Ancestry
from gateway.audit.log.audit_log import NO_ANCESTRY, AuditLog, Restored, restore
from gateway.audit.log.logged import Logged
from gateway.audit.writing.commit_thread import CommitThread
from gateway.audit.writing.errands import Errand, Errands, Work
from gateway.audit.writing.groups import Done, Line, Submission
from gateway.audit.writing.headroom import Headroom
from gateway.audit.writing.in_flight import InFlight, signed
from gateway.audit.writing.quota_use import QuotaUse
from gateway.audit.writing.recovery import Recovery, contradiction
from gateway.storage.ports import HighWater, QuotaKey, SegmentStore, StoredHead

MAX_GROUP = 256
ADMINISTRATIVE_PLACES = 256
QUIET_S = 0.5
STALL_S = 3.0


class Sequencer(AuditLog):
    """The log with its one writer.

    Args:
        store: keeps the log.
        high_water: keeps the newest checkpoint apart from it.
        signer: the log's key.
        max_queue: how many entries may wait; administrative ones have 256 places more.
        min_free_bytes: free space below which exchanges are refused; administrative entries below an eighth.
        retry_s: seconds between attempts to reload after a write error.
        ancestry: the epochs before, where there are any.
    """

    def __init__(
        self,
        *,
        store: SegmentStore,
        high_water: HighWater,
        signer: LogSigner,
        max_queue: int = 16_384,
        min_free_bytes: int = 64 * 1024 * 1024,
        retry_s: float = 1.0,
        ancestry: Ancestry = NO_ANCESTRY,
    ) -> None:
        super().__init__(store=store, high_water=high_water, signer=signer, ancestry=ancestry)
        self._max_queue = max_queue
        self._headroom = Headroom(free_bytes=store.free_bytes, floor=min_free_bytes)
        self._line = Line()
        self._errands = Errands()
        self._busy = False  # a group is being committed, or the log reloaded
        self._scheduled = False
        self._closing = False
        self._recovery = Recovery(retry_s=retry_s)
        self._idle = asyncio.Event()
        self._held_back: Callable[[], ExchangeError | None] = lambda: None
        self._use = QuotaUse(store.used)

    def hold_exchanges_back(self, reason: Callable[[], ExchangeError | None]) -> None:
        """Refuse exchanges, not administrative entries, while a reason is returned; asked before each."""
        self._held_back = reason

    async def open(self) -> None:
        """Open the log and compare its parts (see `gateway.audit.log.audit_log`).

        Raises:
            LogBehind, LogForked, StoreDamaged: they do not agree; nothing may be signed.
            WrongState: another process has it open.
            AuditUnavailable: it cannot be opened now.
        """
        self._loop = asyncio.get_running_loop()
        self._thread = CommitThread()
        try:
            self._adopt(await self._thread.run(self._restore))
        except BaseException:
            self._let_go()
            raise
        self._idle.set()

    async def close(self) -> None:
        """Refuse what comes, finish what is queued, and let go of the store."""
        self._closing = True
        await self._idle.wait()
        self._recovery.stop()
        self._let_go()

    @property
    def fault(self) -> ExchangeError | None:
        """Why an exchange's entry cannot be appended; None while it can. Readiness asks here first."""
        if self._sticky or self._recovery.trouble:
            return self._sticky or self._recovery.trouble
        if self._busy and self._thread.handed_s > STALL_S:
            return AuditUnavailable("the disk does not answer")
        try:
            self._headroom.check()
        except AuditUnavailable as error:
            return error
        return self._held_back()

    def used(self, key: QuotaKey) -> int:
        """Return how many durable entries count against a quota.

        Raises:
            AuditUnavailable, StoreDamaged: it cannot be read.
        """
        return self._use.used(key)

    def submit(
        self,
        leaves: Sequence[bytes],
        done: Done,
        beside: Sequence[bytes] = (),
        charges: Sequence[Sequence[QuotaKey]] = (),
    ) -> None:
        """Queue the entries of exchanges.

        Args:
            leaves: at least one; exact bytes, at most 65,535 each.
            done: called on the event loop once all are durable, or once that has failed; never in here.
            beside: per leaf what is kept beside it, empty for nothing; or none at all.
            charges: per leaf the quotas that it counts against, in the same transaction; or none at all.

        Raises:
            QueueFull: too many wait.
            AuditUnavailable: the log cannot be written, or what space is left is not for exchanges.
            LogUnwitnessed: exchanges are held back.
            LogBehind, LogForked, StoreDamaged: the log refuses to sign.
            Oversized: a leaf is too long.
            Draining: the log is closing.
        """
        self._admit(leaves)
        self._enqueue(Submission(leaves, done, beside, charges), places=self._max_queue)

    async def append(self, leaf: bytes) -> Logged:
        """Append the entry of an administrative act and wait until it is durable.

        When the wait is cancelled the entry is appended all the same.

        Raises:
            ExchangeError: as `submit`; AuditUnavailable also where writing it failed.
        """
        future: asyncio.Future[Logged] = self._loop.create_future()

        def done(outcome: Sequence[Logged] | ExchangeError) -> None:
            if future.done():
                return
            if isinstance(outcome, ExchangeError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome[0])

        self._admit([leaf], administrative=True)
        self._enqueue(Submission([leaf], done), places=self._max_queue + ADMINISTRATIVE_PLACES)
        return await future

    async def between(self, work: Work) -> None:
        """Run a short write to the store in the commit thread while no group is being written.

        Raises:
            AuditUnavailable: it failed or is in doubt; the log has been read anew, or is about to be.
            ExchangeError: the log is down, closing, or refuses to sign; nothing was done.
        """
        stopped = self._sticky or self._recovery.trouble
        if stopped is not None:
            raise stopped.again()
        if self._closing:
            raise Draining(self.origin)
        future = self._errands.add(work)
        self._idle.clear()
        if not self._busy:
            self._begin()
        await future

    def _run(self, errand: Errand) -> None:
        """Hand an errand to the commit thread."""
        self._busy = True
        self._thread.hand(errand.work, lambda job: self._ran(job, errand))

    def _ran(self, job: "Future[None]", errand: Errand) -> None:
        self._busy = False
        error = job.exception()
        errand.settle(error)
        if error is not None:
            # What it wrote is in doubt: the store is opened anew before the next group.
            self._recover(None, error)
            return
        self._begin()
        self._settle()

    def probe(self) -> None:
        """Have the worker show that a group could be made durable now; does nothing where one just was.

        To be called every second. What it finds shows in `fault`.
        """
        quiet = self._thread.heard_s >= QUIET_S
        if quiet and not (self._busy or self._closing or self._sticky or self._recovery.trouble):
            self._busy = True
            self._idle.clear()
            self._thread.hand(self._measure, self._probed)

    def _measure(self) -> tuple[StoredHead | None, int]:
        return self._store.probe(), self._store.free_bytes()

    def _probed(self, job: "Future[tuple[StoredHead | None, int]]") -> None:
        self._busy = False
        try:
            head, free = job.result()
            if head is not None and (head.size, head.root) != (self._head.size, self._head.root):
                raise AuditUnavailable("the head was changed under the running gateway")
        except Exception as error:
            self._recover(None, error)
            return
        self._headroom.told(free)
        self._begin()
        self._settle()

    def _admit(self, leaves: Sequence[bytes], *, administrative: bool = False) -> None:
        stopped = self._sticky or self._recovery.trouble or (None if administrative else self._held_back())
        if stopped is not None:
            raise stopped.again()
        if self._closing:
            raise Draining(self.origin)
        if max(map(len, leaves)) > MAX_LEAF_BYTES:
            raise Oversized("entry")
        self._headroom.check(administrative=administrative)

    def _enqueue(self, submission: Submission, *, places: int) -> None:
        self._line.add(submission, places=places)
        self._idle.clear()
        if not self._busy and not self._scheduled:
            # Not at once: what else comes in this turn of the loop joins the group.
            self._scheduled = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        """Sign and stage the next group and hand it to the commit thread."""
        self._scheduled = False
        if self._sticky is not None:
            self._errands.fail(self._sticky)
            self._fail(self._line.clear(), self._sticky)
        if self._busy:
            return
        errand = self._errands.take()
        if errand is not None:
            self._run(errand)
            return
        if not len(self._line):
            return
        self._busy = True
        group = signed(self._line.take(MAX_GROUP), self._tree, self._signer)
        try:
            self._store.stage(group.stored(self._tree))
            self._headroom.wrote(sum(map(len, group.leaves)) + sum(map(len, group.beside)))
        except Exception as error:
            self._recover(group, error)
            return
        self._thread.hand(self._make_durable, lambda job: self._committed(group, job), group.note)

    def _make_durable(self, note: str) -> None:
        """Run in the commit thread."""
        # A crash before the commit returns: the group is whole in the log or not at all, and nobody was told.
        self._store.commit()
        # A crash here: the group is durable and nobody was told. An entry without a release is allowed; the
        # high-water copy is one group behind, which the next start takes for what it is.
        self._high_water.write(note)
        # A crash here, or any time until the waiters have sent what they withhold: the same.

    def _committed(self, group: InFlight, job: Future[None]) -> None:
        error = job.exception()
        if error is not None:
            self._recover(group, error)
            return
        self._tree.take_over(group.growth)
        self._head, self._note = group.head, group.note
        self._busy = False
        # The next group's commit runs while this one's waiters are told.
        self._begin()
        self._release(group)
        self._settle()

    def _release(self, group: InFlight) -> None:
        """Tell subscribers and waiters that a group is durable, and count it first."""
        self._use.count(group.first, group.head.size, group.quotas)
        for subscriber in tuple(self._subscribers):
            self._call(subscriber, group.first, group.leaves)
        for submission, places in group.places():
            if submission.add(places):
                self._call(submission.done, submission.logged)

    def _fail(self, submissions: Sequence[Submission], error: ExchangeError) -> None:
        """Tell waiters that their entries are not durable as far as anybody knows."""
        for submission in submissions:
            if not submission.settled:
                submission.settled = True
                self._call(submission.done, error.again())
        self._line.drop_settled()
        self._settle()

    def _recover(self, group: InFlight | None, error: BaseException) -> None:
        """Reload the log after a write error; `group` is in doubt until then."""
        self._recovery.begin(group, error)
        self._busy = True
        self._idle.clear()
        self._thread.hand(self._restore, lambda job: self._reloaded(group, job))

    def _reloaded(self, group: InFlight | None, job: Future[Restored]) -> None:
        """Decide about a group in doubt, and be healthy again or try again."""
        self._busy = False
        waiters = [submission for submission, _ in group.parts] if group else []
        try:
            durable = self._take_back(job.result())
        except Exception as error:
            trouble = self._stay_down(error)
            self._errands.fail(trouble)
            self._fail([*waiters, *self._line.clear()], trouble)
            return
        if durable is not None:
            # Waiters that were failed meanwhile stay failed; subscribers hear of every entry of the log.
            self._release(durable)
        else:
            self._fail(waiters, AuditUnavailable("audit log"))
        self._begin()
        # Where a group in doubt was durable after all nobody else may be waiting: a close must not either.
        self._settle()

    def _take_back(self, restored: Restored) -> InFlight | None:
        """Go on from a reloaded log; return the group in doubt if it is durable.

        Raises:
            LogBehind, LogForked: it contradicts what was released.
        """
        durable = self._recovery.durable(self._head, restored)
        self._adopt(restored)
        # What the group in doubt counts is in the store or not, with the group.
        self._use.forget()
        self._recovery.over(self._head.size)
        return durable

    def _stay_down(self, error: Exception) -> ExchangeError:
        """Refuse to sign, or try again after a while; return what whoever waits is told meanwhile."""
        contradicted = contradiction(error)
        if contradicted is not None:
            self.refuse_to_sign(contradicted)
        elif not self._closing:
            self._recovery.again(lambda: self._recover(None, error))
        return self._recovery.trouble or AuditUnavailable("audit log")

    def _settle(self) -> None:
        if not self._busy and not len(self._line) and not len(self._errands):
            self._idle.set()

    def _call(self, callback: Callable[..., None], *arguments: Any) -> None:
        try:
            callback(*arguments)
        except Exception as error:
            # One waiter's mistake must not keep the others from their places.
            self._loop.call_exception_handler({"message": "a waiter of the log failed", "exception": error})

    def _restore(self) -> Restored:
        restored = restore(self._store, self._high_water, self._signer, self.ancestry)
        # Reading alone shows nothing about a disk that takes no writes.
        self._store.probe()
        return restored

    def _let_go(self) -> None:
        self._thread.close()
        self._store.close()
        self._high_water.close()
