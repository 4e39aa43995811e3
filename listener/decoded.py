"""An event as it is shown, chosen by, and acted on: its fields, and what its data hold."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

import msgspec

from listener import moments
from listener.output import NoEvent, escape


class Decoded(msgspec.Struct, frozen=True, dict=True):
    """The fields of an event. The data stay as they are written: a number keeps its digits."""

    id: int = msgspec.field(name="ID")
    timestamp: str = msgspec.field(name="Timestamp")
    data: msgspec.Raw = msgspec.field(name="Data")
    host: str = msgspec.field(name="Host")
    position: str = msgspec.field(name="Position", default="")
    seq: int = msgspec.field(name="Seq", default=0)

    @cached_property
    def moment(self) -> datetime:
        """When the tracker accepted it."""
        return moments.parse(self.timestamp)

    @property
    def is_text(self) -> bool:
        """Whether the data is a string."""
        return bytes(self.data).startswith(b'"')

    @cached_property
    def value(self) -> Any:
        """The data as Python has it."""
        return msgspec.json.decode(self.data)

    @cached_property
    def data_text(self) -> str:
        """The data: a string itself, other JSON without white space. Nothing in it is escaped."""
        return _text(bytes(self.data))

    def text_at(self, path: Sequence[str]) -> str:
        """What stands in the data under these keys and, in arrays, indices from 0 up; empty if nothing does."""
        raw = bytes(self.data)
        for step in path:
            found: msgspec.Raw | None = None
            if raw.startswith(b"{"):
                found = _object.decode(raw).get(step)
            elif raw.startswith(b"[") and step.isascii() and step.isdigit():
                items = _array.decode(raw)
                found = items[int(step)] if len(step) < 10 and int(step) < len(items) else None
            if found is None:
                return ""
            raw = bytes(found)
        return _text(raw)


_event = msgspec.json.Decoder(Decoded)
_string = msgspec.json.Decoder(str)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array = msgspec.json.Decoder(list[msgspec.Raw])


def decode(line: bytes) -> Decoded:
    """Return the event in `line`, of which everything can be read. Raises NoEvent."""
    try:
        event = _event.decode(line)
        _ = event.data_text, event.moment  # until now nobody has looked at them
        _ = str(event.id), str(event.seq)  # Python refuses to write a number of thousands of digits
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
        raise NoEvent(escape(str(error))) from error
    return event


def _text(raw: bytes) -> str:
    return _string.decode(raw) if raw.startswith(b'"') else msgspec.json.format(raw, indent=-1).decode()
