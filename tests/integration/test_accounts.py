"""Accounts in a real PostgreSQL: taking one over, making one, and hearing of changes."""

from __future__ import annotations

import asyncio
import gc
import re
import uuid
from typing import Any
from urllib.parse import urlencode, urlsplit

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


# Pages


async def pages(client: httpx.AsyncClient, query: str) -> list[list[dict[str, Any]]]:
    """All pages from there on, by their links."""
    found = []
    url = f"/accounts?{query}"
    while url:
        answer = await client.get(url)
        assert answer.status_code == 200, answer.text
        assert list(answer.json()) == ["Accounts"]
        found.append(answer.json()["Accounts"])
        link = answer.links.get("next")
        url = link["url"] if link else ""
    return found


async def test_accounts_come_in_pages(client: httpx.AsyncClient) -> None:
    [*full, last] = await pages(client, "limit=300")
    assert [len(page) for page in full] == [300, 300, 300]
    ids = [account["ID"] for page in [*full, last] for account in page]
    assert ids == list(range(1, 1001))
    assert list(full[0][0]) == ["ID", "Name", "IsActive"]
    assert len((await pages(client, ""))[0]) == 100
    assert await pages(client, "after=998&limit=1000") == [last[-2:]]
    for nothing in ("after=1000", "after=99999999999"):
        assert await pages(client, nothing) == [[]]


async def test_accounts_by_name_and_state(client: httpx.AsyncClient) -> None:
    # Which letters beyond ASCII have another case is up to the database's locale.
    names = ["Acme 100% _a_", "acme 100x", "ACME", r"back\slash", "Zoë 😀", "zoë"]
    answers = [await client.post("/", json={"Name": name, "IsActive": n != 1}) for n, name in enumerate(names)]
    ids = [answer.json()["ID"] for answer in answers]

    async def found(**query: str) -> list[int]:
        return [account["ID"] for page in await pages(client, urlencode({"limit": 1, **query})) for account in page]

    assert await found(name="aCm") == ids[:3]
    assert await found(name="acme 100%") == ids[:1]
    assert await found(name="acme 100_") == []
    assert await found(name="back\\") == [ids[3]]
    assert await found(name="ZOë") == ids[4:]
    assert await found(name="zoë 😀") == [ids[4]]
    assert await found(name="acme 1", active="true") == [ids[0]]
    assert await found(name="acme", active="false") == [ids[1]]
    assert await found(active="false") == [ids[1]]
    assert await found(name="acme", after=str(ids[0])) == ids[1:3]


async def test_names_are_found_by_the_index(client: httpx.AsyncClient, database_url: str) -> None:
    many = "insert into account (name) select 'n' || n from generate_series(1, 30000) n"
    await sql(database_url, many, "analyze account")
    values = {"$1": "0", "$2": "null", "$3": "10", "$4": "'x'", "$5": "'y'"}
    query = re.sub(r"\$\d", lambda found: values[found[0]], accounts._PAGE_NAMED)
    plan = "\n".join(row[0] for row in await sql(database_url, f"explain {query}"))
    assert "account_name" in plan


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("after=x", "'x' is no account ID"),
        ("after=-1", "'-1' is no account ID"),
        ("limit=0", "limit='0' is no number of accounts: expected 1 to 1000."),
        ("limit=1001", "expected 1 to 1000"),
        ("limit=", "expected 1 to 1000"),
        ("active=1", "expected true or false"),
        ("name=%00", "no NUL"),
        ("name=" + "x" * 256, "expected 1 to 255 characters"),
        ("name=%ff", "not percent-encoded UTF-8"),
        ("search=x", "There is no 'search' in a query for accounts: expected after, limit, active, name."),
        ("after=1&after=2", "after= is there 2 times"),
    ],
)
async def test_bad_queries_for_accounts(client: httpx.AsyncClient, query: str, detail: str) -> None:
    answer = await client.get(f"/accounts?{query}")
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, "application/problem+json")
    assert detail in answer.json()["detail"]
