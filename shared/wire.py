"""A socket without task, lock or failed attempt for what is there and fits: for where trio's streams cost too much.

They have a checkpoint in each call, which is a round of the scheduler, also where nothing has to wait; and they try to
read before they wait for something to read.
"""

from __future__ import annotations

import contextlib
import os

import trio

_RECEIVE = 64 * 1024


class Wire:
    """One task's use of a connection; who closes the stream sees to it that nothing is sent after."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.number = stream.socket.fileno()
        """That of the file."""

    async def receive(self) -> bytes:
        """What has come. Raises EOFError at the end, and OSError if the connection is broken."""
        while True:
            await trio.lowlevel.wait_readable(self.number)
            if self.stream.socket.fileno() != self.number:  # closed since: the number may be another connection's
                raise trio.ClosedResourceError
            try:
                if data := os.read(self.number, _RECEIVE):
                    return data
            except BlockingIOError:  # woken without a reason
                continue
            raise EOFError

    async def send(self, data: bytes) -> None:
        """Send it all. Raises OSError if the connection is broken. No checkpoint if there is room for it."""
        try:
            sent = os.write(self.number, data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            await self.send_rest(memoryview(data)[sent:])

    async def send_rest(self, data: memoryview) -> None:
        """The same, where there was no room."""
        while data:
            await trio.lowlevel.wait_writable(self.number)
            with contextlib.suppress(BlockingIOError):
                data = data[os.write(self.number, data) :]
