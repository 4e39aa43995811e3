"""The publisher: from accepted events to the log, in batches, in the order of acceptance.

Who waits is bounded. While batches are on their ways the next one gathers, so batches grow with the load and a lone
event leaves at once. There are two ways, so that Redis has one batch to work on while we write the answers of the other
and read what comes next. Events that are under way at the same time have no order among them, but those of one sender
do: they never go both ways at once. A batch that gets no answer is sent again, under its number, as long as anyone
waits for it: the log recognises it.

Senders wait in two lines, those of one event and those of many. Each is served in its order, and a batch takes from
both, so neither kind keeps the other waiting.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

import trio

from shared.appending import Appended
from shared.errors import OutcomeUnknown, Unavailable
from shared.events import Draft
from shared.log import PART, WAYS, EventLog
from tracker import metrics

PATIENCE = 4.5
"""For how many seconds a sender waits for the log before it is refused."""

Outcome = Appended | Unavailable | OutcomeUnknown

_RETRY_EVERY = 0.2
_LOOK_EVERY = 0.25
"""How often, in seconds, it is looked who has waited too long: cheaper than a deadline for each of them."""
_BATCH_EVENTS = 500
_BATCH_BYTES = 1 << 20


class _Sender:
    """A task that waits for what becomes of its events."""

    __slots__ = ("_task", "drafts", "outcomes", "since", "taken")

    def __init__(self, drafts: Sequence[Draft]) -> None:
        self.drafts = drafts
        self.taken = 0  # so many are in batches: of those only the log knows whether they are in
        self.outcomes: list[Appended | Unavailable] = []  # of the first ones
        self.since = trio.current_time()
        self._task: trio.lowlevel.Task | None = trio.lowlevel.current_task()

    @property
    def under_way(self) -> bool:
        """Whether some of its events are in a batch that is not settled."""
        return len(self.outcomes) < self.taken

    @property
    def left(self) -> bool:
        """Whether it waits no longer."""
        return self._task is None

    async def wait(self) -> None:
        """Return when it is woken. An event and a cancel scope for each sender would take half of a commit."""
        await trio.lowlevel.wait_task_rescheduled(self._leave)

    def wake(self) -> None:
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
            self._task = None

    def _leave(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED


class _Batch:
    """Events on their way to the log, and how many of them are whose."""

    def __init__(self) -> None:
        self.drafts: list[Draft] = []
        self.parts: list[tuple[_Sender, int]] = []
        self._bytes = 0

    def take(self, line: deque[_Sender], events: int) -> None:
        """Take from the senders in front until there are so many events, or too many bytes for another one, or it is
        the turn of a sender of whom another batch has some."""
        while line and len(self.drafts) < events and self._bytes < _BATCH_BYTES:
            sender = line[0]
            if sender.under_way and not sender.left:
                break
            before = len(self.drafts)
            if not sender.left:
                for draft in sender.drafts[sender.taken : sender.taken + events - before]:
                    self.drafts.append(draft)
                    self._bytes += len(draft.head)
                    if self._bytes >= _BATCH_BYTES:
                        break
                count = len(self.drafts) - before
                sender.taken += count
                self.parts.append((sender, count))
            if sender.left or sender.taken == len(sender.drafts):
                line.popleft()

    def settle(self, outcomes: Sequence[Appended | Unavailable]) -> None:
        """Tell the senders, and wake those who know all now."""
        begin = 0
        for sender, count in self.parts:
            sender.outcomes += outcomes[begin : begin + count]
            begin += count
            if len(sender.outcomes) == len(sender.drafts):
                sender.wake()

    @property
    def deserted(self) -> bool:
        """Whether nobody waits for it."""
        return all(sender.left for sender, _ in self.parts)


class _Way:
    """A connection to the log, which takes a batch at a time."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.batches = 0
        self.batch = _Batch()
        self.more = trio.Event()


