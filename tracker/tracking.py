"""The one use case: an event for an account that takes events goes to the log."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from shared import events
from shared.appending import Appended
from shared.errors import TrackerError
from tracker.accounts import Accounts
from tracker.publisher import Publisher


class Item(msgspec.Struct, frozen=True, gc=False):
    """An event as `Tracking.accept` takes it, one of many."""

    account_id: int
    data: bytes
    key: str = ""


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

    async def accept_many(self, items: Sequence[Item]) -> list[Appended | TrackerError]:
        """Commit events in their order, at most 1,000; return what became of each: where it stands, or what `accept`
        would raise."""
        refused = await self._accounts.check({item.account_id for item in items})
        now = time.time_ns()
        taken = items if not refused else [item for item in items if item.account_id not in refused]
        drafts = [events.draft(item.account_id, item.data, now, item.key) for item in taken]
        outcomes = iter(await self._publisher.commit_many(drafts))
        return [refused.get(item.account_id) or next(outcomes) for item in items]
