"""A socket as the lane uses it: no task, no lock and no failed attempt for what is there and fits."""

from __future__ import annotations

import contextlib
import os
import socket

import trio

from tracker.http import limits

_RECEIVE = 64 * 1024


class Wire:
    """One task's use of a TCP connection; trio's own stream is for whoever comes after."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.number = stream.socket.fileno()
        """That of the file."""

    async def receive(self) -> bytes:
        """What has come. Raises EOFError at the end, and OSError if the connection is broken."""
        while True:
            await trio.lowlevel.wait_readable(self.number)
            try:
                if data := os.read(self.number, _RECEIVE):
                    return data
            except BlockingIOError:  # woken without a reason
                continue
            raise EOFError

    async def send(self, data: bytes) -> None:
        """Send it all. Raises OSError if the connection is broken, or the client does not read. No checkpoint if there
        is room for it."""
        try:
            sent = os.write(self.number, data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            with trio.move_on_after(limits.SEND_TIMEOUT) as patience:
                await self._send(memoryview(data)[sent:])
            if patience.cancelled_caught:
                raise TimeoutError

    async def _send(self, data: memoryview) -> None:
        while data:
            await trio.lowlevel.wait_writable(self.number)
            with contextlib.suppress(BlockingIOError):
                data = data[os.write(self.number, data) :]

    async def finish(self) -> None:
        """Send no more, and read on for a moment."""
        self.stream.socket.shutdown(socket.SHUT_WR)
        with trio.move_on_after(limits.LINGER):
            while True:
                await self.receive()
