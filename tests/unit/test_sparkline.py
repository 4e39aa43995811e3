"""Bars from numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.sparkline import ASCII, BLOCKS, averages, sparkline


def test_from_zero_to_the_largest() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7, 8]) == ["▁▂▂▃▄▅▆▇█"]
    assert sparkline([0, 1, 1_000_000]) == ["▁▂█"]  # what is not zero can be told from zero
    assert sparkline([5.5, 5.5]) == ["██"]


def test_nothing_and_zeros() -> None:
    assert sparkline([]) == [""]
    assert sparkline([0, 0.0]) == ["▁▁"]
    assert sparkline([None, 0, None, 3]) == [" ▁ █"]
    assert sparkline([None]) == [" "]


def test_two_lines() -> None:
    assert sparkline([0, 4, 8, 12, 16, None], height=2) == ["   ▄█ ", "▁▄███ "]


def test_without_blocks() -> None:
    [line] = sparkline([0, 1, 5, 8], ramp=ASCII)
    assert line == "_.=#"
    assert line.isascii()


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e12)), max_size=50), st.integers(1, 3))
def test_a_bar_for_each(values: list[float | None], height: int) -> None:
    lines = sparkline(values, height=height)
    assert [len(line) for line in lines] == [len(values)] * height
    assert set("".join(lines)) <= set(BLOCKS)


@pytest.mark.parametrize("width", [1, 5, 10, 40, 78, 118, 300, 301, 1000])
def test_averages_fit(width: int) -> None:
    assert 1 <= len(averages([1] * 300, 1_700_000_123, width)) <= width
    assert set(averages([3] * 300, 1_700_000_123, width)) == {3}


def test_averages_stay_while_time_goes_on() -> None:
    counts = [number * number % 17 for number in range(320)]
    before = averages(counts[:300], 1_700_000_000, 60)
    after = averages(counts[6:306], 1_700_000_006, 60)  # a step of six seconds later
    assert after[1:-2] == before[2:-1]
    assert averages(counts[1:301], 1_700_000_001, 60)[1:-1] == before[1:-1]


def test_averages_of_nothing() -> None:
    assert averages([], 1_700_000_000, 80) == []
    assert averages([1, 2], 1_700_000_000, 0) == []