class Publisher:
    """Commits events to the log, for any task of this process while the service `run` is up."""

    def __init__(
        self,
        event_log: EventLog,
        queue_size: int,
        ways: int = WAYS,
        count: Callable[[Iterable[int]], object] = lambda account_ids: None,
    ) -> None:
        """`queue_size` is how many senders of single events may wait. `count` hears of what was committed, by the
        accounts of the events."""
        self._log = event_log
        self._queue_size = queue_size
        self._count = count
        self._singles: deque[_Sender] = deque()
        self._lots: deque[_Sender] = deque()
        self._ways = [_Way(number) for number in range(ways)]
        self._idle: list[_Way] = []
        self._called = False  # an idle way, that has not come yet

    @property
    def waiting(self) -> int:
        """How many events wait to be sent to the log."""
        return sum(len(sender.drafts) - sender.taken for line in (self._singles, self._lots) for sender in line)

    async def commit(self, draft: Draft) -> Appended:
        """Return where the event stands in the log, once it is there.

        Raises Unavailable if it certainly is not there because the log is away or the queue is full, and
        OutcomeUnknown if it was sent but no answer came; both within 5 s. A sender that is cancelled takes back an
        event that is still waiting.
        """
        if len(self._singles) >= self._queue_size:
            raise Unavailable(PART, f"{self._queue_size} events are waiting for it already")
        [outcome] = await self._wait((draft,), self._singles)
        if isinstance(outcome, Appended):
            return outcome
        raise type(outcome)(PART, outcome.reason)  # one of its own for each sender

    async def commit_many(self, drafts: Sequence[Draft]) -> list[Outcome]:
        """Commit events in their order; return what became of each: where it stands, or why it is certainly not there
        (Unavailable), or that it was sent but no answer came (OutcomeUnknown).

        At most 1,000 at a time. Where the queue of single events refuses, this waits for its turn; the outcomes are
        there within 5 s all the same. A sender that is cancelled takes back the events that are still waiting.
        """
        return await self._wait(drafts, self._lots) if drafts else []

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Service: commit what is waiting, batch by batch."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._refuse_the_late)
            self._idle, self._called = [], False
            for way in self._ways:
                nursery.start_soon(self._commit_by, way)
            task_status.started()

    async def _commit_by(self, way: _Way) -> None:
        while True:
            way.batch = self._gather()
            if way.batch.drafts:
                self._call()  # for what is left
                await self._append(way)
            else:
                way.more = trio.Event()
                self._idle.append(way)
                await way.more.wait()
                self._called = False

    def _call(self) -> None:
        """See to it that someone comes for what is waiting. One is enough: mostly it takes all."""
        if self._idle and not self._called and (self._singles or self._lots):
            self._called = True
            self._idle.pop().more.set()

    async def _wait(self, drafts: Sequence[Draft], line: deque[_Sender]) -> list[Outcome]:
        sender = _Sender(drafts)
        line.append(sender)
        self._call()
        await sender.wait()
        outcomes: list[Outcome] = [*sender.outcomes]
        if len(outcomes) < len(drafts):
            outcomes += [OutcomeUnknown(PART, "no answer in time")] * (sender.taken - len(outcomes))
            outcomes += [Unavailable(PART, "too slow for the events that are waiting")] * (len(drafts) - sender.taken)
        return outcomes

    def _gather(self) -> _Batch:
        batch = _Batch()
        batch.take(self._singles, _BATCH_EVENTS // 2 if self._lots else _BATCH_EVENTS)
        batch.take(self._lots, _BATCH_EVENTS)
        return batch

    async def _append(self, way: _Way) -> None:
        way.batches += 1
        batch, unknown = way.batch, False
        metrics.BATCHES.observe(len(batch.drafts))
        while True:
            try:
                with metrics.APPEND.time():
                    outcomes = await self._log.append(batch.drafts, way.batches, way.number)
                committed = [
                    draft.account_id
                    for draft, outcome in zip(batch.drafts, outcomes, strict=True)
                    if isinstance(outcome, Appended)
                ]
                metrics.ACCEPTED.inc(len(committed))
                self._count(committed)
                return batch.settle(outcomes)
            except OutcomeUnknown:
                unknown = True
            except Unavailable as error:
                if not unknown:
                    return batch.settle([error] * len(batch.drafts))
            if batch.deserted:
                return None
            await trio.sleep(_RETRY_EVERY)

    async def _refuse_the_late(self) -> None:
        while True:
            await trio.sleep(_LOOK_EVERY)
            too_early = trio.current_time() - PATIENCE
            for line in (self._singles, self._lots):
                while line and (line[0].left or line[0].since <= too_early):
                    line.popleft().wake()
            for way in self._ways:
                for sender, _ in way.batch.parts:
                    if sender.since <= too_early:
                        sender.wake()
