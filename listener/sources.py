"""Where events come from: the log in Redis, or a tracker's WebSocket. Either way: frames, across all outages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import trio

from listener.config import Config
from listener.status import Status, Stop
from listener.terminal import tell
from shared.errors import Misconfigured, Refused
from shared.frames import Frame

if TYPE_CHECKING:
    from shared.supervision import Health


class Source(Protocol):
    """What follows accounts. It resumes by itself where it stopped."""

    async def receive(self) -> list[Frame]:
        """The next frames, at least one. Cancellation loses none. While a server is away, it waits."""


Report = Callable[[str, str | None], object]


def tell_health(part: str, reason: str | None) -> None:
    """Tell a person that a part went away, or came back."""
    if reason is None:
        tell(f"{part} is back. What was missed follows.")
    else:
        tell(f"{part} is away ({reason.rstrip('.')}). Trying again until it is back.")


@asynccontextmanager
async def open_source(
    config: Config, accounts: Collection[int] | None, since: str | None, report: Report = tell_health
) -> AsyncIterator[Source]:
    """Follow accounts (None: all) from `since` on (None: from now on).

    When the server behind it goes away, `report` is told so once, and once when it is back. Raises Misconfigured, and
    Stop when it is refused or the server is away for longer than --give-up; both also later in the block.
    """
    from shared.supervision import Health

    health = Health(config.address, report)
    open_one = _open_websocket if config.is_websocket else _open_log
    async with trio.open_nursery() as nursery:
        if config.give_up is not None:
            nursery.start_soon(_give_up, health, config.give_up)
        async with open_one(config, accounts, since, health) as source:
            yield source
        nursery.cancel_scope.cancel()


async def _give_up(health: Health, after: float) -> None:
    """Raise Stop (UNREACHABLE) when the part was away for so many seconds at a stretch."""
    while True:
        await health.wait_away()
        with trio.move_on_after(after) as waiting:
            await health.wait_up()
        if waiting.cancelled_caught:
            raise Stop(
                Status.UNREACHABLE, f"{health.part} is away for longer than {after:g} s ({health.reason}): given up."
            )


@asynccontextmanager
async def _open_websocket(
    config: Config, accounts: Collection[int] | None, since: str | None, health: Health
) -> AsyncIterator[Source]:
    # Imported here because it takes longer than all of the prompt.
    from listener.websocket_source import WebSocketSource
    from shared.supervision import supervise

    source = WebSocketSource(config.url, config.address, accounts, since, config.read_token())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervise, source.run, health)
        yield source
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _open_log(
    config: Config, accounts: Collection[int] | None, since: str | None, health: Health
) -> AsyncIterator[Source]:
    from shared.feed import Feed
    from shared.log import EventLog
    from shared.position import parse_since
    from shared.supervision import supervise

    try:
        begin = None if since is None else parse_since(since, datetime.now(UTC))
    except Refused as error:
        raise Misconfigured(str(error)) from error
    log = EventLog(config.url, "listener", appends=False, on_damage=lambda text: tell(f"! skipped: {text}"))
    feed = Feed(config.url, log)

    async def run(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Both as one service: it is one Redis that goes and comes back, and said to be away once."""
        async with trio.open_nursery() as nursery:
            await nursery.start(log.run)
            await nursery.start(feed.run)
            task_status.started()

    services = trio.CancelScope(shield=True)

    async def keep() -> None:
        with services:
            await supervise(run, health)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep)
        try:
            async with feed.follow(accounts, begin) as follower:
                yield follower
        finally:
            services.cancel()  # only now: whoever reads the log leaves before its connections do
