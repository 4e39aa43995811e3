"""Numbers as a row of bars: ▁▂▃▄▅▆▇█. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

BLOCKS = " ▁▂▃▄▅▆▇█"
ASCII = " _.:-=+*#"
"""For terminals that have no blocks."""
_EIGHTHS = 8
_STEPS = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60)


def sparkline(values: Sequence[float | None], *, height: int = 1, ramp: str = BLOCKS) -> list[str]:
    """A bar for each value, as lines from top to bottom.

    The largest is as high as there is room; none has its lowest eighth; what is not zero can be told from zero; what is
    not known (None) is left blank.
    """
    most = max((value for value in values if value is not None), default=0)
    levels = [_level(value, most, height * _EIGHTHS) for value in values]
    return [
        "".join(ramp[min(max(level - row * _EIGHTHS, 0), _EIGHTHS)] for level in levels)
        for row in reversed(range(height))
    ]


def _level(value: float | None, most: float, highest: int) -> int:
    if value is None:
        return 0
    return 1 if value <= 0 else max(2, ceil(value / most * highest))


def averages(counts: Sequence[int], end: int, width: int) -> list[float]:
    """What was counted second by second, as averages over steps of some seconds, at most `width` of them.

    `end` is when the last second ends (Unix). Steps begin at multiples of their length, so that a bar stays what it is
    while time goes on, and only moves.
    """
    step = next((step for step in _STEPS if -(-len(counts) // step) + 1 <= width), _STEPS[-1])
    by_step: dict[int, list[int]] = {}
    for second, count in enumerate(counts, start=end - len(counts)):
        by_step.setdefault(second // step, []).append(count)
    means = [sum(step) / len(step) for step in by_step.values()]
    return means[-width:] if width > 0 else []
