"""How far the tracker confirmed what is in a file, kept on disk, so that whoever starts again goes on from there."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import trio

from listener.bulk_file import Chunk
from listener.kept_file import hold, read, replace, why
from listener.output import escape
from listener.sending import REMEMBERED
from shared.errors import Misconfigured

SAVE_WITHIN = 20.0
"""For how many seconds a disk that does not answer is waited for."""

_LONGEST = 10_000
_BLOCK = 1 << 20


class State(msgspec.Struct, rename="pascal", kw_only=True, forbid_unknown_fields=True):
    """What the file says."""

    run: str
    """What all Idempotency-Keys are made of."""
    end: int
    """Up to this byte it is to be sent: where the file ended when it was begun."""
    digest: str
    """Of all bytes up to `offset`."""
    offset: int = 0
    """Up to this byte it is known what became of each line."""
    line: int = 0
    """How many lines that are."""
    refused: int = 0
    """How many of them were refused since the last time that all was sent."""
    pending_since: float | None = None
    """Since when something behind that may have been accepted, in seconds since 1970; None if certainly nothing was."""


class StateFile:
    """Where the state is kept. `path` is as it was given."""

    def __init__(self, path: Path, real: Path) -> None:
        self.path = path
        self._real = real

    def read(self) -> State | None:
        """What was saved; None if nothing was. Proves that it can be saved, too. Raises Misconfigured."""
        content = read(self._real, _LONGEST, "--progress")
        if content is None:
            return None
        try:
            return msgspec.json.decode(content, type=State)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Misconfigured(
                f"--progress {escape(str(self.path))} holds something else. Expected a file that `listener send "
                "--bulk` wrote, or none: give another name, or delete it if it is not needed any more."
            ) from error

    async def save(self, state: State) -> None:
        """Put it on disk. Raises OSError."""
        content = msgspec.json.encode(state) + b"\n"
        await trio.to_thread.run_sync(replace, self._real, content, abandon_on_cancel=True)


@contextmanager
def hold_state(path: Path) -> Iterator[StateFile]:
    """The state in this file, held against other listeners. Raises Misconfigured."""
    with hold(path, "--progress", "It may be sending the same file: wait for its end.") as real:
        yield StateFile(path, real)


class Confirmed:
    """The state of the file that is being sent, always on disk before more is sent."""

    def __init__(self, kept: StateFile, descriptor: int, state: State) -> None:
        self.state = state
        self.was_finished = False
        """Whether there was nothing to send."""
        self.is_late = False
        """Whether what may have been accepted may be accepted once more: the log does not remember it."""
        self._kept = kept
        self._descriptor = descriptor
        self._digest = hashlib.blake2b(digest_size=16)
        self._can_save = True
        self._inherited = False  # what is pending is so since before we began

    @classmethod
    async def begin(cls, kept: StateFile, descriptor: int, size: int, *, restart: bool) -> Confirmed:
        """Read how far it is, and save where it begins. Raises Misconfigured if the state can't be saved, or is not
        about the file that is open here, of so many bytes."""
        found = await trio.to_thread.run_sync(kept.read, abandon_on_cancel=True)
        if found is None or restart:
            confirmed = cls(kept, descriptor, State(run=new_run(), end=size, digest=""))
        else:
            confirmed = cls(kept, descriptor, found)
            await trio.to_thread.run_sync(confirmed._check, size, abandon_on_cancel=True)
            if found.offset == found.end:
                if size == found.end:
                    confirmed.was_finished = True
                    return confirmed
                found.refused, found.end = 0, size
            if found.pending_since is not None:
                confirmed._inherited = True
                confirmed.is_late = not 0 <= time.time() - found.pending_since < REMEMBERED
        if not confirmed._inherited:
            confirmed.state.pending_since = time.time()
        try:
            await confirmed._save()
        except OSError as error:
            raise Misconfigured(f"--progress {escape(str(kept.path))} can't be used: {why(error)}.") from error
        return confirmed

    async def note(self, chunk: Chunk, refused: int) -> None:
        """It is known what became of this chunk: so many of its lines were refused. Raises OSError."""
        state = self.state
        with _shield():
            await trio.to_thread.run_sync(self._add_to_digest, state.offset, chunk.end, abandon_on_cancel=True)
        state.offset, state.line, state.pending_since = chunk.end, chunk.last_line, time.time()
        state.refused += refused
        self._inherited = False
        await self._save()

    async def leave(self, *, uncertain: bool) -> None:
        """Nothing more is sent, and what is behind was not accepted, unless that is `uncertain`."""
        if self._can_save and not uncertain and not self._inherited:
            self.state.pending_since = None
            with suppress(OSError):  # what the file says is true, too
                await self._save()

    async def _save(self) -> None:
        self.state.digest = self._digest.hexdigest()
        self._can_save = False  # for an abandoned thread that wakes up late might do so over it
        with _shield():
            await self._kept.save(self.state)
        self._can_save = True

    def _check(self, size: int) -> None:
        """Raises Misconfigured if what was sent of the file is not there any more."""
        self._add_to_digest(0, self.state.offset)
        if size < self.state.end or self._digest.hexdigest() != self.state.digest:
            raise Misconfigured(
                f"--progress {escape(str(self._kept.path))} is about another file, or this one has changed since its "
                f"first {self.state.line} lines were sent (it may only grow). To send all of it: --restart. To send "
                "a part: put that into a file of its own."
            )

    def _add_to_digest(self, begin: int, end: int) -> None:
        while begin < end and (block := os.pread(self._descriptor, min(_BLOCK, end - begin), begin)):
            self._digest.update(block)
            begin += len(block)


@contextmanager
def _shield() -> Iterator[None]:
    """What the tracker confirmed is not to be forgotten because we are told to end. Raises OSError if it takes longer
    than SAVE_WITHIN."""
    with trio.move_on_after(SAVE_WITHIN, shield=True) as scope:
        yield
    if scope.cancelled_caught:
        raise OSError(errno.ETIMEDOUT, "the disk does not answer")


def new_run() -> str:
    """What the keys of a run are made of."""
    return secrets.token_hex(16)
