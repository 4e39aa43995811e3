"""`listener events … --from ws://…` and the real tracker, which is stopped and started again."""

from __future__ import annotations

import signal
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from tests.integration.conftest import StartTracker
from tests.integration.listeners import append, event, listener


async def put(client: httpx.AsyncClient, account: int, data: int) -> None:
    answer = await client.put(f"/{account}", params={"data": str(data)})
    assert answer.status_code == 202, answer.text


async def test_it_follows_across_trackers(start_tracker: StartTracker, redis_url: str, tmp_path: Path) -> None:
    async with start_tracker(host="a") as client:
        port = urlsplit(str(client.base_url)).port
        arguments = ["events", "1", "2", "--from", f"ws://127.0.0.1:{port}", "--state", str(tmp_path / "state")]
        async with listener(*arguments) as program:
            await program.err.wait_for("listening for events from: [1 2]")
            for number in range(20):
                await put(client, number % 3 + 1, number)
            expected = [number for number in range(20) if number % 3 != 2]
            for number in expected:
                assert f'"{number}" [a]' in await program.out.next()
            program.process.send_signal(signal.SIGKILL)
            await program.ends()
    await append(redis_url, event("missed"))
    async with listener(*arguments) as program:
        await program.err.wait_for("is away")
        for life in range(2):
            async with start_tracker(host="b", bind=f"127.0.0.1:{port}") as client:
                await program.err.wait_for("is back")
                await program.out.wait_for('"between"' if life else '"missed"')
                await put(client, 2, life)
                assert f'"{life}" [b]' in await program.out.next()
            await program.err.wait_for("is away")
            await append(redis_url, event("between", 1))
        async with start_tracker(host="c", bind=f"127.0.0.1:{port}"):
            assert '"between"' in await program.out.next()
            program.process.send_signal(signal.SIGTERM)
            assert await program.ends() == 0
            assert await program.out.rest() == []


async def test_bad_accounts_and_places(client: httpx.AsyncClient) -> None:
    url = str(client.base_url).replace("http", "ws")
    async with listener("events", "1", "999999", "--from", url) as program:
        await program.err.wait_for("! account 999999: ")
        await program.err.wait_for("listening for events from: [1 999999]")
    for arguments, said, status in [(["999999"], "999999", 4), (["1", "--since", "yesterday"], "yesterday", 2)]:
        async with listener("events", *arguments, "--from", url) as program:
            assert said in await program.err.wait_for("refuses to be followed")
            assert await program.ends() == status
    async with listener("events", "1", "--from", url + "/elsewhere") as program:
        await program.err.wait_for("refuses to be followed")
        assert await program.ends() == 2
