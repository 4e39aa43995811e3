"""The publisher: from accepted events to the log, in batches, one at a time, in the order of acceptance.

The queue is bounded. While one batch is on its way the next one gathers, so batches grow with the load and a lone
event leaves at once.
"""

from __future__ import annotations

import trio

from shared.errors import OutcomeUnknown, Unavailable
from shared.events import Draft
from shared.log import PART, Appended, EventLog

PATIENCE = 4.5
"""For how many seconds a sender waits for the log before it is refused."""

_BATCH_EVENTS = 500
_BATCH_BYTES = 1 << 20


class _Waiting:
    """An event whose sender waits for the outcome."""

    __slots__ = ("draft", "outcome", "settled", "taken", "withdrawn")

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.taken = False  # into a batch: from here on only the log knows whether it is in
        self.withdrawn = False
        self.settled = trio.Event()
        self.outcome: Appended | Unavailable | OutcomeUnknown = OutcomeUnknown(PART, "no answer in time")

    def settle(self, outcome: Appended | Unavailable | OutcomeUnknown) -> None:
        self.outcome = outcome
        self.settled.set()


class Publisher:
    """Commits events to the log, for any task of this process while the service `run` is up."""

    def __init__(self, event_log: EventLog, queue_size: int) -> None:
        """`queue_size` is how many events may wait."""
        self._log = event_log
        self._queue_size = queue_size
        self._send, self._receive = trio.open_memory_channel[_Waiting](queue_size)

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
            waiting.withdrawn = not waiting.taken
        if waiting.withdrawn:
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
            if not waiting.withdrawn:
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
        try:
            outcomes = await self._log.append([waiting.draft for waiting in batch])
        except (Unavailable, OutcomeUnknown) as error:
            for waiting in batch:
                waiting.settle(error)
        else:
            for waiting, outcome in zip(batch, outcomes, strict=True):
                waiting.settle(outcome)
