"""Ring: the newest frames, in a bounded number of bytes, and where each client of the relay stands in them.

Nothing here waits for a client. One that takes its frames too slowly is overtaken: the oldest frames go, the ring notes
which of its events went with them, and the client is told so, exactly, before it goes on with the oldest that are left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable

import trio

from shared.frames import EventFrame, Frame, Gap, Lagging, Ready, encode

RING_BYTES = 4 << 20
BATCH_BYTES = 64 << 10
LAGGING_FROM = 1000
"""How many frames a client may be behind before it is said to lag."""

MOST_GAPS = 10_000
"""In how many accounts a client's missed events are told apart; beyond that it is told only that some are gone."""

Kept = EventFrame | Gap | Ready


class Ring:
    """Frames from a source, for any number of cursors."""

    def __init__(self, limit: int = RING_BYTES) -> None:
        self._limit = limit
        self._kept: deque[Kept] = deque()
        self._first = 0
        self._bytes = 0
        self._before: str | None = None
        self._cursors: set[Cursor] = set()
        self.changed = trio.Event()
        self.position: str | None = None
        """Where the source stands."""
        self._caught_up = False
        self._away = False

    @property
    def live(self) -> bool:
        """Whether the source is there and caught up."""
        return self._caught_up and not self._away

    @property
    def end(self) -> int:
        """The number of the next frame."""
        return self._first + len(self._kept)

    def add(self, frames: Iterable[Frame]) -> None:
        """Put frames in, and those that are too old out."""
        for frame in frames:
            match frame:
                case EventFrame() | Ready():
                    self.position = frame.position
                    self._keep(frame)
                case Gap():
                    self._keep(frame)
                case Lagging():
                    self._caught_up = False
            if isinstance(frame, Ready):
                self._caught_up = True
        self.wake()

    def note_health(self, *, away: bool) -> None:
        """Note whether the source is away: then nobody who comes is caught up."""
        self._away = away
        self.wake()

    def wake(self) -> None:
        """Make everyone who waits for a change look again."""
        self.changed.set()
        self.changed = trio.Event()

    def _keep(self, frame: Kept) -> None:
        self._kept.append(frame)
        self._bytes += _size(frame)
        while self._bytes > self._limit and len(self._kept) > 1:
            oldest = self._kept.popleft()
            self._bytes -= _size(oldest)
            for cursor in self._cursors:
                if cursor.number == self._first:
                    cursor.miss(oldest)
            self._first += 1
            if not isinstance(oldest, Gap):
                self._before = oldest.position

    def open_cursor(self, accounts: Collection[int] | None, since: str | None) -> Cursor:
        """A client's place: after the frame of the Position `since`; None: after all; `all`: before all that is left.

        If the Position is unknown, the client is told that some events are gone, and gets all that is left.
        """
        number = self._first
        missed = False
        if since is None or since == self.position:
            number = self.end
        elif since not in ("all", self._before):
            found = [index for index, frame in enumerate(self._kept) if _position(frame) == since]
            number += found[-1] + 1 if found else 0
            missed = not found
        cursor = Cursor(self, accounts, number)
        if missed:
            cursor.miss_something()
        self._cursors.add(cursor)
        return cursor

    def close_cursor(self, cursor: Cursor) -> None:
        """Forget a client."""
        self._cursors.discard(cursor)

    def after(self, number: int) -> Iterable[Kept]:
        """The frames from this number on."""
        at = number - self._first
        if at < len(self._kept) // 2:
            kept = iter(self._kept)
            for _ in range(at):
                next(kept)
            return kept
        behind = len(self._kept) - at
        newest = reversed(self._kept)
        return reversed([next(newest) for _ in range(behind)])


class Cursor:
    """One client's place in the ring, and what went before it got there."""

    def __init__(self, ring: Ring, accounts: Collection[int] | None, number: int) -> None:
        self.number = number
        self._ring = ring
        self._accounts = accounts
        self._missed: dict[int, tuple[int, int]] = {}
        self._unknown: list[str] = []
        self._to_tell: deque[Frame] = deque()
        self._caught_up = False

    def miss(self, frame: Kept) -> None:
        """The frame that would have come next is gone."""
        self.number += 1
        match frame:
            case Gap(account_id=None):
                if frame.reason == "epoch":
                    self._unknown.clear()
                self._miss_unknown(frame.reason)
            case EventFrame() if self._wants(frame.account_id):
                self._miss(frame.account_id, frame.seq, frame.seq)
            case Gap(account_id=int(account), from_seq=int(first), to_seq=int(last)) if self._wants(account):
                self._miss(account, first, last)

    def miss_something(self) -> None:
        """Nobody knows which events are gone."""
        self._miss_unknown("trimmed")

    def take(self) -> list[bytes]:
        """The next lines for the client, at most about BATCH_BYTES; none if it has all there are."""
        self._tell_missed()
        if not self._to_tell and self._caught_up and self._ring.end - self.number > LAGGING_FROM:
            self._lag()
        lines: list[bytes] = []
        size = 0
        while self._to_tell and size < BATCH_BYTES:
            lines.append(encode(self._to_tell.popleft()))
            size += len(lines[-1]) + 1
        if self._to_tell:
            return lines
        if self.number < self._ring.end:
            for frame in self._ring.after(self.number):
                if size >= BATCH_BYTES:
                    return lines
                if not isinstance(frame, Ready) and self._wants(frame.account_id):
                    line = encode(frame)
                    if size and size + len(line) > BATCH_BYTES:
                        return lines
                    lines.append(line)
                    size += len(line) + 1
                self.number += 1
        if self._ring.live and self._ring.position is not None and not self._caught_up:
            self._caught_up = True
            lines.append(encode(Ready(self._ring.position)))
        return lines

    def _wants(self, account: int | None) -> bool:
        return account is None or self._accounts is None or account in self._accounts

    def _miss(self, account: int, first: int, last: int) -> None:
        so_far = self._missed.get(account)
        self._missed[account] = (first, last) if so_far is None else (so_far[0], last)
        if len(self._missed) > MOST_GAPS:
            self._miss_unknown("trimmed")

    def _miss_unknown(self, reason: str) -> None:
        self._missed.clear()
        if reason not in self._unknown:
            self._unknown.append(reason)

    def _tell_missed(self) -> None:
        if not self._missed and not self._unknown:
            return
        self._lag()
        self._to_tell.extend(Gap(reason=reason) for reason in self._unknown)
        for account, (first, last) in self._missed.items():
            self._to_tell.append(Gap(account_id=account, from_seq=first, to_seq=last, reason="trimmed"))
        self._missed.clear()
        self._unknown.clear()

    def _lag(self) -> None:
        if not self._caught_up:
            return
        self._caught_up = False
        left = self._ring.after(self.number) if self.number < self._ring.end else ()
        behind = sum(isinstance(frame, EventFrame) and self._wants(frame.account_id) for frame in left)
        if behind:
            self._to_tell.append(Lagging(behind))


def _size(frame: Kept) -> int:
    return len(frame.line) + 1 if isinstance(frame, EventFrame) else 100


def _position(frame: Kept) -> str | None:
    return None if isinstance(frame, Gap) else frame.position
