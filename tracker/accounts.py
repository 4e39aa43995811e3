"""Accounts: kept in PostgreSQL, remembered in a bounded cache that PostgreSQL's notifications keep fresh.

Every event asks whether its account is active, so the answer comes from memory. It is kept in blocks of 1024
neighbours, a byte for each account: so accounts cost next to nothing, and a tracker knows a million of them after a
thousand questions. Migration 0002 makes PostgreSQL say which accounts changed, whoever changed them; a changed account
is forgotten, and its block is read again when it is needed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import Annotated

import asyncpg
import msgspec
import trio

from shared.errors import AccountNotActive, NoSuchAccount, TrackerError, Unavailable
from shared.events import LARGEST_ID
from tracker.database import Database

CHANNEL = "account_changed"
TRUSTED_UNHEARD = 5.0
"""For how many seconds an account is trusted that was read when no notifications came."""

BLOCK = 1024
"""How many neighbouring accounts are read together."""

_BLOCKS_AT_ONCE = 64
_UNKNOWN, _MISSING, _INACTIVE, _ACTIVE = range(4)

_SELECT = "select id, name, coalesce(isActive, true) as active from account where id = $1"
_SELECT_BLOCKS = """
    select number,
        (select array_agg(id) from account
            where id between number * $2 and number * $2 + ($2 - 1) and isActive is not false) as active,
        (select array_agg(id) from account
            where id between number * $2 and number * $2 + ($2 - 1) and isActive is false) as inactive
    from unnest($1::int[]) as number
"""
_SELECT_IDS = "select id from account where id = any($1::int[])"
_PAGE = """
    select id, name, coalesce(isActive, true) as active from account
    where id > $1 and ($2::boolean is null or coalesce(isActive, true) = $2)
    order by id limit $3
"""
# By the index on names, whatever the planner thinks of the limit; what follows a text in the order of bytes up to the
# last character there is begins with it.
_PAGE_NAMED = """
    with named as materialized (
        select id, name, coalesce(isActive, true) as active from account
        where lower(name) ~>=~ lower($4) and lower(name) ~<~ (lower($4) || $5)
    )
    select * from named where id > $1 and ($2::boolean is null or active = $2) order by id limit $3
