"""The file of events that were given up: NDJSON, to be looked at, mended, and sent again by `listener send --bulk`.

It is opened anew for each, so that it may be moved away at any time; and several listeners may append to one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

import msgspec
import trio

from listener.kept_file import sync_folder
from listener.output import escape
from shared.errors import Misconfigured
from shared.frames import EventFrame


async def prove_writable(path: Path) -> None:
    """Make the file if there is none. Raises Misconfigured if it can't be written."""
    try:
        os.close(await trio.to_thread.run_sync(_open, path))
    except OSError as error:
        raise Misconfigured(
            f"--dead-letter {escape(str(path))} can't be written: {error.strerror}. Expected a file, or a new name in "
            "a directory that there is."
        ) from error


async def append(path: Path, event: EventFrame, failure: str, attempts: int) -> None:
    """Append an event's JSON, with "Error" and "Attempts" at its end, and return once that is on disk.

    Raises OSError; then nothing of it is in the file.
    """
    more = msgspec.json.encode({"Error": failure, "Attempts": attempts})
    letter = b"%b,%b\n" % (event.text.rstrip()[:-1].rstrip(), more[1:])
    await trio.to_thread.run_sync(_append, path, letter, abandon_on_cancel=True)


def _open(path: Path) -> int:
    access = os.O_WRONLY if path.exists() and not path.is_file() else os.O_RDWR
    flags = access | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    descriptor = os.open(path, flags | os.O_NONBLOCK, 0o644)  # a named pipe that nobody reads would keep us
    os.set_blocking(descriptor, True)
    return descriptor


def _append(path: Path, letter: bytes) -> None:
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        about = os.fstat(descriptor)
        regular, size = stat.S_ISREG(about.st_mode), about.st_size
        if regular and size and os.pread(descriptor, 1, size - 1) != b"\n":
            letter = b"\n" + letter  # after one that was killed while it wrote, or an editor
        try:
            rest = memoryview(letter)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            _sync(descriptor)
        except OSError:
            if regular:
                os.ftruncate(descriptor, size)
            raise
        if regular and not size:
            sync_folder(path.parent)
    finally:
        os.close(descriptor)


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a pipe or a device, which keeps nothing
            raise
