"""The publisher: from accepted events to the log, in batches, one at a time, in the order of acceptance.

The queue is bounded. While one batch is on its way the next one gathers, so batches grow with the load and a lone
event leaves at once. A batch that gets no answer is sent again, under its number, as long as anyone waits for it: the
log recognises it.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from shared.errors import OutcomeUnknown, Unavailable
from shared.events import Draft
from shared.log import PART, Appended, EventLog

PATIENCE = 4.5
"""For how many seconds a sender waits for the log before it is refused."""

_RETRY_EVERY = 0.2
_BATCH_EVENTS = 500
_BATCH_BYTES = 1 << 20


class _Waiting:
    """An event whose sender waits for the outcome."""

    __slots__ = ("draft", "left", "outcome", "settled", "taken")

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.taken = False  # into a batch: from here on only the log knows whether it is in
        self.left = False  # the sender waits no longer
        self.settled = trio.Event()
        self.outcome: Appended | Unavailable | OutcomeUnknown = OutcomeUnknown(PART, "no answer in time")


class Publisher:
    """Commits events to the log, for any task of this process while the service `run` is up."""

    def __init__(self, event_log: EventLog, queue_size: int) -> None:
        """`queue_size` is how many events may wait."""
        self._log = event_log
        self._queue_size = queue_size
        self._send, self._receive = trio.open_memory_channel[_Waiting](queue_size)
        self._batches = 0

    async def commit(self, draft: Draft) -> Appended:
        """Return where the event stands in the log, once it is there.

        Raises Unavailable if it certainly is not there because the log is away or the queue is full, and
        OutcomeUnknown if it was sent but no answer came; both within 5 s. A sender that is cancelled takes back an
        event that is still waiting.
        """
        waiting = _Waiting(draft)
        try:
            self._send.send_nowait(waiting)
        except trio.WouldBlock:
            raise Unavailable(PART, f"{self._queue_size} events are waiting for it already") from None
        try:
            with trio.move_on_after(PATIENCE):
                await waiting.settled.wait()
        finally:
            waiting.left = True
        if not waiting.taken:
            raise Unavailable(PART, "too slow for the events that are waiting")
        if isinstance(waiting.outcome, Appended):
            return waiting.outcome
        raise type(waiting.outcome)(PART, waiting.outcome.reason)  # one of its own for each sender

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Service: commit what is waiting, batch by batch."""
        task_status.started()
        while True:
            batch = self._gather(await self._receive.receive())
            if batch:
                await self._append(batch)

    def _gather(self, first: _Waiting) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        waiting = first
        while True:
            if not waiting.left:
                waiting.taken = True
                batch.append(waiting)
                size += len(waiting.draft.head)
            if len(batch) == _BATCH_EVENTS or size >= _BATCH_BYTES:
                return batch
            try:
                waiting = self._receive.receive_nowait()
            except trio.WouldBlock:
                return batch

    async def _append(self, batch: list[_Waiting]) -> None:
        self._batches += 1
        drafts = [waiting.draft for waiting in batch]
        unknown: OutcomeUnknown | None = None
        while True:
            try:
                outcomes = await self._log.append(drafts, self._batches)
            except OutcomeUnknown as error:
                unknown = error
            except Unavailable as error:
                if unknown is None:
                    return _settle(batch, [error] * len(batch))
            else:
                return _settle(batch, outcomes)
            if all(waiting.left for waiting in batch):
                return None
            await trio.sleep(_RETRY_EVERY)


def _settle(batch: list[_Waiting], outcomes: Sequence[Appended | Unavailable]) -> None:
    for waiting, outcome in zip(batch, outcomes, strict=True):
        waiting.outcome = outcome
        waiting.settled.set()
