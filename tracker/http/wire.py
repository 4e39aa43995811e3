"""A client's socket as the lane uses it."""

from __future__ import annotations

import socket

import trio

from shared import wire
from tracker.http import limits


class Wire(wire.Wire):
    """One task's use of a client's connection; trio's own stream is for whoever comes after."""

    async def send_rest(self, data: memoryview) -> None:
        """Raises TimeoutError, which is an OSError, if the client does not read."""
        with trio.move_on_after(limits.SEND_TIMEOUT) as patience:
            await super().send_rest(data)
        if patience.cancelled_caught:
            raise TimeoutError

    async def finish(self) -> None:
        """Send no more, and read on for a moment."""
        self.stream.socket.shutdown(socket.SHUT_WR)
        with trio.move_on_after(limits.LINGER):
            while True:
                await self.receive()
