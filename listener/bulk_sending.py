"""Many events from a file or pipe to a tracker, chunk by chunk, each known to be in before the next one is sent.

Every chunk has an Idempotency-Key that follows from the run, its place in the file and its items. So it can be sent
again after an outcome that is not known, by this listener or by the one that goes on after it was killed, and nothing
is doubled as long as the log remembers the key; and lines that were changed meanwhile are not taken for the old ones.

The events of an account keep their order. What could break it is an outage of the log in the middle of a chunk which
the tracker then commits in two parts: the first is refused for now (503), the second gets in, and when the chunk is
sent again the first comes behind it. That can't be undone. It shows in the Seqs, and is told.
"""

from __future__ import annotations

import os
import shlex
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import trio

from listener.bulk_file import BulkReader, Chunk, Shorter
from listener.bulk_progress import Counts, Progress, shown
from listener.bulk_state import Confirmed, hold_state, new_run
from listener.config import Config
from listener.output import account_list, escape
from listener.sending import REMEMBERED, Attempts, Result, send_items
from listener.status import Status, Stop
from listener.terminal import STDERR, STDIN, OutputClosed, tell, write
from listener.tracker import RefusedBy, Tracker, open_tracker, patiently
from shared.errors import Misconfigured

SHOWN = 20
"""So many refused lines are told one by one, the others counted."""

MINUTES = f"{REMEMBERED / 60:.0f}"
"""For how long the log remembers."""

Note = Callable[[Chunk, int], Awaitable[None]]
"""Takes down that it is known what became of a chunk, and that so many of its lines were refused."""


@dataclass(frozen=True)
class Job:
    """What to send: a file, or standard input (None). `progress` is the file of the state (None: beside it)."""

    source: Path | None
    progress: Path | None = None
    restart: bool = False


