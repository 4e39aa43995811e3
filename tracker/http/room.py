"""The bound on open connections: who comes beyond it waits to be accepted.

A connection that is not accepted costs nothing here, and another process at the same socket may take it; one that is
accepted to be refused would cost both.
"""

from __future__ import annotations

import resource

import structlog
import trio

from tracker.http import limits

log = structlog.get_logger(__name__)


class Room:
    """How many connections there may be, and are."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._taken = 0
        self._waiting = trio.lowlevel.ParkingLot()

    async def free(self) -> None:
        """Wait until there is some."""
        while self._taken >= self._number:
            await self._waiting.park()

    def take(self) -> None:
        self._taken += 1

    def leave(self) -> None:
        self._taken -= 1
        self._waiting.unpark_all()


class Bounded(trio.abc.Listener[trio.SocketStream]):
    """A listener that accepts while there is room."""

    def __init__(self, listener: trio.SocketListener, room: Room) -> None:
        self._listener = listener
        self._room = room

    async def accept(self) -> trio.SocketStream:
        await self._room.free()
        stream = await self._listener.accept()
        self._room.take()
        return stream

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
