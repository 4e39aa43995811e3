"""Following accounts and writing their events, as both the prompt and `listener events` do."""

from __future__ import annotations

from collections.abc import Collection

import trio

from listener.config import Config
from listener.output import NoEvent, account_list, json_line, line
from listener.sources import open_source
from listener.terminal import STDERR, STDOUT, write

BATCH = 500
"""The most events in one write."""


async def listen(
    config: Config, accounts: Collection[int], *, announce_to: int, json: bool = False, safe: bool = True
) -> None:
    """Write the accounts' events to standard output until cancelled.

    `json` writes the events' own JSON, and `safe` then escapes what drives a terminal. "listening for events from"
    goes to the file descriptor `announce_to`, when that has become true.
    """
    async with open_source(config, accounts) as messages:
        await write([f"listening for events from: {account_list(accounts)}"], to=announce_to)
        async for message in messages:
            await _write_batch([message, *_waiting(messages)], json=json, safe=safe)


def _waiting(messages: trio.MemoryReceiveChannel[bytes]) -> list[bytes]:
    waiting: list[bytes] = []
    while len(waiting) < BATCH - 1:
        try:
            waiting.append(messages.receive_nowait())
        except trio.WouldBlock:
            break
    return waiting


async def _write_batch(batch: list[bytes], *, json: bool, safe: bool) -> None:
    lines: list[str | bytes] = []
    complaints: list[str] = []
    for message in batch:
        try:
            lines.append(json_line(message, safe=safe) if json else line(message))
        except NoEvent as error:
            complaints.append(f"Skipped a message that is no event: {error}.")
    if lines:
        await write(lines, to=STDOUT)
    if complaints:
        await write(complaints, to=STDERR)
