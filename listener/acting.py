"""Running a command for each event, at least once: which events are under way, and what becomes of those that fail."""

from __future__ import annotations

import resource
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from listener import dead_letters, terminal
from listener.command import Command, Outcome
from listener.decoded import Decoded, decode
from listener.output import escape
from listener.settings import Acting
from listener.status import Status, Stop
from listener.watermark import Entry, Watermark
from shared.errors import Misconfigured
from shared.frames import EventFrame
from shared.supervision import backoff

FINISH_WITHIN = 5.0
"""For how many seconds the commands that run when the program is told to end, or has to, may go on. Then they are
ended."""

FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0
"""Between the tries of a command, in seconds: what it needs may have to start again."""

MOST_EVENTS = 1000
MOST_BYTES = 16 << 20
"""How much may be taken and not done. With several places, so much of an account whose commands are slow may wait
before the others have to. With one place nothing may overtake, so nothing is taken to wait."""

_FILES_EACH = 3
_FILES_BESIDE = 100
"""How many open files a running command takes of ours, and all else."""


class _Job:
    """An event under way."""

    def __init__(self, event: EventFrame, entry: Entry, decoded: Decoded) -> None:
        self.event = event
        self.entry = entry
        self.decoded = decoded
        self.name = f"account {event.account_id}, event {event.seq}"
        self.tries = 0
        self.outcome = Outcome()


class Actions:
    """The events that were taken, and what is not done of them yet.

    An event is done when its command succeeded, or when it is a dead letter on disk. It holds one of `concurrency`
    places from its first try to its last. Those of an account come one after the other; with one place all do, in the
    order of the log.
    """

    def __init__(
        self,
        settings: Acting,
        command: Command,
        note: Callable[[str], object],
        reached: Callable[[str], object],
        nursery: trio.Nursery,
    ) -> None:
        """For `open_acting`, which says the rest."""
        self.running = 0
        self._settings = settings
        self._command = command
        self._note = note
        self._nursery = nursery
        self._watermark = Watermark(reached)
        self._most = 1 if settings.concurrency == 1 else MOST_EVENTS
        self._bytes = 0
        self._places = trio.Semaphore(settings.concurrency)
        self._accounts: dict[int, deque[_Job]] = {}
        self._progress = trio.lowlevel.ParkingLot()

    async def take(self, event: EventFrame) -> None:
        """Have the command run for the next event of the log when it is its turn. Waits while too many are under way.

        Raises NoEvent, and then has not taken it.
        """
        decoded = decode(event.line)
        while len(self._watermark) >= self._most or (self._watermark and self._bytes + len(event.line) > MOST_BYTES):
            await self._progress.park()
        self._bytes += len(event.line)
        job = _Job(event, self._watermark.begin(event.position), decoded)
        if event.account_id in self._accounts:
            self._accounts[event.account_id].append(job)
        else:
            self._accounts[event.account_id] = deque([job])
            self._nursery.start_soon(self._work_off, event.account_id)

    def pass_by(self, position: str) -> None:
        """What comes next in the log, up to this Position, needs nothing done."""
        self._watermark.pass_by(position)

    async def finish(self) -> None:
        """Return once all that was taken is done."""
        while self._watermark:
            await self._progress.park()

    async def _work_off(self, account: int) -> None:
        jobs = self._accounts[account]
        while jobs:
            async with self._places:
                await self._see_through(jobs[0])
            jobs.popleft()
        del self._accounts[account]

    async def _see_through(self, job: _Job) -> None:
        for delay in backoff(FIRST_DELAY, LONGEST_DELAY):
            await trio.lowlevel.checkpoint_if_cancelled()  # else `finish` would still begin it
            await terminal.finish(partial(self._try, job), within=FINISH_WITHIN)
            if not job.outcome.failure:
                return
            if job.tries > self._settings.retries or not job.outcome.again:
                break
            await trio.sleep(delay)
        if self._settings.dead_letter is None:
            raise Stop(
                Status.FAULT,
                f"{job.name}: {job.outcome.failure}, in {_tries(job.tries)}. With --state the next start begins with "
                "this event again: mend the command first, or set such events aside with --dead-letter FILE.",
            )
        await terminal.finish(partial(self._set_aside, job, self._settings.dead_letter), within=FINISH_WITHIN)

    async def _try(self, job: _Job) -> None:
        job.tries += 1
        self.running += 1
        try:
            job.outcome = await self._command.run(
                job.decoded,
                job.event.text + b"\n",
                {"EVENT_ATTEMPT": str(job.tries)},
                self._settings.exec_timeout,
            )
        finally:
            self.running -= 1
        if job.outcome.failure:
            of = self._settings.retries + 1 if job.outcome.again else job.tries
            self._note(f"! {job.name}: {job.outcome.failure} (try {job.tries} of {of})")
        else:
            self._done(job)

    async def _set_aside(self, job: _Job, path: Path) -> None:
        try:
            await dead_letters.append(path, job.event, job.outcome.failure, job.tries)
        except OSError as error:
            raise Stop(
                Status.FAULT,
                f"{job.name}: {job.outcome.failure}, and --dead-letter {escape(str(path))} can't be written: "
                f"{error.strerror}. With --state the next start begins with this event again: make room first.",
            ) from error
        self._note(f"! {job.name} is set aside in {escape(str(path))}")
        self._done(job)

    def _done(self, job: _Job) -> None:
        self._bytes -= len(job.event.line)
        self._watermark.done(job.entry)
        self._progress.unpark_all()


@asynccontextmanager
async def open_acting(
    settings: Acting, note: Callable[[str], object], reached: Callable[[str], object]
) -> AsyncIterator[Actions]:
    """Run `settings.exec` for each event that is taken in the block.

    `note` gets a line for people about each failure, and must not wait. `reached` gets the Position up to which
    everything is done, each time that it moves. Leaving the block waits until all that was taken is done. Leaving it by
    an exception or cancellation starts nothing more, and gives the commands that run FINISH_WITHIN seconds to end by
    themselves; what of them does, still counts.

    Raises Misconfigured before the block; and Stop (FAULT), also within it, when an event is given up and can't be set
    aside as a dead letter.
    """
    assert settings.exec is not None
    _check(settings)
    command = Command(settings.exec, shell=settings.shell)
    if settings.dead_letter is not None:
        await dead_letters.prove_writable(settings.dead_letter)
    async with trio.open_nursery() as nursery:
        actions = Actions(settings, command, note, reached, nursery)
        try:
            yield actions
        except BaseException:
            if actions.running:
                which = "command that runs" if actions.running == 1 else f"{actions.running} commands that run"
                note(f"Waiting up to {FINISH_WITHIN:g} s for the {which}.")
            raise


def _check(settings: Acting) -> None:
    if settings.exec_timeout <= 0:
        raise Misconfigured("--exec-timeout leaves a command no time at all. Expected a longer one, such as 60s.")
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = (files - _FILES_BESIDE) // _FILES_EACH
    if files != resource.RLIM_INFINITY and 1 < settings.concurrency > most:
        raise Misconfigured(
            f"--concurrency {settings.concurrency} takes more open files than the {files} that this process may have. "
            f"Expected {max(most, 1)} at most, or a higher limit: ulimit -n."
        )


def _tries(number: int) -> str:
    return "1 try" if number == 1 else f"{number} tries"
