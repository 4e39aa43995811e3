"""Bodies that are read while they come, and make their senders wait for whoever reads them."""

from __future__ import annotations

from typing import Any, cast

import trio
from quart_trio.asgi import TrioASGIHTTPConnection
from quart_trio.wrappers.request import TrioBody

HELD = 64 * 1024
"""How many bytes are kept for the reader before no more are taken from the connection."""


class PacedBody(TrioBody):
    """A body without a bound, of which little is in memory."""

    def __init__(self) -> None:
        super().__init__(None, None)
        self._unwanted = False
        self._taken = trio.Event()

    async def __anext__(self) -> bytes:
        data = await super().__anext__()
        self._taken.set()
        return data

    def append(self, data: bytes) -> None:
        if not self._unwanted:
            super().append(data)

    async def room(self) -> None:
        """Wait until more may come."""
        while len(self._data) >= HELD and not self._unwanted:
            self._taken = trio.Event()
            await self._taken.wait()

    def drop(self) -> None:
        """Take what still comes, and forget it."""
        self._unwanted = True
        self._taken.set()


class PacingConnection(TrioASGIHTTPConnection):
    """Quart-Trio's part of a request. It takes what comes at once, however slow the application is, and hypercorn can
    end an answer only when all that came was taken."""

    async def handle_messages(  # type: ignore[override]  # as Quart-Trio has it
        self, nursery: trio.Nursery, request: Any, receive: Any
    ) -> None:
        while (message := await receive())["type"] == "http.request":
            request.body.append(message.get("body", b""))
            if not message.get("more_body", False):
                request.body.set_complete()
            if isinstance(request.body, PacedBody):
                await request.body.room()
        nursery.cancel_scope.cancel()

    async def handle_request(  # type: ignore[override]  # as Quart-Trio has it
        self, nursery: trio.Nursery, request: Any, send: Any
    ) -> None:
        async def send_and_drop(message: dict[str, Any]) -> None:
            if isinstance(request.body, PacedBody) and not message.get("more_body", True):
                request.body.drop()
            await send(message)

        await super().handle_request(nursery, request, cast(Any, send_and_drop))
