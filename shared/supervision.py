"""Keeping services alive while the servers they need come and go.

A service is `async def run(*, task_status)`: it calls `task_status.started()` once it is ready, and then runs until it
is cancelled. If a server that it needs goes away it raises `Unavailable`, and `supervise` starts it anew. Every other
exception is a bug: it propagates, and ends the program.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from typing import NoReturn, Protocol, cast

import trio

from shared.errors import Unavailable, first_leaf

FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0


class Service(Protocol):
    """What `supervise` takes."""

    def __call__(self, *, task_status: trio.TaskStatus[None]) -> Awaitable[None]: ...


class Health:
    """Whether one supervised part is up, and why not. Made by whoever supervises it, read by whoever reports it."""

    def __init__(self, part: str, report: Callable[[str, str | None], object]) -> None:
        """`report(part, reason)` is called once for each change: with the reason when the part went away, with None
        when it is back. A part that starts without trouble is not reported."""
        self.part = part
        self.reason: str | None = "starting"
        self._report = report
        self._was_away = False
        self._up = trio.Event()
        self._away = trio.Event()
        self._away.set()

    @property
    def up(self) -> bool:
        return self.reason is None

    async def wait_up(self) -> None:
        """Return when the part is up (at once if it is)."""
        await self._up.wait()

    async def wait_away(self) -> None:
        """Return when the part is not up (at once if it is not)."""
        await self._away.wait()

    def came_up(self) -> None:
        """Note that the part is up."""
        self.reason = None
        self._up.set()
        self._away = trio.Event()
        if self._was_away:
            self._was_away = False
            self._report(self.part, None)

    def went_away(self, reason: str) -> None:
        """Note that the part is away, and why."""
        self.reason = reason
        self._away.set()
        if self._up.is_set():
            self._up = trio.Event()
        if not self._was_away:
            self._was_away = True
            self._report(self.part, reason)


def backoff(first: float = FIRST_DELAY, longest: float = LONGEST_DELAY) -> Iterator[float]:
    """Yield delays in seconds without end: doubling from `first` up to `longest`, each cut by up to half at random.

    The jitter keeps many clients of one server from coming back in step (the "equal jitter" of Marc Brooker,
    "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
    """
    delay = first
    while True:
        yield delay * random.uniform(0.5, 1.0)
        delay = min(delay * 2, longest)


async def supervise(
    run: Service, health: Health, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> NoReturn:
    """Run a service for ever; start it again after a backoff whenever it raises `Unavailable`.

    `task_status.started()` is called the first time that the service is ready. A service that has been up for the
    longest delay is tried again from the shortest one.

    Raises whatever else the service raises (alone or in a group), and RuntimeError if the service just returns.
    """
    delays = backoff()
    first_start = True

    def ready() -> None:
        nonlocal first_start
        health.came_up()
        if first_start:
            first_start = False
            task_status.started()

    while True:
        started_at: float | None = None
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(run)
                started_at = trio.current_time()
                ready()
            raise RuntimeError(f"service {health.part!r} returned; services run until they are cancelled")
        except* Unavailable as group:
            health.went_away(cast(Unavailable, first_leaf(group)).reason)
        if started_at is not None and trio.current_time() - started_at > LONGEST_DELAY:
            delays = backoff()
        await trio.sleep(next(delays))


def after(health: Health, run: Service) -> Service:
    """The service, started each time only once another part is up."""

    async def run_after(*, task_status: trio.TaskStatus[None]) -> None:
        await health.wait_up()
        await run(task_status=task_status)

    return run_after
