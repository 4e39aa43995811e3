"""Accounts: kept in PostgreSQL, remembered in a bounded cache that PostgreSQL's notifications keep fresh.

Every event asks whether its account is active, so the answer comes from memory. Migration 0002 makes PostgreSQL say
which accounts changed, whoever changed them; a changed account is forgotten, and asked for again when needed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from typing import Annotated

import asyncpg
import msgspec
import trio

from shared.errors import AccountNotActive, NoSuchAccount, Unavailable
from shared.events import LARGEST_ID
from tracker.database import Database

CHANNEL = "account_changed"
TRUSTED_UNHEARD = 5.0
"""For how many seconds an account is trusted that was read when no notifications came."""

_SELECT = "select id, name, coalesce(isActive, true) as active from account where id = $1"
_SELECT_IDS = "select id from account where id = any($1::int[])"
_INSERT = "insert into account (name, isActive) values ($1, $2) returning id, name, isActive as active"
_UPDATE = """
    update account set name = coalesce($2, name), isActive = coalesce($3, isActive) where id = $1
    returning id, name, coalesce(isActive, true) as active
"""


class Account(msgspec.Struct, frozen=True):
    """An account, with its JSON keys."""

    id: int = msgspec.field(name="ID")
    name: str = msgspec.field(name="Name")
    is_active: bool = msgspec.field(name="IsActive")


Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class _Entry(msgspec.Struct, frozen=True):
    account: Account | None  # None: there is no such account
    read_at: float


class Accounts:
    """The accounts, for any task of this process."""

    def __init__(self, database: Database, cache_size: int) -> None:
        self._database = database
        self._cache_size = cache_size
        self._cache: OrderedDict[int, _Entry] = OrderedDict()
        self._heard = 0
        self._listening_since: float | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Service: hear of changes. Raises Unavailable when notifications stop."""

        async def listen(*, task_status: trio.TaskStatus[None]) -> None:
            await self._database.listen(CHANNEL, self._changed, task_status=task_status)

        async with trio.open_nursery() as nursery:
            await nursery.start(listen)
            self._listening_since = trio.current_time()
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._listening_since = None

    async def must_be_active(self, account_id: int) -> None:
        """Return if the account takes events. Raises NoSuchAccount, AccountNotActive, and Unavailable if unknown."""
        entry = self._cache.get(account_id)
        if entry is None or not self._trusted(entry):
            try:
                account = await self._read(account_id)
            except Unavailable:
                if entry is None:
                    raise
                account = entry.account
        else:
            self._cache.move_to_end(account_id)
            account = entry.account
        if account is None:
            raise NoSuchAccount(account_id)
        if not account.is_active:
            raise AccountNotActive(account_id)

    async def get(self, account_id: int) -> Account:
        """The account as PostgreSQL has it now. Raises NoSuchAccount and Unavailable."""
        account = await self._read(account_id)
        if account is None:
            raise NoSuchAccount(account_id)
        return account

    async def existing(self, account_ids: Collection[int]) -> set[int]:
        """Which of these accounts there are, by one query. Raises Unavailable."""
        possible = [account_id for account_id in account_ids if account_id <= LARGEST_ID]
        rows = await self._database.fetch(_SELECT_IDS, possible) if possible else []
        return {row["id"] for row in rows}

    async def create(self, name: str, is_active: bool) -> Account:
        """Make an account. Raises Unavailable and OutcomeUnknown."""
        row = await self._database.change(_INSERT, name, is_active)
        assert row is not None
        self._changed(str(row["id"]))
        return _account(row)

    async def update(self, account_id: int, name: str | None, is_active: bool | None) -> Account:
        """Change what is not None; return the account. Raises NoSuchAccount, Unavailable and OutcomeUnknown."""
        if account_id > LARGEST_ID:
            raise NoSuchAccount(account_id)
        try:
            row = await self._database.change(_UPDATE, account_id, name, is_active)
        finally:
            self._changed(str(account_id))
        if row is None:
            raise NoSuchAccount(account_id)
        return _account(row)

    def _trusted(self, entry: _Entry) -> bool:
        if self._listening_since is not None:
            return entry.read_at >= self._listening_since
        return trio.current_time() - entry.read_at < TRUSTED_UNHEARD

    async def _read(self, account_id: int) -> Account | None:
        if account_id > LARGEST_ID:
            return None
        heard, started_at = self._heard, trio.current_time()
        rows = await self._database.fetch(_SELECT, account_id)
        account = _account(rows[0]) if rows else None
        if self._heard == heard:  # else this answer may be older than a change that we were told of meanwhile
            self._cache[account_id] = _Entry(account, started_at)
            self._cache.move_to_end(account_id)
            if len(self._cache) > self._cache_size:
                self._cache.popitem(last=False)
        return account

    def _changed(self, payload: str) -> None:
        """Hear of a notification: IDs with spaces between. Anything else means that any account may have changed."""
        self._heard += 1
        try:
            changed = [int(account_id) for account_id in payload.split()]
        except ValueError:
            self._cache.clear()
        else:
            for account_id in changed:
                self._cache.pop(account_id, None)


def _account(row: asyncpg.Record) -> Account:
    return Account(row["id"], row["name"], row["active"])
