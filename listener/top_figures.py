"""What `listener top` has to show."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from listener.rates import Rates
from listener.tracker import Account

HISTORY = 120
"""How many answers are remembered, and so how long a line's bars get at most."""


class Order(enum.Enum):
    """By which rate accounts and trackers are ordered."""

    MINUTE = "1 MIN"
    FIVE_MINUTES = "5 MIN"


@dataclass(frozen=True)
class Figures:
    """What there is to show."""

    part: str
    """What a person knows the tracker by."""
    history: Sequence[Rates | None] = ()
    """The last answers, the newest last; None is an outage."""
    names: Mapping[int, Account | None] = field(default_factory=dict)
    """The accounts that were looked up; None: there is none (any more)."""
    away: str | None = None
    """Why the tracker does not answer, and since when."""
    order: Order = Order.MINUTE
    offset: int = 0
    """How many lines it is scrolled."""
    help: bool = False

    @property
    def latest(self) -> Rates | None:
        """The last answer that there was."""
        return next((rates for rates in reversed(self.history) if rates is not None), None)