class Bulk:
    """One run of it."""

    def __init__(self, config: Config, job: Job) -> None:
        self._config = config
        self._job = job
        self._counts = Counts()
        self._attempts = Attempts()
        self._line, self._offset = 0, 0
        self._can_resume = False
        self._refused_before = 0
        self.is_done = False

    async def run(self) -> None:
        """Send all of it. Raises Misconfigured, and Stop if it does not end well, or some was refused."""
        async with _opened(self._job.source) as descriptor:
            if self._job.source is not None and stat.S_ISREG(os.fstat(descriptor).st_mode):
                await self._send_file(self._job.source, descriptor)
            elif self._job.progress is not None or self._job.restart:
                raise Misconfigured("--progress and --restart are for a file: what comes by a pipe can't be resumed.")
            else:
                await self._send_pipe(descriptor)
        self.is_done = True
        if self._counts.refused or self._refused_before:
            raise Stop(Status.REFUSED)

    def stopped(self, status: Status, why: str) -> Stop:
        """How it ends before it is done: with how far the tracker confirmed, and what to do."""
        counts = self._counts
        said = [why.rstrip(".") + "."]
        if self._line:
            said.append(f"The tracker confirmed all up to line {self._line} (byte {self._offset}).")
        else:
            said.append("The tracker confirmed nothing yet.")
        said.append(f"Sent {counts.sent} events, refused {counts.refused} this time.")
        if self._attempts.uncertain:
            said.append("Some of the lines behind it may have been accepted.")
        if self._can_resume:
            again = shlex.join(["listener", *(word for word in sys.argv[1:] if word != "--restart")])
            said.append(f"To go on (within {MINUTES} minutes nothing comes twice): {escape(again)}")
        return Stop(status, " ".join(said))

    async def _send_file(self, path: Path, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        with hold_state(self._job.progress or path.with_name(f"{path.name}.sent")) as kept:
            try:
                confirmed = await Confirmed.begin(kept, descriptor, size, restart=self._job.restart)
            except OSError as error:
                raise Stop(Status.FAULT, f"{self._name} can't be read: {error.strerror}.") from error
            state = confirmed.state
            self._line, self._offset, self._refused_before = state.line, state.offset, state.refused
            self._can_resume = True
            if confirmed.was_finished:
                self._refused_before = 0
                await _say(f"all of it was sent already: {state.line} lines (--restart sends them again)")
                return
            if state.offset:
                await _say(f"going on behind line {state.line} (byte {state.offset})")
            if confirmed.is_late:
                await _say(
                    f"! it was stopped more than {MINUTES} minutes ago, and the log remembers no longer what was "
                    "under way then: events of the next lines, up to 1000, may come twice"
                )

            async def note(chunk: Chunk, refused: int) -> None:
                try:
                    await confirmed.note(chunk, refused)
                except OSError as error:
                    reason = escape(f"--progress {kept.path} can't be saved: {error.strerror}")
                    raise Stop(Status.FAULT, reason) from error

            try:
                async with self._sending(size, state.offset) as tracker:
                    # First what was begun, cut as it was then; and then what has come since.
                    for end in dict.fromkeys((state.end, size)):
                        state.end = end
                        reader = BulkReader(descriptor, state.offset, state.line, end)
                        await self._send(tracker, reader, state.run, note)
            finally:
                await confirmed.leave(uncertain=self._attempts.uncertain)

    async def _send_pipe(self, descriptor: int) -> None:
        async def note(chunk: Chunk, refused: int) -> None:
            pass

        async with self._sending(None, 0) as tracker:
            await self._send(tracker, BulkReader(descriptor), new_run(), note)

    @asynccontextmanager
    async def _sending(self, total: int | None, before: int) -> AsyncIterator[Tracker]:
        began = trio.current_time()
        async with open_tracker(self._config) as tracker, shown(Progress(self._counts, total, before)):
            yield tracker
        if self._counts.refused > SHOWN:
            await _say(f"! {self._counts.refused - SHOWN} more lines were refused")
        await _say(self._counts.summary(trio.current_time() - began))

    async def _send(self, tracker: Tracker, reader: BulkReader, run: str, note: Note) -> None:
        try:
            while (chunk := await trio.to_thread.run_sync(reader.cut, abandon_on_cancel=True)) is not None:
                results = await self._deliver(tracker, chunk, run)
                judged = zip(chunk.lines, results, strict=True)
                refused = chunk.refused + [(line, result.said) for line, result in judged if not result.position]
                await note(chunk, len(refused))
                await self._count(chunk, refused)
        except OSError as error:
            raise self.stopped(Status.FAULT, f"{self._name} can't be read: {error.strerror}") from error
        except Shorter as error:
            raise self.stopped(Status.FAULT, f"{self._name} became shorter while it was sent") from error
        except RefusedBy as error:
            raise self.stopped(Status.REFUSED, str(error)) from error
        except Stop as error:
            raise self.stopped(error.status, error.text) from error

    async def _deliver(self, tracker: Tracker, chunk: Chunk, run: str) -> list[Result]:
        """Send a chunk until it is known what became of all its items."""
        if not chunk.items:
            return []
        content = blake2b(b"\n".join(chunk.items), digest_size=8).hexdigest()
        key = f"{run}-{chunk.begin}-{content}"
        attempts = self._attempts = Attempts()
        results = await patiently(
            tracker.part,
            lambda: attempts.make(lambda begun: send_items(tracker, chunk.items, key, begun)),
            self._config.give_up,
            tell,
        )
        self._attempts = Attempts()
        lines = f"lines {chunk.lines[0]} to {chunk.lines[-1]}"
        if attempts.too_late:
            tell(f"! {lines} took longer than {MINUTES} minutes: some of their events may have come twice")
        if unordered := _unordered(chunk.accounts, results):
            who = account_list(unordered)
            tell(f"! {lines}: the log went away meanwhile, and has the events of accounts {who} in another order")
        return results

    async def _count(self, chunk: Chunk, refused: list[tuple[int, str]]) -> None:
        counts = self._counts
        some = sorted(refused)[: max(SHOWN - counts.refused, 0)]
        counts.refused += len(refused)
        counts.sent += len(chunk.lines) + len(chunk.refused) - len(refused)
        counts.frames += chunk.frames
        counts.lines += chunk.last_line - self._line
        counts.bytes += chunk.end - chunk.begin
        self._line, self._offset = chunk.last_line, chunk.end
        await _say(*(f"! line {line}: {why.rstrip('.')}" for line, why in some))

    @property
    def _name(self) -> str:
        return "Standard input" if self._job.source is None else escape(str(self._job.source))


def _unordered(accounts: Iterable[int], results: Iterable[Result]) -> set[int]:
    """The accounts of which the log has these events in another order."""
    last: dict[int, int] = {}
    unordered: set[int] = set()
    for account, result in zip(accounts, results, strict=True):
        if result.position:
            if result.seq < last.get(account, 0):
                unordered.add(account)
            last[account] = max(result.seq, last.get(account, 0))
    return unordered


async def _say(*lines: str) -> None:
    """For people; that nobody listens any more does not end it."""
    if lines:
        with suppress(OutputClosed):
            await write(lines, to=STDERR)


@asynccontextmanager
async def _opened(source: Path | None) -> AsyncIterator[int]:
    """The descriptor of a file, or of standard input."""
    if source is None:
        yield STDIN
        return
    try:  # a named pipe that nobody writes to keeps us
        descriptor = await trio.to_thread.run_sync(os.open, source, os.O_RDONLY | os.O_CLOEXEC, abandon_on_cancel=True)
        wrong = "it is a directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else ""
    except OSError as error:
        descriptor, wrong = -1, str(error.strerror)
    try:
        if wrong:
            raise Stop(Status.FAULT, f"{escape(str(source))} can't be read: {wrong}.")
        yield descriptor
    finally:
        if descriptor >= 0:
            os.close(descriptor)
