"""The names of accounts, as a tracker knows them: remembered for a while, and not too many."""

from __future__ import annotations

from collections.abc import Iterable

import trio

from listener.tracker import Account, RefusedBy, Tracker
from shared.errors import ServerTrouble

MOST = 1000
"""How many accounts are remembered."""
FRESH = 60.0
"""For how many seconds what is known of one is good enough: an account may be renamed."""


class Names:
    """What was looked up."""

    def __init__(self) -> None:
        self.known: dict[int, Account | None] = {}
        """The accounts by ID; None: there is none. Those learned last stand at the end."""
        self._learned_at: dict[int, float] = {}

    async def learn(self, tracker: Tracker, account_ids: Iterable[int]) -> None:
        """Look up those of these that are not known well enough. What can't be had now stays as it is."""
        for account_id in account_ids:
            if self._learned_at.get(account_id, float("-inf")) > trio.current_time() - FRESH:
                continue
            try:
                account = await tracker.account(account_id)
            except (ServerTrouble, RefusedBy):
                return
            self.known.pop(account_id, None)
            self.known[account_id] = account
            self._learned_at[account_id] = trio.current_time()
            if len(self.known) > MOST:
                oldest = next(iter(self.known))
                del self.known[oldest], self._learned_at[oldest]
