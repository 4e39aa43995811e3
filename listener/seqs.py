"""A set of Seqs that costs memory only where it has holes."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

LARGEST = 2**63 - 1
"""The largest number in a set, and far more than a log will ever give."""


class Seqs:
    """Numbers from 1 to LARGEST. Iterating gives them as stretches: the first and the last of numbers without a hole
    between them, ascending. A stretch takes 16 bytes."""

    __slots__ = ("_edges",)

    def __init__(self, stretches: Iterable[tuple[int, int]] = ()) -> None:
        self._edges = array("Q")  # where a stretch begins, where it has ended, where the next one begins, …
        for first, last in stretches:
            self.add_stretch(first, last)

    @property
    def first(self) -> int:
        """The smallest one; 0 if there is none."""
        return self._edges[0] if self._edges else 0

    @property
    def last(self) -> int:
        """The largest one; 0 if there is none."""
        return self._edges[-1] - 1 if self._edges else 0

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self._edges[1::2]) - sum(self._edges[::2])

    def __contains__(self, seq: int) -> bool:
        return bisect_right(self._edges, seq) % 2 == 1

    def __iter__(self) -> Iterator[tuple[int, int]]:
        edges = self._edges
        for at in range(0, len(edges), 2):
            yield edges[at], edges[at + 1] - 1

    def add(self, seq: int) -> bool:
        """Put a number in. Returns whether it is new."""
        edges = self._edges
        if edges and edges[-1] == seq:  # as good as always
            edges[-1] = seq + 1
            return True
        if seq in self:
            return False
        self.add_stretch(seq, seq)
        return True

    def add_stretch(self, first: int, last: int) -> None:
        """Put the numbers from `first` to `last` in."""
        begin = bisect_left(self._edges, first)
        end = bisect_right(self._edges, last + 1)
        between = array("Q")
        if begin % 2 == 0:
            between.append(first)
        if end % 2 == 0:
            between.append(last + 1)
        self._edges[begin:end] = between

    def within(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Its stretches between two numbers, cut there."""
        edges = self._edges
        for at in range(bisect_right(edges, first) // 2 * 2, len(edges), 2):
            if edges[at] > last:
                return
            yield max(edges[at], first), min(edges[at + 1] - 1, last)

    def minus(self, others: Seqs) -> Seqs:
        """Those that are not among the others."""
        left = Seqs()
        for first, last in self:
            for begin, end in others.within(first, last):
                if first < begin:
                    left.add_stretch(first, begin - 1)
                first = end + 1
            if first <= last:
                left.add_stretch(first, last)
        return left
