"""Where events come from: Redis, by a supervised subscription."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress

import trio

from listener.config import Config
from listener.output import escape


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
        await nursery.start(supervise, feed.run, Health(f"Redis@{config.address}", reporter()))
        yield feed.messages
        nursery.cancel_scope.cancel()


def reporter() -> Callable[[str, str | None], None]:
    """Make a function that tells a person, on standard error, that a part went away or came back."""

    def report(part: str, reason: str | None) -> None:
        if reason is None:
            text = f"{part} is back. Events sent in between were not received."
        else:
            text = f"{part} is away ({reason}). Trying again until it is back."
        with suppress(OSError):
            print(escape(text), file=sys.stderr, flush=True)

    return report
