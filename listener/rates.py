"""What a tracker tells of how busy all trackers are: `GET /rates`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from shared.rates import AccountRates, TrackerRates

if TYPE_CHECKING:
    from listener.tracker import Tracker


class Rates(msgspec.Struct, frozen=True, rename="pascal"):
    """Events a second, by tracker and of the busiest accounts; `seconds` has how many there were in each of the last
    seconds, the oldest first, the last of which ends at `until`."""

    rate: int
    minute: float
    five_minutes: float
    trackers: list[TrackerRates]
    busiest: list[AccountRates]
    seconds: list[int]
    until: datetime

    @property
    def ended(self) -> datetime:
        """`until`, UTC."""
        return self.until.replace(tzinfo=UTC) if self.until.tzinfo is None else self.until.astimezone(UTC)


async def ask_rates(tracker: Tracker) -> tuple[bytes, Rates]:
    """The tracker's answer as it came, and what it says. Raises as `Tracker.request`."""
    response = await tracker.request("GET", "/rates")
    return response.content, tracker.decoded(response, Rates)
