"""What the workers of one tracker know of each other: a few words of shared memory, a row for each worker.

A worker writes its own row and reads those of the others; the parent clears the row of one that has gone, so that
nothing that a dead worker said counts. Each word is written as a whole.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path

import trio

from shared.supervision import Health

NOTE_EVERY = 0.1
"""How often a worker notes its state, in seconds."""
_SERVING = 1 << 31
_BYTES = 8
"""Of a row: its state, and how many connections it has."""


class Board:
    """The rows of all workers; their numbers begin with 1."""

    def __init__(self, path: Path, workers: int) -> None:
        """The parent makes it before there is any worker."""
        with path.open("a+b") as file:
            file.truncate(workers * _BYTES)
            self._words = memoryview(mmap.mmap(file.fileno(), workers * _BYTES)).cast("I")
        self.workers = workers

    def clear(self, number: int) -> None:
        self.note(number, 0)
        self.note_connections(number, 0)

    def note(self, number: int, state: int) -> None:
        self._words[2 * number - 2] = state

    def note_connections(self, number: int, connections: int) -> None:
        self._words[2 * number - 1] = connections

    def states(self) -> list[int]:
        """Those of the workers that take connections."""
        return [state for state in self._words[::2] if state & _SERVING]

    def fewest(self) -> int:
        """The connections of the worker that has fewest, of those that take any."""
        states, connections = self._words[::2], self._words[1::2]
        return min((count for state, count in zip(states, connections, strict=True) if state & _SERVING), default=0)


class Seat:
    """A worker's place at the board."""

    def __init__(self, board: Board, number: int) -> None:
        self._board = board
        self._number = number
        self._connections = 0
        self._healths: Sequence[Health] = []
        self._serving = False
        self.workers = board.workers

    async def run(
        self, healths: Sequence[Health], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Service: note for the others how the parts of this worker are."""
        self._healths = healths
        task_status.started()
        while True:
            self.note()
            await trio.sleep(NOTE_EVERY)

    def serves(self, serving: bool) -> None:
        """Note whether this worker takes connections."""
        self._serving = serving
        self.note()

    def connected(self, connections: int) -> None:
        """Note how many connections this worker has."""
        self._connections = connections
        self._board.note_connections(self._number, connections)

    def ahead(self) -> bool:
        """Whether this worker has so many more connections than another that it should let that one go first."""
        fewest = self._board.fewest()
        return self._connections > fewest + 1 + fewest // 8

    def away(self) -> tuple[list[str], int]:
        """The parts that are away in any worker that takes connections, and how many workers have them all."""
        self.note()
        states = self._board.states()
        away = 0
        for state in states:
            away |= state & ~_SERVING
        names = [health.part for bit, health in enumerate(self._healths) if away & 1 << bit]
        return names, states.count(_SERVING)

    def note(self) -> None:
        """Note for the others how this worker is, without waiting for the next time that `run` does."""
        away = sum(1 << bit for bit, health in enumerate(self._healths) if not health.up)
        self._board.note(self._number, _SERVING | away if self._serving else 0)
