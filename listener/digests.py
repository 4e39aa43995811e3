"""What an event says in 8 bytes, to be compared with what the log says later; and these of the newest events."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise

import msgspec

# Numbers that are no integers keep their digits, as everywhere.
_decoder = msgspec.json.Decoder(float_hook=lambda digits: msgspec.Raw(digits.encode()))
_encoder = msgspec.json.Encoder(order="sorted")


def digest(line: bytes) -> int | None:
    """Return the same number for the same JSON, however it is written: white space, escapes and the order of keys do
    not count. Other JSON has another one, but for one case in 2^64. Each process has its own numbers.

    None if it is nested too deeply. Raises msgspec.DecodeError and UnicodeDecodeError if it is no JSON.
    """
    try:
        return hash(_encoder.encode(_decoder.decode(line)))
    except RecursionError:
        return None


class Digests:
    """Digests of an account's events by Seq, in the order in which they came: a Seq may have several."""

    __slots__ = ("_ascending", "_digests", "_seqs")

    def __init__(self) -> None:
        self._seqs = array("Q")
        self._digests = array("q")
        self._ascending = False

    def __len__(self) -> int:
        return len(self._seqs)

    def add(self, seq: int, digest: int) -> None:
        """Put one in."""
        self._seqs.append(seq)
        self._digests.append(digest)
        self._ascending = False

    def keep_newest(self, count: int) -> int:
        """Drop all but those that came last. Returns how many went."""
        surplus = max(len(self) - count, 0)
        del self._seqs[:surplus]
        del self._digests[:surplus]
        return surplus

    def of(self, seq: int) -> Sequence[int]:
        """Those of one Seq."""
        if not self._ascending:
            self._sort()
        return self._digests[bisect_left(self._seqs, seq) : bisect_right(self._seqs, seq)]

    def _sort(self) -> None:
        self._ascending = True
        if any(before > after for before, after in pairwise(self._seqs)):
            ordered = sorted(zip(self._seqs, self._digests, strict=True))
            self._seqs = array("Q", (seq for seq, _ in ordered))
            self._digests = array("q", (one for _, one in ordered))
