"""Where events come from: Redis, by a supervised subscription."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import trio

from listener.config import Config
from listener.terminal import tell


@asynccontextmanager
async def open_source(config: Config, accounts: Iterable[int]) -> AsyncIterator[trio.MemoryReceiveChannel[bytes]]:
    """Open a channel of events' bytes, once Redis has confirmed the subscription.

    While Redis is away the channel is quiet, and standard error says so, once.
    """
    # Imported here because it takes longer than all of the prompt.
    from shared.feed import Feed
    from shared.supervision import Health, supervise

    feed = Feed(config.url, accounts)
    async with trio.open_nursery() as nursery:
        await nursery.start(supervise, feed.run, Health(f"Redis@{config.address}", report))
        yield feed.messages
        nursery.cancel_scope.cancel()


def report(part: str, reason: str | None) -> None:
    """Tell a person that a part went away, or came back."""
    if reason is None:
        tell(f"{part} is back. Events sent in between were not received.")
    else:
        tell(f"{part} is away ({reason.rstrip('.')}). Trying again until it is back.")
