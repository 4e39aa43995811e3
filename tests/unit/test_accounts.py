"""The cache of accounts, over a database whose queries the test counts."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from shared.errors import NoSuchAccount, Unavailable
from tracker.accounts import TRUSTED_UNHEARD, Accounts


class Database:
    """Stands in for PostgreSQL: has the accounts 1 to 9, and remembers who was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.away = False
        self.while_asked: Any = None

    async def fetch(self, query: str, account_id: int) -> list[dict[str, Any]]:
        if self.away:
            raise Unavailable("database", "as told")
        self.asked.append(account_id)
        if self.while_asked is not None:
            self.while_asked()
        return [{"id": account_id, "name": "x", "active": True}] if account_id < 10 else []

    async def listen(self, channel: str, heard: Any, *, task_status: trio.TaskStatus[None]) -> None:
        self.heard = heard
        task_status.started()
        await trio.sleep_forever()


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def accounts(database: Database) -> Accounts:
    return Accounts(database, cache_size=2)  # type: ignore[arg-type]


@pytest.fixture
async def listening(accounts: Accounts, nursery: trio.Nursery) -> None:
    await nursery.start(accounts.run)


async def test_the_least_recently_used_account_is_forgotten(
    accounts: Accounts, database: Database, listening: None
) -> None:
    for account in (1, 2, 1, 3, 3, 1, 2):
        await accounts.must_be_active(account)
    assert database.asked == [1, 2, 3, 2]


async def test_accounts_that_do_not_exist_are_remembered_too(
    accounts: Accounts, database: Database, listening: None
) -> None:
    for _ in range(2):
        with pytest.raises(NoSuchAccount):
            await accounts.must_be_active(10)
    assert database.asked == [10]
    database.heard("10")
    with pytest.raises(NoSuchAccount):
        await accounts.must_be_active(10)
    assert database.asked == [10, 10]


async def test_an_answer_that_a_change_overtook_is_not_remembered(
    accounts: Accounts, database: Database, listening: None
) -> None:
    database.while_asked = lambda: database.heard("1")
    await accounts.must_be_active(1)
    database.while_asked = None
    await accounts.must_be_active(1)
    await accounts.must_be_active(1)
    assert database.asked == [1, 1]


async def test_trust_without_notifications(accounts: Accounts, database: Database, autojump_clock: MockClock) -> None:
    await accounts.must_be_active(1)
    await trio.sleep(TRUSTED_UNHEARD - 0.1)
    await accounts.must_be_active(1)
    assert database.asked == [1]
    await trio.sleep(0.2)
    await accounts.must_be_active(1)
    assert database.asked == [1, 1]
    database.away = True
    await trio.sleep(3600)
    await accounts.must_be_active(1)
    with pytest.raises(Unavailable):
        await accounts.must_be_active(2)


async def test_what_was_read_before_notifications_came_is_read_again(
    accounts: Accounts, database: Database, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    await accounts.must_be_active(1)
    await trio.sleep(TRUSTED_UNHEARD + 1)
    await nursery.start(accounts.run)
    for _ in range(3):
        await accounts.must_be_active(1)
        await trio.sleep(3600)
    assert database.asked == [1, 1]
