"""The position kept on disk, so that a listener that was killed goes on without a hole."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import trio

from listener.output import escape
from listener.received import is_position
from listener.terminal import tell
from shared.child import try_lock
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
                await trio.to_thread.run_sync(_replace, self._path, position, abandon_on_cancel=True, limiter=self._one)
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
    with _hold(path) as real:
        bookmark = Bookmark(real, await trio.to_thread.run_sync(_read, real, abandon_on_cancel=True))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bookmark.run)
            try:
                yield bookmark
            finally:
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    await bookmark.save()


@contextmanager
def _hold(path: Path) -> Iterator[Path]:
    """A lock on a file beside it: the file itself is another one after each save. It stays, for whoever removes it
    might remove the one that the next listener holds. Yields the path with links resolved: a link is not replaced, but
    what it leads to."""
    try:
        path = path.resolve()
        lock = path.with_name(f"{path.name}.lock").open("a+b")
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise Misconfigured(f"--state {path} can't be used: {_why(error)}.") from error
    with lock:
        if not try_lock(lock):
            raise Misconfigured(f"--state {path} belongs to another listener that is running. Give each its own file.")
        yield path


def _read(path: Path) -> str | None:
    """What the file holds; None without a file. Proves that it can be written, too."""
    try:
        position = None
        if path.exists():
            if not path.is_file():
                raise Misconfigured(f"--state {path} is no file.")
            with path.open("rb") as file:
                text = file.read(_LONGEST).decode("ascii", errors="replace")
            position = text.removesuffix("\n")
            if not is_position(position) or _MEANS_SOMETHING_ELSE.fullmatch(position):
                raise Misconfigured(
                    f"--state {path} holds no Position. Expected a file that a listener wrote, or none: if it is not "
                    "needed any more, delete it."
                )
        probe = _new(path)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise Misconfigured(f"--state {path} can't be used: {_why(error)}.") from error
    return position


def _replace(path: Path, position: str) -> None:
    """Write the file anew beside the old one, and put it in its place once it is on disk: one is always whole."""
    new = _new(path)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        rest = f"{position}\n".encode()
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    new.replace(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Have it on disk which files are in this folder, on file systems that can."""
    with suppress(OSError):
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _why(error: OSError | RuntimeError) -> str:
    return f"{error.strerror} ({error.filename})" if isinstance(error, OSError) else str(error)


def _new(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")
