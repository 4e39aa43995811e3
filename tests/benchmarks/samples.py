"""What a benchmark collects: numbers by round, of each side, in each case."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import click

T = TypeVar("T")


class Key(NamedTuple):
    """Of which `measure`, whose (`side`), with how much of what (`case`), and which `quantity` (its unit: UNITS)."""

    measure: str
    side: str
    case: str
    quantity: str


UNITS = {
    "rate": "/s",
    "deliveries": "/s",
    "p50": "ms",
    "p99": "ms",
    "late p99": "ms",
    "client": "% of a core",
    "memory": "KiB",
    "resident": "MiB",
    "start": "s",
    "work": "µs",
}


class Spread(NamedTuple):
    """The middle of some numbers, and how far they reach."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


@dataclass
class Samples:
    """The numbers of a run: for each key one a round, in the order of the rounds."""

    values: dict[Key, list[float]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    """By measure: what could not be measured, and why; what has to be known to read the numbers."""

    def add(self, measure: str, side: str, case: str, quantities: Mapping[str, float]) -> None:
        for quantity, value in quantities.items():
            self.values.setdefault(Key(measure, side, case, quantity), []).append(value)
        said = ", ".join(f"{quantity} {value:,.2f}{UNITS[quantity]}" for quantity, value in quantities.items())
        click.echo(f"  {measure}: {side}, {case}: {said}", err=True)

    def note(self, measure: str, text: str) -> None:
        self.notes.setdefault(measure, []).append(text)
        click.echo(f"  {measure}: {text}", err=True)

    def spread(self, key: Key) -> Spread | None:
        values = self.values.get(key)
        return Spread.of(values) if values else None

    def ratio(self, key: Key, against: Key) -> Spread | None:
        """Of what was measured in the same round, so that what slows the whole machine down is in both."""
        pairs = zip(self.values.get(key, []), self.values.get(against, []), strict=False)
        ratios = [one / other for one, other in pairs if other]
        return Spread.of(ratios) if ratios else None


@dataclass(frozen=True)
class Form:
    """How long and how much."""

    rounds: int
    seconds: int
    """Of load, for each figure of a round."""
    warm_up: int = 1
    """Seconds of load before anything is measured."""
    accounts: int = 1000
    connections: tuple[int, ...] = (1, 2, 8, 32, 128, 512)
    followers: tuple[int, ...] = (1, 100, 1000)
    event_rates: tuple[int, ...] = (100, 1000, 3000)
    """Events a second, where the time from end to end is measured."""
    idle: int = 1000
    """How many idle followers share the memory that is measured."""
    starts: int = 3
    """How often tracker and listener are started."""
    few: int = 10
    many: int = 1_000_000
    """Numbers of accounts."""

    def turns(self, sides: Sequence[T]) -> Iterator[T]:
        """Every side, once a round; every other round backwards, so that being first is nobody's advantage."""
        for number in range(self.rounds):
            yield from sides if number % 2 == 0 else reversed(sides)


QUICK = Form(
    rounds=1,
    seconds=1,
    warm_up=0,
    accounts=100,
    connections=(32,),
    followers=(10,),
    event_rates=(100,),
    idle=20,
    starts=1,
    many=20_000,
)
