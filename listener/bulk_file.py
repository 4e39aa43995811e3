"""A file of events, a line of JSON each, cut into chunks that are sent one after the other.

Where a chunk ends follows from what is in the file behind its beginning, and from nothing else: who goes on after a
kill cuts the same ones. Only a pipe is cut where nothing more has come, too, so that its events do not wait.
"""

from __future__ import annotations

import os
import select
import stat
from collections import deque
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from listener.output import escape
from listener.terminal import read_from

CHUNK_LINES = 1000
"""How many lines that are not empty a chunk has at most. The tracker commits as many together."""
CHUNK_BYTES = 512 * 1024
"""How many bytes a chunk has at most, unless its only line has more. Half of what nginx lets through by default."""
LONGEST_LINE = 4 << 20
"""A longer line is refused unread. What a tracker takes is less: 64 KiB of data, unless it is set otherwise."""

EXPECTED = 'Expected {"ID":1,"Data":…}'
_BLOCK = 256 * 1024
_BOM = b"\xef\xbb\xbf"


class _Item(msgspec.Struct, frozen=True):
    id: Annotated[int, msgspec.Meta(ge=1)] = msgspec.field(name="ID")
    data: msgspec.Raw = msgspec.field(name="Data")
    frame: Any = msgspec.field(name="Frame", default=None)


class _Control(msgspec.Struct, frozen=True):
    frame: str = msgspec.field(name="Frame")


class NoItem(Exception):
    """A line is no item. The text says why, and what was expected; it is safe to show."""


_decode_item = msgspec.json.Decoder(_Item).decode
_decode_control = msgspec.json.Decoder(_Control).decode


def parse(line: bytes) -> tuple[int, bytes] | None:
    """Return the account of a line and the item as a tracker takes it: without other keys, and with the digits that
    its numbers have. None for a control frame of a stream. Raises NoItem."""
    try:
        item = _decode_item(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if _is_control(line):
            return None
        raise NoItem(f"{escape(str(error))}. {EXPECTED}") from error
    except RecursionError as error:
        raise NoItem("It is nested too deeply: expected at most a few hundred levels") from error
    if item.frame is not None:
        return None
    return item.id, b'{"ID":%d,"Data":%b}' % (item.id, bytes(item.data))


def _is_control(line: bytes) -> bool:
    try:
        _decode_control(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


@dataclass
class Chunk:
    """Lines that are sent together."""

    begin: int
    """Where it begins in the file, in bytes."""
    end: int
    last_line: int
    """How many lines there are up to its end."""
    items: list[bytes] = field(default_factory=list)
    accounts: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    """The line of each item."""
    refused: list[tuple[int, str]] = field(default_factory=list)
    """Lines that are no items, and why."""
    frames: int = 0
    """How many control frames are among them."""

    def take(self, line: bytes) -> None:
        """Add the next line, which is not empty."""
        try:
            parsed = parse(line)
        except NoItem as error:
            self.refused.append((self.last_line, str(error)))
            return
        if parsed is None:
            self.frames += 1
            return
        account, item = parsed
        self.accounts.append(account)
        self.items.append(item)
        self.lines.append(self.last_line)


class Shorter(Exception):
    """The file ends before the place up to which it was to be read."""


class BulkReader:
    """Cuts chunks off a file or pipe. All of it blocks: it is for a thread."""

    def __init__(self, descriptor: int, at: int = 0, line: int = 0, end: int | None = None) -> None:
        """Begin at a byte, behind so many lines; `end` is where a regular file is over for us (None: where it ends)."""
        self.at = at
        self.line = line
        self._end = end
        self._descriptor = descriptor
        self._is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._read = at
        self._over = False
        self._whole: deque[tuple[bytes, int]] = deque()  # lines, and how many bytes of each are not kept
        self._begun = b""
        self._dropped = 0
        if end is not None:
            os.lseek(descriptor, at, os.SEEK_SET)

    def cut(self) -> Chunk | None:
        """The next chunk; None when there is none. Raises OSError and Shorter."""
        chunk = Chunk(self.at, self.at, self.line)
        count = 0
        while count < CHUNK_LINES and self._has_line(wait=chunk.end == chunk.begin):
            line, dropped = self._whole[0]
            size = len(line) + dropped
            if chunk.end > chunk.begin and chunk.end - chunk.begin + size > CHUNK_BYTES:
                break
            self._whole.popleft()
            if chunk.end == 0:
                line = line.removeprefix(_BOM)
            chunk.end += size
            chunk.last_line += 1
            if dropped or len(line) > LONGEST_LINE:
                chunk.refused.append((chunk.last_line, f"It has {size} bytes: expected at most {LONGEST_LINE}"))
            elif line and not line.isspace():
                chunk.take(line)
            else:
                continue
            count += 1
        if chunk.end == chunk.begin:
            return None
        self.at, self.line = chunk.end, chunk.last_line
        return chunk

    def _has_line(self, *, wait: bool) -> bool:
        while not self._whole and not self._over:
            if not wait and not self._is_file and not select.select([self._descriptor], [], [], 0)[0]:
                return False
            self._read_block()
        return bool(self._whole)

    def _read_block(self) -> None:
        size = _BLOCK if self._end is None else min(_BLOCK, self._end - self._read)
        block = read_from(self._descriptor, size)
        self._read += len(block)
        if not block:
            if self._end is not None and self._read < self._end:
                raise Shorter
            self._over = True
            if self._begun:
                self._whole.append((self._begun, self._dropped))
            return
        *lines, rest = block.split(b"\n")
        for line in lines:
            self._whole.append((self._begun + line + b"\n", self._dropped))
            self._begun, self._dropped = b"", 0
        kept = rest[: max(LONGEST_LINE + 1 - len(self._begun), 0)]
        self._begun += kept
        self._dropped += len(rest) - len(kept)
