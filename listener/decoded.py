"""An event's bytes as what is shown of it, asked of it, and given to commands."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import msgspec

from listener.output import escape


class NoEvent(Exception):
    """These bytes are no event. The text says why, and is safe to show."""


class Decoded(msgspec.Struct, frozen=True, dict=True):
    """An event. The data stay as they are written: a number keeps its digits."""

    id: int = msgspec.field(name="ID")
    timestamp: str = msgspec.field(name="Timestamp")
    data: msgspec.Raw = msgspec.field(name="Data")
    host: str = msgspec.field(name="Host")
    position: str = msgspec.field(name="Position", default="")
    seq: int = msgspec.field(name="Seq", default=0)

    @property
    def is_text(self) -> bool:
        """Whether the data is a string."""
        return bytes(self.data).startswith(b'"')

    @cached_property
    def data_text(self) -> str:
        """The data as text: a string itself, or compact JSON."""
        raw = bytes(self.data)
        return _text(raw) if self.is_text else msgspec.json.format(raw, indent=-1).decode()

    @cached_property
    def value(self) -> Any:
        """The data as Python has it."""
        return msgspec.json.decode(self.data)


_decode = msgspec.json.Decoder(Decoded).decode
_text = msgspec.json.Decoder(str).decode


def decode(line: bytes) -> Decoded:
    """Return the event in `line`. Raises NoEvent."""
    try:
        event = _decode(line)
        event.data_text  # noqa: B018  # so that it is known to be text
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise NoEvent(escape(str(error))) from error
    return event
