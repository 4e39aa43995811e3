"""A WebSocket under way: frames go out, wishes come in.

It gets its keepalive (pings) from hypercorn, and its end from the application (`app.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from math import inf
from typing import Any, Protocol

import msgspec
import trio

from shared.errors import Refused
from shared.frames import Error, Frame
from tracker.http.message import Message
from tracker.http.sessions import Existing, Follower, message, sort_out
from tracker.http.stream_query import MAX_ACCOUNTS, TOO_MANY

PATIENCE = 20
"""How many messages of a client are taken in a row …"""
PACE = 0.1
"""… before there is this much time between them, in seconds."""


class FrameSocket(Protocol):
    """What is used of a WebSocket."""

    async def send_message(self, message: Message) -> None: ...
    async def receive(self) -> Any: ...


async def converse(
    websocket: FrameSocket,
    follow: Callable[[], AbstractAsyncContextManager[Follower]],
    following: set[int] | None,
    first: Sequence[Frame],
    accounts: Existing,
) -> None:
    """Send a WebSocket its frames, and do what it asks for, until it ends. `following` is None for all accounts."""
    if first:
        await websocket.send_message(message(first))
    async with follow() as follower, trio.open_nursery() as nursery:
        nursery.start_soon(_obey, websocket, follower, following, accounts)
        while True:
            await websocket.send_message(message(await follower.receive()))


class _Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="pascal"):
    """What a client may say."""

    follow: list[int] = []
    unfollow: list[int] = []


_wish = msgspec.json.Decoder(_Wish)
_EXPECTED = 'expected {"Follow":[4,5]}, {"Unfollow":[4]} or both in one object, with account IDs, numbers from 1 up'


async def _obey(websocket: FrameSocket, follower: Follower, following: set[int] | None, accounts: Existing) -> None:
    """Take a client's messages, slowly if they are many: what is not read yet is the client's to keep."""
    ahead = -inf
    while True:
        asked = await websocket.receive()
        now = trio.current_time()
        ahead = max(ahead, now - PATIENCE * PACE) + PACE
        await trio.sleep(max(0.0, ahead - now))
        try:
            said = await _fulfil(_parse(asked), follower, following, accounts)
        except Refused as refusal:
            said = [Error(detail=str(refusal))]
        if said:
            await websocket.send_message(message(said))


def _parse(asked: Any) -> _Wish:
    if not isinstance(asked, str):
        raise Refused(f"This is a binary message: {_EXPECTED}, as text.")
    try:
        wish = _wish.decode(asked.encode(errors="replace"))
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refused(f"Not understood ({error}): {_EXPECTED}.") from None
    if not wish.follow and not wish.unfollow:
        raise Refused(f"There is no account in it: {_EXPECTED}.")
    if bad := [account for account in (*wish.follow, *wish.unfollow) if account < 1]:
        raise Refused(f"{bad[0]} is no account ID: {_EXPECTED}.")
    return wish


async def _fulfil(wish: _Wish, follower: Follower, following: set[int] | None, accounts: Existing) -> Sequence[Frame]:
    """Change what is followed; return what there is to say of it."""
    if following is None:
        raise Refused("This stream follows all accounts, once and for all: expected no Follow or Unfollow on it.")
    wanted = (following - set(wish.unfollow)) | set(wish.follow)
    if len(wanted) > MAX_ACCOUNTS:
        raise Refused(f"That would be {len(wanted)} accounts. {TOO_MANY}")
    found, errors = await sort_out(wanted - following, accounts)
    gone = following - wanted
    if gone:
        follower.unfollow(gone)
    if wish.follow:
        follower.follow(found)
    following -= gone
    following |= found
    return errors