"""
_LAST_CHARACTER = chr(0x10FFFF)
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


class _Block(msgspec.Struct, frozen=True):
    """What is known of BLOCK neighbours, a byte each: _UNKNOWN for one that changed since they were read."""

    read_at: float
    states: bytearray


class _Reading:
    """A question to PostgreSQL under way, for whose answer others may wait, too."""

    def __init__(self) -> None:
        self.over = trio.Event()
        self.failure: Unavailable | None = None
        self.changed: set[int] = set()
        """Accounts that changed meanwhile: of these the answer may be old."""
        self.void = False  # any account may have changed


class Accounts:
    """The accounts, for any task of this process."""

    def __init__(self, database: Database, cache_size: int) -> None:
        """`cache_size` is how many accounts are remembered, in whole blocks."""
        self._database = database
        self._most_blocks = max(1, cache_size // BLOCK)
        self._blocks: OrderedDict[int, _Block] = OrderedDict()  # the one used last at the end
        self._readings: dict[int, _Reading] = {}
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
        if self._state(account_id) != _ACTIVE:
            for error in (await self.check([account_id])).values():
                raise error

    async def check(self, account_ids: Collection[int]) -> dict[int, TrackerError]:
        """Return why each of these accounts that takes no events takes none: NoSuchAccount, AccountNotActive, or
        Unavailable if that is unknown. PostgreSQL is asked together for all that are not remembered."""
        states = {account_id: self._state(account_id) for account_id in account_ids}
        unknown = {account_id for account_id, state in states.items() if state == _UNKNOWN}
        failure = await self._ask(unknown, states) if unknown else None
        refused: dict[int, TrackerError] = {}
        for account_id, state in states.items():
            if state == _MISSING:
                refused[account_id] = NoSuchAccount(account_id)
            elif state == _INACTIVE:
                refused[account_id] = AccountNotActive(account_id)
            elif state == _UNKNOWN:
                assert failure is not None
                refused[account_id] = Unavailable(failure.part, failure.reason)
        return refused

    async def get(self, account_id: int) -> Account:
        """The account as PostgreSQL has it now. Raises NoSuchAccount and Unavailable."""
        rows = await self._database.fetch(_SELECT, account_id) if account_id <= LARGEST_ID else []
        if not rows:
            raise NoSuchAccount(account_id)
        return _account(rows[0])

    async def existing(self, account_ids: Collection[int]) -> set[int]:
        """Which of these accounts there are, by one query. Raises Unavailable."""
        possible = [account_id for account_id in account_ids if account_id <= LARGEST_ID]
        rows = await self._database.fetch(_SELECT_IDS, possible) if possible else []
        return {row["id"] for row in rows}

    async def page(self, after: int, limit: int, active: bool | None = None, name: str = "") -> list[Account]:
        """The accounts after an ID, in their order, at most `limit`: those that are active or not (None: all), and
        whose names begin with `name`, whatever the case. Raises Unavailable."""
        if after >= LARGEST_ID:
            return []
        if name:
            rows = await self._database.fetch(_PAGE_NAMED, after, active, limit, name, _LAST_CHARACTER)
        else:
            rows = await self._database.fetch(_PAGE, after, active, limit)
        return [_account(row) for row in rows]

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

    def _state(self, account_id: int, *, however_old: bool = False) -> int:
        """What is remembered of an account."""
        number = account_id // BLOCK
        block = self._blocks.get(number)
        if block is None:
            return _UNKNOWN if account_id <= LARGEST_ID else _MISSING
        if not however_old and not self._trusted(block):
            return _UNKNOWN
        self._blocks.move_to_end(number)
        return block.states[account_id % BLOCK]

    def _trusted(self, block: _Block) -> bool:
        if self._listening_since is not None:
            return block.read_at >= self._listening_since
        return trio.current_time() - block.read_at < TRUSTED_UNHEARD

    async def _ask(self, unknown: set[int], states: dict[int, int]) -> Unavailable | None:
        """Put into `states` what is unknown of accounts; return why something still is, if so."""
        while unknown:
            numbers = {account_id // BLOCK for account_id in unknown}
            if mine := [number for number in numbers if number not in self._readings][:_BLOCKS_AT_ONCE]:
                try:
                    answer = await self._read_blocks(mine)
                except Unavailable as failure:
                    return self._make_do(unknown, states, failure)
                for account_id in [account_id for account_id in unknown if account_id // BLOCK in answer]:
                    states[account_id] = answer[account_id // BLOCK][account_id % BLOCK]
                    unknown.remove(account_id)
            else:
                reading = self._readings[numbers.pop()]
                await reading.over.wait()
                if reading.failure is not None:
                    return self._make_do(unknown, states, reading.failure)
            states.update((account_id, self._state(account_id)) for account_id in unknown)
            unknown = {account_id for account_id in unknown if states[account_id] == _UNKNOWN}
        return None

    def _make_do(self, unknown: set[int], states: dict[int, int], failure: Unavailable) -> Unavailable:
        """Take what is remembered, however old it is."""
        states.update((account_id, self._state(account_id, however_old=True)) for account_id in unknown)
        return failure

    async def _read_blocks(self, numbers: list[int]) -> dict[int, bytes]:
        """What PostgreSQL says of blocks; it is remembered, but for what changed meanwhile. Raises Unavailable."""
        reading = _Reading()
        self._readings.update((number, reading) for number in numbers)
        started_at = trio.current_time()
        try:
            rows = await self._database.fetch(_SELECT_BLOCKS, numbers, BLOCK)
        except Unavailable as failure:
            reading.failure = failure
            raise
        finally:
            for number in numbers:
                del self._readings[number]
            reading.over.set()
        answer = {row["number"]: _states(row["active"] or (), row["inactive"] or ()) for row in rows}
        if not reading.void:
            for number, states in answer.items():
                self._blocks[number] = _Block(started_at, bytearray(states))
                self._blocks.move_to_end(number)
            self._forget(reading.changed)
            while len(self._blocks) > self._most_blocks:
                self._blocks.popitem(last=False)
        return answer

    def _changed(self, payload: str) -> None:
        """Hear of a notification: IDs with spaces between. Anything else means that any account may have changed."""
        readings = set(self._readings.values())
        try:
            changed = [int(account_id) for account_id in payload.split()]
        except ValueError:
            self._blocks.clear()
            for reading in readings:
                reading.void = True
        else:
            self._forget(changed)
            for reading in readings:
                reading.changed.update(changed)

    def _forget(self, account_ids: Iterable[int]) -> None:
        for account_id in account_ids:
            if block := self._blocks.get(account_id // BLOCK):
                block.states[account_id % BLOCK] = _UNKNOWN


def _states(active: Iterable[int], inactive: Iterable[int]) -> bytes:
    states = bytearray([_MISSING]) * BLOCK
    for account_id in active:
        states[account_id % BLOCK] = _ACTIVE
    for account_id in inactive:
        states[account_id % BLOCK] = _INACTIVE
    return bytes(states)


def _account(row: asyncpg.Record) -> Account:
    return Account(row["id"], row["name"], row["active"])
