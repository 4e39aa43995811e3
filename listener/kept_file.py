"""A small file that is always whole on disk, and belongs to one listener at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from listener.output import escape
from shared.child import try_lock
from shared.errors import Misconfigured


@contextmanager
def hold(path: Path, option: str, instead: str) -> Iterator[Path]:
    """A lock on a file beside it: the file itself is another one after each save. It stays, for whoever removes it
    might remove the one that the next listener holds. Yields the path with links resolved: a link is not replaced, but
    what it leads to.

    `option` is what named the file, `instead` what to do if it belongs to another one. Raises Misconfigured.
    """
    shown = escape(str(path))
    try:
        path = path.resolve()
        lock = path.with_name(f"{path.name}.lock").open("a+b")
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise Misconfigured(f"{option} {shown} can't be used: {why(error)}.") from error
    with lock:
        if not try_lock(lock):
            raise Misconfigured(f"{option} {shown} belongs to another listener that is running. {instead}")
        yield path


def read(path: Path, most: int, option: str) -> bytes | None:
    """The file's first `most` bytes; None without a file. Proves that it can be written, too.

    `option` is what named it. Raises Misconfigured.
    """
    content = None
    try:
        if path.exists():
            if not path.is_file():
                raise Misconfigured(f"{option} {escape(str(path))} is no file.")
            with path.open("rb") as file:
                content = file.read(most)
        probe = _new(path)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise Misconfigured(f"{option} {escape(str(path))} can't be used: {why(error)}.") from error
    return content


def replace(path: Path, content: bytes) -> None:
    """Write the file anew beside the old one, and put it in its place once it is on disk: one is always whole. Raises
    OSError."""
    new = _new(path)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        rest = content
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


def why(error: OSError | RuntimeError) -> str:
    """What is wrong with a file, and with which one, safe to show."""
    return escape(f"{error.strerror} ({error.filename})" if isinstance(error, OSError) else str(error))


def _new(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")
