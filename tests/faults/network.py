"""A network that can be cut and stalled: a TCP port that leads to a Unix socket."""

from __future__ import annotations

import contextlib
import socket
import struct
from functools import partial
from pathlib import Path

import trio

ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: closing resets the connection


class Link:
    """Passes bytes on both ways, unless it is cut or stalled.

    A stall holds bytes back and loses none: what was sent into it arrives late, even if its sender has long given up.
    That is how a command of a dead connection overtakes those of the next one.
    """

    def __init__(self, target: Path) -> None:
        self.port = 0
        self._target = target
        self._flows = trio.Event()
        self._flows.set()
        self._answers = trio.Event()
        self._answers.set()
        self._is_cut = False
        self._open: set[trio.CancelScope] = set()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Reset every connection, those that are to come too."""
        self._is_cut = True
        for scope in self._open:
            scope.cancel()

    def stall(self) -> None:
        self._flows = trio.Event()

    def mute(self) -> None:
        """Let commands pass, and hold their answers back; a cut then loses these."""
        self._answers = trio.Event()

    def repair(self) -> None:
        self._is_cut = False
        self._flows.set()
        self._answers.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            [listener] = await nursery.start(partial(trio.serve_tcp, self._serve, 0, host="127.0.0.1"))
            self.port = listener.socket.getsockname()[1]
            task_status.started()

    async def _serve(self, client: trio.SocketStream) -> None:
        with trio.CancelScope() as scope, contextlib.suppress(OSError, trio.BrokenResourceError):
            self._open.add(scope)
            try:
                if not self._is_cut:
                    async with await trio.open_unix_socket(self._target) as server, trio.open_nursery() as nursery:
                        nursery.start_soon(self._pass_on, client, server, False)
                        nursery.start_soon(self._pass_on, server, client, True)
            finally:
                self._open.remove(scope)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)

    async def _pass_on(self, source: trio.SocketStream, sink: trio.SocketStream, answers: bool) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await source.receive_some(65536):
                await self._until_it_flows(answers)
                await sink.send_all(data)
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._until_it_flows(answers)
            await sink.send_eof()

    async def _until_it_flows(self, answers: bool) -> None:
        await self._flows.wait()
        if answers:
            await self._answers.wait()
