"""The rise of the count over the last second, from samples."""

from __future__ import annotations

from collections import deque

import pytest

from shared.log import Counters
from tracker.rates import rise


def samples(*points: tuple[float, int], appended_at: float | None = None) -> deque[Counters]:
    """Samples of (time, position); the last event came with the last rise unless told otherwise."""
    if appended_at is None:
        appended_at = points[-1][0]
    return deque(Counters("epoch", position, appended_at, at) for at, position in points)


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        (samples((10.0, 5)), 0),
        (samples((9.9, 5), (10.0, 8)), 3),
        (samples((9.0, 0), (9.5, 100), (10.0, 200)), 200),
        (samples((8.9, 0), (9.1, 100), (10.0, 500)), 450),
        (samples((8.9, 0), (9.1, 100), (10.0, 100), appended_at=8.95), 0),
        (samples((8.5, 0), (10.0, 0), appended_at=0), 0),
    ],
)
def test_rise(taken: deque[Counters], expected: int) -> None:
    assert rise(taken) == expected
