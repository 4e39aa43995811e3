"""From the bytes that a terminal sends to keys. Pure."""

from __future__ import annotations

import enum
import re


class Key(enum.Enum):
    """The keys of `listener top`, with what terminals send for them."""

    QUIT = (b"q", b"Q", b"\x04")
    MINUTE = (b"m", b"M")
    FIVE_MINUTES = (b"f", b"F")
    HELP = (b"?", b"h")
    UP = (b"\x1b[A", b"\x1bOA", b"k")
    DOWN = (b"\x1b[B", b"\x1bOB", b"j")
    PAGE_UP = (b"\x1b[5~", b"b")
    PAGE_DOWN = (b"\x1b[6~", b" ")
    HOME = (b"\x1b[H", b"\x1bOH", b"\x1b[1~", b"\x1b[7~", b"g")
    END = (b"\x1b[F", b"\x1bOF", b"\x1b[4~", b"\x1b[8~", b"G")


_BY_BYTES = {sent: key for key in Key for sent in key.value}
_SENT = re.compile(rb"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|O[ -~]|[ -~])|.", re.DOTALL)


def keys(typed: bytes) -> list[Key]:
    """The keys among these bytes, in order. Others, and Alt with one of them, are dropped."""
    return [_BY_BYTES[sent] for sent in _SENT.findall(typed) if sent in _BY_BYTES]
