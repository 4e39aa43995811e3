"""`listener accounts` and a real tracker."""

from __future__ import annotations

import json
import sys

import httpx
import pexpect
import pytest
import trio

from tests.integration.conftest import StartTracker
from tests.integration.listeners import PATIENCE, listener, surroundings
from tests.integration.test_accounts import sql

WIDE = "日本語 😀"
HOSTILE = "\x1b[2J\tx\u202e"


async def listed(client: httpx.AsyncClient, *arguments: str, status: int = 0) -> tuple[list[str], list[str]]:
    """The lines of standard output and standard error."""
    async with listener("accounts", "--tracker", str(client.base_url), *arguments) as program:
        out = await program.out.rest()
        assert await program.ends() == status
        return out, await program.err.rest()


async def create(client: httpx.AsyncClient, name: str, *, active: bool = True) -> int:
    answer = await client.post("/", json={"Name": name, "IsActive": active})
    assert answer.status_code == 201, answer.text
    return int(answer.json()["ID"])


async def test_all_of_them_page_by_page(client: httpx.AsyncClient) -> None:
    hostile = await create(client, HOSTILE, active=False)
    out, err = await listed(client)
    assert [line.split("\t")[0] for line in out] == [str(number) for number in range(1, 1002)]
    assert out[-1] == f"{hostile}\t\\x1b[2J\\tx\\u202e\tinactive"
    assert {line.split("\t")[2] for line in out[:-1]} == {"active"}
    assert err == []


@pytest.mark.parametrize("limit", [1, 999, 1000, 1001, 1002, 5000])
async def test_limit(client: httpx.AsyncClient, limit: int) -> None:
    await create(client, "one more")
    out, _ = await listed(client, "--limit", str(limit))
    assert len(out) == min(limit, 1001)


async def test_search(client: httpx.AsyncClient, database_url: str) -> None:
    await sql(database_url, "update account set name = 'x' || id")
    alice, alina, bob = [await create(client, name) for name in ("alice@x", "Alina@x", "bob@x")]
    digits = await create(client, f"{alice}@x", active=False)

    async def found(*arguments: str) -> list[int]:
        out, _ = await listed(client, *arguments)
        return [int(line.split("\t")[0]) for line in out]

    assert await found("--search", "ALI") == [alice, alina]
    assert await found("--search", "bob@x") == [bob]
    assert await found("--search", str(alice)) == [alice, digits]  # an ID, and a name
    assert await found("--search", str(alice), "--inactive") == [digits]
    assert await found("--search", str(alice), "--limit", "1") == [alice]
    assert await found("--search", str(digits)) == [digits]
    assert await found("--inactive") == [digits]
    assert await found("--search", "alice@", "--active") == [alice]


@pytest.mark.parametrize("text", ["nobody", "0", "99999", "2147483648", "%", "_", "\\", "💩", "00001", " "])
async def test_none_found_is_no_fault(client: httpx.AsyncClient, text: str) -> None:
    for form in ([], ["--json"]):
        assert await listed(client, "--search", f"{text}", "--inactive", *form) == ([], ["There is no such account."])


async def test_json(client: httpx.AsyncClient) -> None:
    await create(client, HOSTILE, active=False)
    await create(client, WIDE)
    out, _ = await listed(client, "--json")
    assert len(out) == 1002
    assert [json.loads(line) for line in out[-2:]] == [
        {"ID": 1001, "Name": HOSTILE, "IsActive": False},
        {"ID": 1002, "Name": WIDE, "IsActive": True},
    ]


async def test_a_table_on_a_terminal(client: httpx.AsyncClient) -> None:
    await create(client, WIDE)
    await create(client, HOSTILE, active=False)

    def look(*arguments: str) -> list[str]:
        child = pexpect.spawn(
            sys.executable,
            ["-m", "listener", "accounts", "--tracker", str(client.base_url), *arguments],
            env=surroundings(TERM="xterm"),
            encoding="utf-8",
            timeout=PATIENCE,
        )
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0
        return (child.before or "").splitlines()

    heading, *rows = await trio.to_thread.run_sync(look)
    assert heading.split() == ["ID", "NAME", "STATE"]
    ends = heading.index("STATE")
    assert rows[0].startswith("   1  ")
    assert {row.index("active") for row in rows[:-2]} == {ends}
    assert rows[-2] == f"1001  {WIDE}{' ' * (ends - 6 - 9)}active"  # 9 cells
    assert rows[-1].startswith("1002  \\x1b[2J\\tx\\u202e ")
    assert rows[-1].index("inactive") == ends
    [line] = await trio.to_thread.run_sync(look, "--json", "--search", "1002")
    assert json.loads(line)["Name"] == HOSTILE
    assert "\u202e" not in line


async def test_a_pipe_that_is_closed_early_ends_it_quietly(client: httpx.AsyncClient, database_url: str) -> None:
    await sql(database_url, "insert into account (name) select 'n' || n from generate_series(1, 50000) n")
    program = f"{sys.executable} -m listener accounts --tracker {client.base_url}"
    done = await trio.run_process(
        ["bash", "-c", f"{program} | head -n 2; echo ${{PIPESTATUS[0]}}"],
        capture_stdout=True,
        capture_stderr=True,
        env=surroundings(),
    )
    assert [line.split(b"\t")[0] for line in done.stdout.splitlines()] == [b"1", b"2", b"0"]
    assert done.stderr == b""


async def test_an_outage_is_waited_for(start_tracker: StartTracker) -> None:
    async with start_tracker(host="a") as client:
        url = str(client.base_url)
    async with listener("accounts", "--limit", "2", "--tracker", url) as program:
        await program.err.wait_for("is away")
        async with start_tracker(host="a", bind=url.removeprefix("http://").rstrip("/")):
            assert len(await program.out.rest()) == 2
            assert await program.ends() == 0


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--give-up", "200ms", "--tracker", "http://127.0.0.1:1"], 3, "can't be reached"),
        (["--limit", "0"], 2, "--limit"),
        (["--search", b"\xff".decode(errors="surrogateescape")], 2, "--search"),
        (["somebody"], 2, "somebody"),
    ],
)
async def test_bad_input(arguments: list[str], status: int, said: str) -> None:
    async with listener("accounts", *arguments) as program:
        assert await program.ends() == status
        assert said in "".join(await program.err.rest())


async def test_a_text_that_the_tracker_refuses(client: httpx.AsyncClient) -> None:
    out, err = await listed(client, "--search", "x" * 256, status=4)
    assert out == []
    assert "refuses (400)" in err[0]
