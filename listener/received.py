"""What a listener has received, so that after a lost connection nothing comes twice."""

from __future__ import annotations

import re

import msgspec

from shared.frames import EventFrame, Frame, Gap, Ready

MAX_ACCOUNTS = 1_000_000
"""Of how many accounts the last Seq is remembered; beyond that, the one that was quiet longest is forgotten."""

_POSITION = re.compile(r"[A-Za-z0-9._-]{1,200}")


def is_position(text: str) -> bool:
    """Whether this can be a Position. What it says is the log's affair."""
    return _POSITION.fullmatch(text) is not None


class Received:
    """Where a follower stands, and which events it has.

    A tracker resumes after a Position, and knows of a gap only its bounds: it may name events that were received before
    the connection broke. Behind a load balancer it may also be another tracker each time.
    """

    def __init__(self) -> None:
        self.position: str | None = None
        self._seqs: dict[int, int] = {}

    def note(self, frame: Frame) -> Frame | None:
        """Take note of a frame. Returns what is new in it, or None if nothing is."""
        match frame:
            case EventFrame():
                return self._note_event(frame)
            case Gap(account_id=None):
                # The Seqs begin anew with the log. A gap that names no account leaves unknown which log that is: then
                # rather an event twice than one not at all.
                self._seqs.clear()
            case Gap():
                return self._note_gap(frame)
            case Ready() if is_position(frame.position):
                self.position = frame.position
        return frame

    def _note_event(self, event: EventFrame) -> EventFrame | None:
        if event.seq <= self._seqs.get(event.account_id, 0):
            return None
        self._remember(event.account_id, event.seq)
        if is_position(event.position):
            self.position = event.position
        return event

    def _note_gap(self, gap: Gap) -> Gap | None:
        assert gap.account_id is not None
        last = self._seqs.get(gap.account_id, 0)
        if gap.to_seq is None or gap.from_seq is None:
            return gap
        if gap.to_seq <= last:
            return None
        self._remember(gap.account_id, gap.to_seq)
        return msgspec.structs.replace(gap, from_seq=max(gap.from_seq, last + 1))

    def _remember(self, account: int, seq: int) -> None:
        self._seqs.pop(account, None)  # so that it comes last
        self._seqs[account] = seq
        if len(self._seqs) > MAX_ACCOUNTS:
            del self._seqs[next(iter(self._seqs))]
