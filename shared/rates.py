"""What `GET /rates` tells of each tracker and account, for whoever answers and whoever asks."""

from __future__ import annotations

import msgspec


class TrackerRates(msgspec.Struct, frozen=True, rename="pascal"):
    """Events a second of one host; `rate` is that of the last whole second."""

    host: str
    rate: int
    minute: float
    five_minutes: float


class AccountRates(msgspec.Struct, frozen=True, rename="pascal"):
    """Events a second of one account."""

    id: int = msgspec.field(name="ID")
    minute: float
    five_minutes: float
