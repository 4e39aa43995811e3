"""The position kept on disk, so that a listener that was killed goes on without a hole."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from listener.kept_file import hold, read, replace
from listener.output import escape
from listener.received import is_position
from listener.terminal import tell
from shared.errors import Misconfigured

SAVE_EVERY = 0.2
SAVE_WITHIN = 2.0
"""For how many seconds a disk that does not answer keeps the program from ending."""

_LONGEST = 1000
_MEANS_SOMETHING_ELSE = re.compile(r"all|(\d+[dhms])+")
"""Places to begin that are no Positions, though they look like ones: a file with them was not written by us."""


class Bookmark:
    """The last Position that was written out. `note` it; the file follows."""

    def __init__(self, path: Path, position: str | None) -> None:
        """`position` is what the file holds."""
        self.position = position
        self._path = path
        self._saved = position
        self._noted = trio.Event()
        self._failed = False
        self._one = trio.CapacityLimiter(1)

    def note(self, position: str) -> None:
        """All up to this Position is written out."""
        if is_position(position):
            self.position = position
            self._noted.set()

    async def run(self) -> None:
        """Save what was noted, at most every 0.2 s, until cancelled. A save that is under way is finished first."""
        while True:
            await self._noted.wait()
            self._noted = trio.Event()
            with trio.CancelScope(shield=True):
                await self.save()
            await trio.sleep(SAVE_EVERY)

    async def save(self) -> None:
        """Put the last noted Position into the file, in at most SAVE_WITHIN seconds. If that fails, say so, once."""
        position = self.position
        if position is None or position == self._saved:
            return
        reason = "the disk does not answer"
        with trio.move_on_after(SAVE_WITHIN):
            try:
                # One at a time: an abandoned thread that wakes up late must not put an old Position over a newer one.
                content = f"{position}\n".encode()
                await trio.to_thread.run_sync(replace, self._path, content, abandon_on_cancel=True, limiter=self._one)
                self._saved, reason = position, ""
            except OSError as error:
                reason = error.strerror or str(error)
        self._report(reason)
        if reason:
            self._noted.set()

    def _report(self, reason: str) -> None:
        if bool(reason) != self._failed:
            self._failed = bool(reason)
            shown = escape(str(self._path))
            tell(f"! the position can't be saved in {shown}: {reason}" if reason else f"! {shown} is up to date again")


@asynccontextmanager
async def open_bookmark(path: Path) -> AsyncIterator[Bookmark]:
    """The bookmark in the file `path`, held against other listeners, kept up to date in the block and at its end.

    Raises Misconfigured if the file holds something else, can't be written, or belongs to another listener.
    """
    with hold(path, "--state", "Give each its own file.") as real:
        bookmark = Bookmark(real, await trio.to_thread.run_sync(_read, real, abandon_on_cancel=True))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bookmark.run)
            try:
                yield bookmark
            finally:
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    await bookmark.save()


def _read(path: Path) -> str | None:
    """What the file holds; None without a file. Proves that it can be written, too."""
    content = read(path, _LONGEST, "--state")
    if content is None:
        return None
    position = content.decode("ascii", errors="replace").removesuffix("\n")
    if not is_position(position) or _MEANS_SOMETHING_ELSE.fullmatch(position):
        raise Misconfigured(
            f"--state {path} holds no Position. Expected a file that a listener wrote, or none: if it is not "
            "needed any more, delete it."
        )
    return position
