"""The cache of accounts, over a database whose queries the test counts."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from shared.errors import AccountNotActive, NoSuchAccount, Unavailable
from shared.events import LARGEST_ID
from tracker.accounts import BLOCK, TRUSTED_UNHEARD, Accounts


class Database:
    """Stands in for PostgreSQL: has the accounts 1 to 9999, of which 13 is not active. Remembers which blocks were
    asked for; its answers wait for `may_answer`."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.away = False
        self.may_answer = trio.Event()
        self.may_answer.set()

    async def fetch(self, query: str, numbers: list[int], size: int) -> list[dict[str, Any]]:
        self.asked.append(sorted(numbers))
        rows = [{"number": number, **self.block(number * size, size)} for number in numbers]
        await self.may_answer.wait()
        if self.away:
            raise Unavailable("database", "as told")
        return rows

    def block(self, first: int, size: int) -> dict[str, Any]:
        there = [account for account in range(first, first + size) if 1 <= account < 10_000]
        active = [account for account in there if account != 13]
        return {"active": active or None, "inactive": [13] if 13 in there else None}

    async def listen(self, channel: str, heard: Any, *, task_status: trio.TaskStatus[None]) -> None:
        self.heard = heard
        task_status.started()
        await trio.sleep_forever()


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def accounts(database: Database) -> Accounts:
    return Accounts(database, cache_size=2 * BLOCK)  # type: ignore[arg-type]


@pytest.fixture
async def listening(accounts: Accounts, nursery: trio.Nursery) -> None:
    await nursery.start(accounts.run)


async def test_the_least_recently_used_block_is_forgotten(
    accounts: Accounts, database: Database, listening: None
) -> None:
    for block in (1, 2, 1, 3, 3, 1, 2):
        await accounts.must_be_active(block * BLOCK + 7)
    assert database.asked == [[1], [2], [3], [2]]


async def test_neighbours_are_remembered_together(accounts: Accounts, database: Database, listening: None) -> None:
    for _ in range(2):
        await accounts.must_be_active(1)
        await accounts.must_be_active(BLOCK - 1)
        with pytest.raises(AccountNotActive):
            await accounts.must_be_active(13)
    with pytest.raises(NoSuchAccount):
        await accounts.must_be_active(10_000)
    with pytest.raises(NoSuchAccount):
        await accounts.must_be_active(LARGEST_ID + 1)
    assert database.asked == [[0], [10_000 // BLOCK]]


async def test_many_are_asked_for_together(accounts: Accounts, database: Database, listening: None) -> None:
    refused = await accounts.check([1, 13, BLOCK, 10_000, LARGEST_ID, LARGEST_ID + 1])
    assert {account: type(error) for account, error in refused.items()} == {
        13: AccountNotActive,
        10_000: NoSuchAccount,
        LARGEST_ID: NoSuchAccount,
        LARGEST_ID + 1: NoSuchAccount,
    }
    assert database.asked == [[0, 1, 10_000 // BLOCK, LARGEST_ID // BLOCK]]


async def test_a_changed_account_is_asked_for_again(accounts: Accounts, database: Database, listening: None) -> None:
    await accounts.must_be_active(1)
    database.heard("2 3")
    await accounts.must_be_active(1)
    assert database.asked == [[0]]
    await accounts.must_be_active(2)
    await accounts.must_be_active(3)
    assert database.asked == [[0]] * 2
    database.heard("*")
    await accounts.must_be_active(1)
    assert database.asked == [[0]] * 3


@pytest.mark.parametrize("change", ["1", "*"])
async def test_an_answer_that_a_change_overtook_is_not_remembered(
    accounts: Accounts, database: Database, listening: None, nursery: trio.Nursery, change: str
) -> None:
    database.may_answer = trio.Event()
    for _ in range(2):  # the second one waits for the answer to the first, which may be old, and asks again
        nursery.start_soon(accounts.must_be_active, 1)
        await wait_all_tasks_blocked()
    database.heard(change)
    assert database.asked == [[0]]
    database.may_answer.set()
    await wait_all_tasks_blocked()
    await accounts.must_be_active(1)
    assert database.asked == [[0]] * 2


async def test_those_who_ask_at_the_same_time_share_the_answer(
    accounts: Accounts, database: Database, listening: None, nursery: trio.Nursery
) -> None:
    database.may_answer = trio.Event()
    refused: list[dict[int, Any]] = []

    async def check(*account_ids: int) -> None:
        refused.append(await accounts.check(account_ids))

    with trio.CancelScope() as gone:
        async with trio.open_nursery() as first:
            first.start_soon(check, 1)
            await wait_all_tasks_blocked()
            nursery.start_soon(check, 2, BLOCK)
            nursery.start_soon(check, 3, BLOCK)
            await wait_all_tasks_blocked()
            assert database.asked == [[0], [1]]
            gone.cancel()
    await wait_all_tasks_blocked()
    assert database.asked == [[0], [1], [0]]  # who asked is gone, so another one did
    database.may_answer.set()
    await wait_all_tasks_blocked()
    assert refused == [{}, {}]
    assert database.asked == [[0], [1], [0]]


async def test_with_the_database_away_all_who_wait_hear_of_it(
    accounts: Accounts, database: Database, listening: None, nursery: trio.Nursery
) -> None:
    database.may_answer = trio.Event()
    database.away = True
    refused: list[dict[int, Any]] = []

    async def check() -> None:
        refused.append(await accounts.check([1]))

    for _ in range(5):
        nursery.start_soon(check)
    await wait_all_tasks_blocked()
    database.may_answer.set()
    await wait_all_tasks_blocked()
    assert [type(errors[1]) for errors in refused] == [Unavailable] * 5
    assert database.asked == [[0]]


async def test_trust_without_notifications(accounts: Accounts, database: Database, autojump_clock: MockClock) -> None:
    await accounts.must_be_active(1)
    await trio.sleep(TRUSTED_UNHEARD - 0.1)
    await accounts.must_be_active(1)
    assert database.asked == [[0]]
    await trio.sleep(0.2)
    await accounts.must_be_active(1)
    assert database.asked == [[0]] * 2
    database.away = True
    await trio.sleep(3600)
    await accounts.must_be_active(1)
    with pytest.raises(AccountNotActive):
        await accounts.must_be_active(13)
    with pytest.raises(Unavailable):
        await accounts.must_be_active(BLOCK)


async def test_what_was_read_before_notifications_came_is_read_again(
    accounts: Accounts, database: Database, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    await accounts.must_be_active(1)
    await trio.sleep(TRUSTED_UNHEARD + 1)
    await nursery.start(accounts.run)
    for _ in range(3):
        await accounts.must_be_active(1)
        await trio.sleep(3600)
    assert database.asked == [[0]] * 2
