"""Seqs against what they stand for: sets of numbers."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from listener.seqs import LARGEST, Seqs

numbers = st.integers(1, 60)
stretches = st.lists(st.tuples(numbers, st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1])))


def as_set(seqs: Seqs) -> set[int]:
    return {seq for first, last in seqs for seq in range(first, last + 1)}


def from_stretches(given: list[tuple[int, int]]) -> set[int]:
    return {seq for first, last in given for seq in range(first, last + 1)}


@given(st.lists(numbers))
def test_numbers_one_by_one(given: list[int]) -> None:
    seqs = Seqs()
    seen: set[int] = set()
    for seq in given:
        assert seqs.add(seq) == (seq not in seen)
        seen.add(seq)
    assert as_set(seqs) == seen
    assert seqs.count == len(seen)
    assert (seqs.first, seqs.last) == ((min(seen), max(seen)) if seen else (0, 0))
    assert all((seq in seqs) == (seq in seen) for seq in range(1, 70))


@given(stretches)
def test_stretches_join(given: list[tuple[int, int]]) -> None:
    seqs = Seqs(given)
    assert as_set(seqs) == from_stretches(given)
    kept = list(seqs)
    assert all(last + 1 < first for (_, last), (first, _) in itertools.pairwise(kept))


@given(stretches, stretches, numbers, numbers)
def test_less_and_within(one: list[tuple[int, int]], other: list[tuple[int, int]], first: int, last: int) -> None:
    assert as_set(Seqs(one).minus(Seqs(other))) == from_stretches(one) - from_stretches(other)
    assert as_set(Seqs(Seqs(one).within(first, last))) == from_stretches(one) & set(range(first, last + 1))


def test_the_largest() -> None:
    seqs = Seqs([(1, 1), (LARGEST - 1, LARGEST)])
    assert seqs.count == 3
    assert Seqs([(1, LARGEST)]).minus(seqs).count == LARGEST - 3
