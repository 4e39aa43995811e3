"""The one use case: an event for an account that takes events goes to the log."""

from __future__ import annotations

import time

from shared import events
from shared.appending import Appended
from tracker.accounts import Accounts
from tracker.publisher import Publisher


class Tracking:
    """Accepts events; whoever takes them from a client, by whatever protocol, calls this."""

    def __init__(self, accounts: Accounts, publisher: Publisher) -> None:
        self._accounts = accounts
        self._publisher = publisher

    async def accept(self, account_id: int, data: bytes, key: str = "") -> Appended:
        """Commit an event and return where it stands; `data` is JSON from `events.encode_text` or `encode_json`.

        With an idempotency key that the account had within 10 minutes: where that event stands, and no other one.
        Raises NoSuchAccount, AccountNotActive, Unavailable (certainly not accepted) and OutcomeUnknown.
        """
        await self._accounts.must_be_active(account_id)
        return await self._publisher.commit(events.draft(account_id, data, time.time_ns(), key))
