"""What a follower was shown, line by line, in the order of its coming."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import msgspec
import trio


@dataclass(frozen=True)
class Place:
    """A Position, taken apart."""

    epoch: str
    number: int

    @classmethod
    def of(cls, position: str) -> Place:
        epoch, _, number = position.split("-")
        return cls(epoch, int(number))


@dataclass(frozen=True)
class Seen:
    """An event as a follower or the log has it; `at` is when it came."""

    place: Place
    account: int
    seq: int
    name: str
    at: float = math.inf

    @classmethod
    def of(cls, event: dict[str, Any], at: float = math.inf) -> Seen:
        data = event["Data"]
        name = data if isinstance(data, str) else data["name"]
        return cls(Place.of(event["Position"]), event["ID"], event["Seq"], name, at)

    def __str__(self) -> str:
        return f"{self.name} (account {self.account}, Seq {self.seq}, {self.place.epoch}-{self.place.number})"


@dataclass
class Record:
    """Everything that one follower was shown. `accounts` None: it follows all of them."""

    name: str
    accounts: frozenset[int] | None = None
    events: list[Seen] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    epochs_told: int = 0
    complaints: list[str] = field(default_factory=list)
    position: str = ""
    """To come back with: all up to there was shown."""
    ready: trio.Event = field(default_factory=trio.Event)
    connections: int = 0
    deaths: list[float] = field(default_factory=list)
    """When it was killed, so that what it had written last may come again."""

    def line(self, line: bytes) -> None:
        """Take a frame."""
        self.frame(msgspec.json.decode(line))

    def frame(self, frame: dict[str, Any]) -> None:
        kind = frame.get("Frame")
        if kind is None:
            self.event(frame)
        elif kind == "ready":
            self.reached(frame["Position"])
        elif kind == "gap":
            self.gap(frame.get("Reason") == "epoch", str(frame))
        elif kind == "error":
            self.complaints.append(f"{self.name} was told {frame}")

    def event(self, event: dict[str, Any]) -> None:
        self.events.append(Seen.of(event, trio.current_time()))
        self.position = event["Position"]

    def reached(self, position: str) -> None:
        self.position = position
        self.ready.set()

    def gap(self, epoch: bool, text: str) -> None:
        if epoch:
            self.epochs_told += 1
        else:
            self.gaps.append(text)

    async def until(self, place: Place) -> float:
        """Wait for the event at this place, and return when it came."""
        while True:
            for seen in reversed(self.events):
                if seen.place == place:
                    return seen.at
                if seen.place.epoch == place.epoch and seen.place.number < place.number:
                    break
            await trio.sleep(0.02)
