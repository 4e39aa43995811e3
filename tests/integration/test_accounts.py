"""Accounts in a real PostgreSQL: taking one over, making one, and hearing of changes."""

from __future__ import annotations

import asyncio
import gc
import uuid
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
import trio

from shared.errors import Unavailable
from tests.integration.conftest import StartTracker
from tests.integration.fragile import fragile_servers
from tracker import accounts
from tracker.database import Database

GO_TABLE = "CREATE TABLE account (id serial primary key, name varchar(255) not null, isActive boolean default true)"


async def sql(url: str, *statements: str) -> list[asyncpg.Record]:
    """Run statements as psql would, on a connection that the tracker knows nothing of."""

    async def run() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(url)
        try:
            return [row for statement in statements for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    return await trio.to_thread.run_sync(lambda: asyncio.run(run()))


async def put(client: httpx.AsyncClient, account: int) -> int:
    return (await client.put(f"/{account}", params={"data": "x"})).status_code


async def until_put_is(client: httpx.AsyncClient, account: int, status: int, within: float = 1.0) -> None:
    with trio.fail_after(within):
        while await put(client, account) != status:
            await trio.sleep(0.01)


async def test_a_new_database_gets_1000_accounts(client: httpx.AsyncClient, database_url: str) -> None:
    rows = await sql(database_url, "select * from account order by id")
    assert [row["id"] for row in rows] == list(range(1, 1001))
    assert len({row["name"] for row in rows}) == 1000
    assert all(len(row["name"]) == 32 and int(row["name"], 16) >= 0 and row["isactive"] for row in rows)


async def test_trackers_that_start_together_agree(start_tracker: StartTracker, database_url: str) -> None:
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            async with start_tracker():
                pass

        for _ in range(3):
            nursery.start_soon(run)
    [count] = await sql(database_url, "select count(*) from account")
    assert count[0] == 1000


async def test_a_database_of_the_go_system_is_taken_over(start_tracker: StartTracker, database_url: str) -> None:
    await sql(
        database_url, GO_TABLE, "insert into account (name, isActive) values ('a', true), ('b', false), ('c', null)"
    )
    for _ in range(2):  # and stays as it is when the tracker starts again
        async with start_tracker() as client:
            assert (await client.get("/1")).json() == {"ID": 1, "Name": "a", "IsActive": True}
            assert (await client.get("/2")).json() == {"ID": 2, "Name": "b", "IsActive": False}
            assert (await client.get("/3")).json() == {"ID": 3, "Name": "c", "IsActive": True}
            assert (await client.get("/4")).status_code == 404
    async with start_tracker() as client:
        assert (await client.post("/", json={"Name": "d"})).headers["Location"] == "/4"


async def test_changes_by_psql_are_seen_within_a_second(client: httpx.AsyncClient, database_url: str) -> None:
    assert await put(client, 1) == 202
    await sql(database_url, "update account set isActive = false where id = 1")
    await until_put_is(client, 1, 400)
    await sql(database_url, "update account set isActive = true where id = 1")
    await until_put_is(client, 1, 202)
    await sql(database_url, "delete from account where id = 1")
    await until_put_is(client, 1, 404)
    await sql(database_url, "insert into account (id, name) values (1, 'again')")
    await until_put_is(client, 1, 202)
    await sql(database_url, "update account set id = 2000 where id = 1")
    await until_put_is(client, 1, 404)
    await until_put_is(client, 2000, 202)
    await sql(database_url, "update account set isActive = false")  # more than a notification can name
    await until_put_is(client, 2000, 400)
    await sql(database_url, "truncate account")
    await until_put_is(client, 2000, 404)


async def test_changes_by_another_tracker_are_seen_within_a_second(start_tracker: StartTracker) -> None:
    async with start_tracker() as one, start_tracker() as other:
        assert await put(other, 1) == 202
        assert await put(other, 1001) == 404
        await one.patch("/1", json={"IsActive": False})
        assert await put(one, 1) == 400
        await until_put_is(other, 1, 400)
        await one.post("/", json={"Name": "new"})
        assert await put(one, 1001) == 202
        await until_put_is(other, 1001, 202)


async def test_a_lost_listen_connection_is_made_anew(client: httpx.AsyncClient, database_url: str) -> None:
    assert await put(client, 1) == 202
    killed = await sql(
        database_url,
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and application_name = 'tracker'",
        "update account set isActive = false where id = 1",
    )
    assert len(killed) >= 2
    await until_put_is(client, 1, 400, within=accounts.TRUSTED_UNHEARD + 5)


async def test_without_notifications_accounts_are_trusted_for_a_while(
    start_tracker: StartTracker, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deaf(*args: Any, **kwargs: Any) -> None:
        raise Unavailable("database", "no notifications in this test")

    monkeypatch.setattr(Database, "listen", deaf)
    monkeypatch.setattr(accounts, "TRUSTED_UNHEARD", 0.5)
    async with fragile_servers() as (postgres, _):
        await postgres.start()
        async with start_tracker(database=postgres.url) as client:
            assert await put(client, 1) == 202
            await sql(postgres.url, "update account set isActive = false where id = 1")
            await until_put_is(client, 1, 400, within=5)
            await sql(postgres.url, "update account set isActive = true where id = 1")
            await until_put_is(client, 1, 202, within=5)
            await postgres.kill()
            await trio.sleep(0.6)
            assert await put(client, 1) == 202


@pytest.mark.parametrize("payload", ["junk", "*", "1 x", " ", "-1 99999999999999999999"])
async def test_a_strange_notification_harms_nothing(client: httpx.AsyncClient, database_url: str, payload: str) -> None:
    assert await put(client, 1) == 202
    await sql(database_url, f"select pg_notify('account_changed', '{payload}')")
    await sql(database_url, "update account set isActive = false where id = 1")
    await until_put_is(client, 1, 400)
    assert (await client.get("/readyz")).status_code == 200


async def test_a_listen_connection_lost_alone_is_noticed_at_once(client: httpx.AsyncClient, database_url: str) -> None:
    assert await put(client, 1) == 202
    listening = "from pg_stat_activity where datname = current_database() and query ilike '%pg_notify%'"
    killed = await sql(
        database_url,
        f"select pg_terminate_backend(pid) {listening} and pid <> pg_backend_pid()",
        "update account set isActive = false where id = 1",
    )
    assert len(killed) == 1
    await until_put_is(client, 1, 400, within=accounts.TRUSTED_UNHEARD + 1)


async def test_what_postgresql_refuses_was_certainly_not_done(client: httpx.AsyncClient, database_url: str) -> None:
    name = urlsplit(database_url).path.removeprefix("/")
    await sql(
        database_url,
        f"alter database {name} set default_transaction_read_only = on",
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()",
    )
    with trio.fail_after(20):
        while (answer := await client.post("/", json={"Name": "new"})).status_code == 201:
            await trio.sleep(0.05)
    assert answer.status_code == 503
    assert "Nothing was done" in answer.json()["detail"]


async def test_a_database_that_may_not_be_changed_is_explained(start_tracker: StartTracker, database_url: str) -> None:
    name = f"weak_{uuid.uuid4().hex}"
    await sql(database_url, f"create role {name} login")
    try:
        with pytest.RaisesGroup(pytest.RaisesExc(Exception, match="let it own the table"), flatten_subgroups=True):
            async with start_tracker(database=database_url.replace("//tracker@", f"//{name}@")):
                pass
    finally:
        await sql(database_url, f"drop owned by {name}", f"drop role {name}")


async def test_a_query_leaves_nothing_behind(database_url: str) -> None:
    """trio-asyncio (0.16) keeps a timer that was cancelled until its time, and asyncpg sets one after each query."""
    database = Database(database_url)
    async with trio.open_nursery() as nursery:
        await nursery.start(database.run)
        for _ in range(20):
            await database.fetch("select 1")
        late = trio.current_time() + 60
        timers = [each for each in gc.get_objects() if isinstance(each, asyncio.TimerHandle) and each.when() > late]
        assert len(timers) < 5
        nursery.cancel_scope.cancel()


async def test_connections_that_end_at_any_moment_end_no_tracker(
    start_tracker: StartTracker, database_url: str
) -> None:
    end_all = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> "
    async with start_tracker() as client, trio.open_nursery() as nursery:

        async def ask(path: str) -> None:
            while True:
                assert (await client.get(path)).status_code in (200, 503)

        for number in range(8):
            nursery.start_soon(ask, f"/{number + 1}")
        with trio.move_on_after(4):
            while True:
                await sql(database_url, *[end_all + "pg_backend_pid()", "select pg_sleep(0.005)"] * 20)
        with trio.fail_after(30):
            while (await client.get("/readyz")).status_code != 200:
                await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
