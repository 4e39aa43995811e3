"""How far everything is done, where many are under way and any may be done first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

Entry = int
"""What is under way, by the order in which it began."""


class Watermark:
    """What is under way, in the order of the log. It takes room for that alone, not for what is done behind it."""

    def __init__(self, reached: Callable[[str], object]) -> None:
        """`reached` is called with a Position whenever all up to that one is done, and it wasn't before."""
        self._reached = reached
        self._before: OrderedDict[Entry, str | None] = OrderedDict()
        self._last: str | None = None
        self._begun = 0

    def __len__(self) -> int:
        """How many are under way."""
        return len(self._before)

    def begin(self, position: str) -> Entry:
        """The next one of the log is under way. Returns what `done` takes."""
        self._begun += 1
        self._before[self._begun] = self._last
        self._last = position
        return self._begun

    def done(self, entry: Entry) -> None:
        """One that was under way is done."""
        first = next(iter(self._before))
        del self._before[entry]
        if entry == first:
            reached = next(iter(self._before.values()), self._last)
            if reached is not None:
                self._reached(reached)

    def pass_by(self, position: str) -> None:
        """The next one of the log needs nothing done."""
        self.done(self.begin(position))
