"""The bound on open connections: who comes beyond it waits to be accepted.

A connection that is not accepted costs nothing here, and another process at the same socket may take it; one that is
accepted to be refused would cost both.
"""

from __future__ import annotations

import resource

import structlog
import trio

from tracker.board import Seat
from tracker.http import limits

log = structlog.get_logger(__name__)

PATIENCE = 0.001
"""For how many seconds a worker that has more connections than another lets that one go first."""
GLANCE = 0.05
"""For how many seconds a connection may still be expected that another worker has probably taken."""


class Room:
    """How many connections there may be, and are."""

    def __init__(self, number: int, seat: Seat | None = None) -> None:
        self.seat = seat
        self._number = number
        self._taken = 0
        self._waiting = trio.lowlevel.ParkingLot()

    async def free(self) -> None:
        """Wait until there is some."""
        while self._taken >= self._number:
            await self._waiting.park()

    def take(self) -> None:
        self._count(1)

    def leave(self) -> None:
        self._count(-1)
        self._waiting.unpark_all()

    def _count(self, change: int) -> None:
        self._taken += change
        if self.seat:
            self.seat.connected(self._taken)


class Bounded(trio.abc.Listener[trio.SocketStream]):
    """A listener that accepts while there is room."""

    def __init__(self, listener: trio.SocketListener, room: Room) -> None:
        self._listener = listener
        self._room = room

    async def accept(self) -> trio.SocketStream:
        await self._room.free()
        seat = self._room.seat
        stream = await self._listener.accept() if seat is None else await self._accept_fairly(seat)
        self._room.take()
        return stream

    async def _accept_fairly(self, seat: Seat) -> trio.SocketStream:
        """Accept from a socket that other workers accept from too. Who is first gets a connection, and that would be
        the same one again and again: of 32 connections at once, one of two idle workers may get them all."""
        while True:
            await trio.lowlevel.wait_readable(self._listener.socket)
            if seat.ahead():
                await trio.sleep(PATIENCE)
            with trio.move_on_after(GLANCE):
                return await self._listener.accept()

    async def aclose(self) -> None:
        await self._listener.aclose()


def allowed(connections: int) -> int:
    """How many of so many connections this process may have. Raises its limit of files if need be: the usual 1,024 are
    for the sake of select(), which is not used here."""
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + limits.OTHER_FILES
    if files != resource.RLIM_INFINITY and files < wanted:
        files = wanted if most == resource.RLIM_INFINITY else min(most, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))
        if files < wanted:
            log.info("the system allows fewer connections", may_be_open=max(files - limits.OTHER_FILES, 1))
            return max(files - limits.OTHER_FILES, 1)
    return connections
