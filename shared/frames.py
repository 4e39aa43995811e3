"""Frames: what flows on a stream. One JSON object each, on one line.

An event is a frame as it is (`shared/events.py`). The others are told apart by their first key, `Frame`:

    {"Frame":"ready","Position":"…"}                                    caught up, from here on live
    {"Frame":"gap","ID":7,"FromSeq":12,"ToSeq":19,"Reason":"trimmed"}   these events are gone
    {"Frame":"lagging","Behind":5321}                                   this follower fell behind, and is catching up
    {"Frame":"error","ID":9,"Detail":"There is no account 9."}          one account of several that is no good
    {"Frame":"bye","Reason":"shutdown","Retry":true}                    the stream ends here

A gap without `ID` concerns every account. Of reason `epoch`: the log was lost, or its end, and began anew.
"""

from __future__ import annotations

from functools import cached_property

import msgspec


class EventFrame(msgspec.Struct, frozen=True, dict=True):
    """An event: its bytes, and what a follower has to know of it. All followers share it, and what is made of it."""

    account_id: int
    seq: int
    position: str
    line: bytes

    @cached_property
    def text(self) -> bytes:
        """Its bytes on one line of UTF-8, whatever JSON they are: between tokens an end of line is but white space, and
        in a string there can't be one."""
        line = self.line if self.line.isascii() else self.line.decode(errors="replace").encode()
        return line.replace(b"\r", b" ").replace(b"\n", b" ") if b"\n" in line or b"\r" in line else line

    @cached_property
    def record(self) -> bytes:
        """As a server-sent event."""
        return b"id: %b\ndata: %b\n\n" % (self.position.encode(), self.text)


class _Control(msgspec.Struct, frozen=True, tag_field="Frame", omit_defaults=True, rename="pascal"):
    pass


class Ready(_Control, frozen=True, tag="ready"):
    """All up to `position` was sent; what follows is live."""

    position: str


class Gap(_Control, frozen=True, tag="gap", kw_only=True):
    """Events that the follower should have got are gone.

    `reason` is `trimmed` (the log keeps only so many of an account), `expired` (only so long), `damaged` (what stands
    in their place is no event) or `epoch` (the log was lost and began anew). Without an account it is not known which
    events they were; with `epoch` there never is one.
    """

    account_id: int | None = msgspec.field(name="ID", default=None)
    from_seq: int | None = msgspec.field(name="FromSeq", default=None)
    to_seq: int | None = msgspec.field(name="ToSeq", default=None)
    reason: str = msgspec.field(name="Reason")


class Lagging(_Control, frozen=True, tag="lagging"):
    """The follower took events too slowly; `behind` of them are still to come from the log before it is live again."""

    behind: int


class Error(_Control, frozen=True, tag="error", kw_only=True):
    """Something the follower asked for was refused; the rest goes on."""

    account_id: int | None = msgspec.field(name="ID", default=None)
    detail: str = msgspec.field(name="Detail")


class Bye(_Control, frozen=True, tag="bye"):
    """The last frame. `retry`: whether it makes sense to come again, with the last position."""

    reason: str
    retry: bool


Frame = EventFrame | Ready | Gap | Lagging | Error | Bye


class _Head(msgspec.Struct, frozen=True, gc=False):
    """What is read of an event: not its data."""

    id: int = msgspec.field(name="ID")
    position: str = msgspec.field(name="Position")
    seq: int = msgspec.field(name="Seq")


class NoFrame(Exception):
    """These bytes are no frame. The text says why."""


_head = msgspec.json.Decoder(_Head)
_control = msgspec.json.Decoder(Ready | Gap | Lagging | Error | Bye)


def encode(frame: Frame) -> bytes:
    """A frame's JSON, without an end of line. An event's bytes are those of the log."""
    return frame.line if isinstance(frame, EventFrame) else msgspec.json.encode(frame)


def decode(line: bytes) -> Frame:
    """Return the frame in `line`. Raises NoFrame."""
    return _decode(_control, line) if line.startswith(b'{"Frame":') else decode_event(line)


def decode_event(line: bytes) -> EventFrame:
    """Return the event in `line`, without looking at its data. Raises NoFrame."""
    head: _Head = _decode(_head, line)
    return EventFrame(head.id, head.seq, head.position, line)


def _decode(decoder: msgspec.json.Decoder, line: bytes):  # type: ignore[no-untyped-def,type-arg]
    try:
        return decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NoFrame(str(error)) from error
