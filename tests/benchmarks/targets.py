"""What is to be reached, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tests.benchmarks.measures.accounts import END, FEW, FULL, MANY
from tests.benchmarks.samples import Key, Samples, Spread


@dataclass(frozen=True)
class Target:
    """`of` (divided by `against` of the same round, if there is one) shall be `bound` or better, as the median."""

    title: str
    of: Key
    bound: float
    better: Literal["at least", "below", "at most"] = "at least"
    against: Key | None = None
    unit: str = "×"

    def measured(self, samples: Samples) -> Spread | None:
        """None: it was not measured."""
        return samples.spread(self.of) if self.against is None else samples.ratio(self.of, self.against)

    def reached(self, measured: Spread) -> bool:
        match self.better:
            case "at least":
                return measured.median >= self.bound
            case "at most":
                return measured.median <= self.bound
            case "below":
                return measured.median < self.bound


def _put(side: str, connections: int) -> Key:
    return Key("put", side, f"{connections} connections", "rate")


TARGETS = (
    Target(
        "single PUT at 32 connections, one process, committed before 202, against plain",
        _put("tracker", 32),
        20,
        against=_put("plain", 32),
    ),
    Target("single PUT at 1 connection, against plain", _put("tracker", 1), 5, against=_put("plain", 1)),
    Target("single PUT at 128 connections, against bare", _put("tracker", 128), 0.55, against=_put("bare", 128)),
    Target(
        "p99 at 32 connections, against plain at the same rate",
        Key("same-rate", "tracker", "32 connections", "p99"),
        1,
        "below",
        against=Key("same-rate", "plain", "32 connections", "p99"),
    ),
    Target("bulk intake, one process, committed", Key("bulk", "tracker", "NDJSON", "rate"), 40_000, unit=" events/s"),
    Target(
        "bulk intake, against plain's PUT",
        Key("bulk", "tracker", "NDJSON", "rate"),
        120,
        against=Key("bulk", "plain", "PUT", "rate"),
    ),
    Target(
        "fan-out of single events, 100 followers, WebSocket, against one frame an event through Quart",
        Key("fan-out", "tracker", "100 followers", "deliveries"),
        10,
        against=Key("fan-out", "plain", "100 followers", "deliveries"),
    ),
    Target(
        "two workers against one, single PUT, load generator on the same cores",
        Key("workers", "two workers", "32 connections", "rate"),
        1.3,
        against=Key("workers", "one worker", "32 connections", "rate"),
    ),
    Target(
        "memory per idle WebSocket follower", Key("memory", "tracker", "WebSocket", "memory"), 60, "below", unit=" KiB"
    ),
    Target(
        "1,000,000 accounts against 10: throughput",
        Key("accounts", "tracker", MANY, "rate"),
        0.9,
        against=Key("accounts", "tracker", FEW, "rate"),
    ),
    Target(
        "1,000,000 accounts, cache for 100,000: memory at the end, against when the cache was full",
        Key("accounts", "tracker", END, "resident"),
        1.05,
        "at most",
        against=Key("accounts", "tracker", FULL, "resident"),
    ),
)


def reached_all(samples: Samples) -> bool:
    measured = [(target, target.measured(samples)) for target in TARGETS]
    return all(found is not None and target.reached(found) for target, found in measured)
