"""`listener verify`: real recordings, with and without real trouble."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pexpect
import pytest
import redis
import trio

from tests.integration.conftest import StartTracker
from tests.integration.listeners import PATIENCE, RedisProcess, append, event, listener, surroundings


async def verify(*arguments: str, content: bytes | None = None) -> tuple[int, list[str], str]:
    """The status, the lines of standard output, and what was said on standard error."""
    with trio.fail_after(PATIENCE):
        done = await trio.run_process(
            [sys.executable, "-m", "listener", "verify", *arguments],
            stdin=content or b"",
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env=surroundings(),
        )
    said = done.stderr.decode()
    assert "Traceback" not in said, said
    return done.returncode, done.stdout.decode().splitlines(), said


async def verify_json(*arguments: str) -> dict[str, Any]:
    _, lines, _ = await verify("--json", *arguments)
    said = json.loads(lines[0])
    assert isinstance(said, dict)
    return said


async def record(url: str, path: Path, lines: int, *arguments: str) -> None:
    """Record that many events from the log's start on."""
    async with listener("events", *arguments, "--json", "--since", "all", "--from", url) as program:
        for _ in range(lines):
            await program.out.next()
        program.process.send_signal(signal.SIGTERM)
        assert await program.ends() == 0
    await trio.Path(path).write_text("".join(f"{line}\n" for line in program.out.seen))


async def test_recorded_by_a_listener_that_is_killed_again_and_again(redis_url: str, tmp_path: Path) -> None:
    """Nothing is missing, whatever it was doing when it was killed: some may be doubled."""
    recording, arguments = tmp_path / "recording", ["--json", "--state", str(tmp_path / "state"), "--from", redis_url]
    numbers = count()
    killed_within = 0
    with recording.open("ab") as file:

        async def recorder() -> trio.Process:
            command = [sys.executable, "-m", "listener", "events", "1-3", *arguments]
            return await trio.lowlevel.open_process(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.PIPE, env=surroundings()
            )

        async def until_ready(process: trio.Process) -> None:
            said = b""
            assert process.stderr is not None
            while b"listening" not in said:
                said += await process.stderr.receive_some()

        async def flow() -> None:
            while True:
                await append(
                    redis_url, *(event(number, number % 4 + 1) for number, _ in zip(numbers, range(200), strict=False))
                )

        async with trio.open_nursery() as nursery:
            for life in range(5):
                size = recording.stat().st_size
                process = await recorder()
                with trio.fail_after(PATIENCE):
                    if life == 0:
                        await until_ready(process)
                        nursery.start_soon(flow)
                    while recording.stat().st_size < size + 50_000:
                        await trio.sleep(0.01)
                process.kill()
                await process.wait()
                killed_within += 1
            nursery.cancel_scope.cancel()
        await append(redis_url, *(event("last", account) for account in (3, 2, 1)))
        process = await recorder()
        with trio.fail_after(PATIENCE):
            while recording.read_bytes().count(b'"last"') < 3:
                await trio.sleep(0.05)
        process.kill()
        await process.wait()
    assert killed_within == 5
    said = await verify_json(str(recording), "--from", redis_url, "--to-end", "--account", "1-3")
    assert said["Events"] > 5 * 200
    assert {kind: said[kind] for kind in ("Missing", "Altered", "Foreign", "Unreadable", "Reordered", "Told")} == {
        "Missing": 0,
        "Altered": 0,
        "Foreign": 0,
        "Unreadable": 0,
        "Reordered": 0,
        "Told": 0,
    }, said


async def test_lines_deleted_doubled_swapped_and_edited(redis_url: str, tmp_path: Path) -> None:
    await append(redis_url, *(event(number, number % 3 + 1) for number in range(300)))
    recording = tmp_path / "recording"
    await record(redis_url, recording, 300, "1", "2", "3")
    lines = recording.read_text().splitlines(keepends=True)
    assert await verify(str(recording), "--from", redis_url) == (
        0,
        ["3 accounts, 300 events, 0 missing, 0 doubled, 0 reordered, 0 altered"],
        "",
    )
    edited = list(lines)
    edited[200] = edited[200].replace('"Data":200', '"Data":2000')  # 3, 67
    edited[150], edited[156] = edited[156], edited[150]  # of 1, 51 and 53
    del edited[30:36]  # 11 and 12 of each
    edited.insert(101, edited[100])  # 107: of 2, 36
    edited.append("{}\n")
    recording.write_text("".join(edited))
    status, out, said = await verify(str(recording), "--from", redis_url)
    assert (status, said) == (1, "")
    assert out == [
        "account 1: missing 11 to 12 (2 events)",
        "account 2: missing 11 to 12 (2 events)",
        "account 3: missing 11 to 12 (2 events)",
        "account 3: altered 67",
        "line 296: no event (Object missing required field `ID`)",
        f"account {106 % 3 + 1}: doubled {106 // 3 + 1} (1 more, line 102)",
        "account 1: reordered 52 after 53 (line 149)",
        "account 1: reordered 51 after 53 (line 152)",
        "3 accounts, 295 events, 6 missing, 1 doubled, 2 reordered, 1 altered, 1 unreadable",
    ]
    recording.write_text("".join(lines[20:280]))
    assert (await verify_json(str(recording), "--from", redis_url))["Whole"]
    assert (await verify_json(str(recording), "--from", redis_url, "--to-end"))["Missing"] == 20


def streamed(url: str) -> bytes:
    """What a tracker's stream has until all of the log was sent."""
    query = {"account": ["1", "2"], "since": "all"}
    content = b""
    with httpx.stream("GET", f"{url}/events", params=query, headers={"Accept": "application/x-ndjson"}) as answer:
        for piece in answer.iter_bytes():
            content += piece
            if b'"ready"' in content:
                break
    return content


async def test_a_tracker_is_asked_as_well(start_tracker: StartTracker, redis_url: str, tmp_path: Path) -> None:
    await append(redis_url, *(event("\u0085 \u202e é", number % 150 + 1) for number in range(450)))
    recording = tmp_path / "recording"
    async with start_tracker() as client:
        url = str(client.base_url).rstrip("/")
        for accounts in (["1", "2"], [str(account) for account in range(1, 151)]):
            await record(f"ws{url[4:]}", recording, 3 * len(accounts), *accounts)
            for source in (["--tracker", url], ["--from", f"ws{url[4:]}"], ["--from", redis_url]):
                status, out, said = await verify(str(recording), *source)
                assert (status, said, len(out)) == (0, "", 1), (out, said)
                assert out[0].startswith(f"{len(accounts)} accounts, {3 * len(accounts)} events, 0 missing")
        content = await trio.to_thread.run_sync(streamed, url)
        status, out, _ = await verify("-", "--tracker", url, content=content)
        assert (status, out[0][:22]) == (0, "2 accounts, 6 events, ")
        lost = content.replace(content.splitlines(keepends=True)[3], b"")
        status, out, _ = await verify("-", "--tracker", url, content=lost)
        assert (status, out[0]) == (1, "account 2: missing 2 (1 event)")


async def test_what_a_terminal_would_obey_is_no_change(redis_url: str, tmp_path: Path) -> None:
    """On a terminal, a listener writes escapes instead of characters; the event is still the same."""
    await append(redis_url, event("\u0085\u202e\u2028é"), event({"a": 1.10}))
    command = [sys.executable, "-m", "listener", "events", "1", "--json", "--since", "all", "--from", redis_url]
    with pexpect.spawn(command[0], command[1:], env=surroundings(), dimensions=(24, 1000), timeout=PATIENCE) as child:
        child.expect(b"{[^\r\n]*u0085[^\r\n]*}")
        first = child.match.group()
        child.expect(b"{[^\r\n]*}")
        second = child.match.group()
    (tmp_path / "recording").write_bytes(first + b"\r\n" + second + b"\r\n")
    status, out, _ = await verify(str(tmp_path / "recording"), "--from", redis_url)
    assert (status, len(out)) == (0, 1), out


async def test_what_the_log_has_no_longer(redis_url: str, tmp_path: Path) -> None:
    await append(redis_url, *(event(number) for number in range(20)))
    recording = tmp_path / "recording"
    await record(redis_url, recording, 20, "1")
    lines = recording.read_text().splitlines(keepends=True)
    await append(redis_url, *(event(number) for number in range(10)), keep=15)
    recording.write_text("".join([*lines[:3], *lines[5:14], *lines[17:]]))
    status, out, said = await verify(str(recording), "--from", redis_url)
    assert (status, out[:2]) == (
        1,
        [
            "account 1: missing 4 to 5 (2 events, no longer in the log)",
            "account 1: missing 15 to 17 (3 events, 1 of them no longer in the log)",
        ],
    )
    assert "12 events of the recording can't be compared" in said


async def test_another_log(redis_url: str, tmp_path: Path) -> None:
    await append(redis_url, event(1), event(2), event(3, 2))
    recording = tmp_path / "recording"
    await record(redis_url, recording, 3, "1", "2")
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    await append(redis_url, event(1), event(2), event(3, 2), event(4))
    status, out, said = await verify(str(recording), "--from", redis_url)
    assert (status, out[:-1]) == (1, ["account 1: foreign 1 to 2 (2 events)", "account 2: foreign 1 (1 event)"])
    assert "another one than was recorded" in said


async def test_every_account(redis_url: str, tmp_path: Path) -> None:
    await append(redis_url, event(1, 1), event(2, 5), event(3, 5), event(4, 1), event(5, 5))
    recording = tmp_path / "recording"
    await record(redis_url, recording, 2, "1")
    assert (await verify(str(recording), "--from", redis_url))[0] == 0
    for accounts in (["all"], ["1", "3-5"]):
        chosen = [word for account in accounts for word in ("--account", account)]
        status, out, _ = await verify(str(recording), "--from", redis_url, *chosen)
        assert (status, out[0]) == (1, "account 5: missing 1 to 2 (2 events)")


async def test_nothing_recorded(redis_url: str, tmp_path: Path) -> None:
    (tmp_path / "recording").write_bytes(b"")
    status, out, said = await verify(str(tmp_path / "recording"), "--from", redis_url)
    assert (status, out) == (0, ["0 accounts, 0 events, 0 missing, 0 doubled, 0 reordered, 0 altered"])
    assert "No event is recorded there" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing argument"),
        (["none"], "does not exist"),
        (["."], "is a directory"),
        (["good", "none"], "does not exist"),
        (["good", "--account", "0"], "no account ID"),
        (["good", "--from", "http://x"], "Expected redis://"),
        (["/proc/self/mem"], "/proc/self/mem can't be read: Input/output error."),
    ],
)
async def test_bad_usage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], said: str) -> None:
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good").write_bytes(b"")
    status, out, error = await verify(*arguments)
    assert (status, out) == (2, [])
    assert said in " ".join(error.split()), error


async def test_a_log_that_is_away(redis_url: str, tmp_path: Path) -> None:
    await append(redis_url, event(1))
    recording = tmp_path / "recording"
    await record(redis_url, recording, 1, "1")
    server = RedisProcess(tmp_path)
    status, out, said = await verify(str(recording), "--from", server.url, "--give-up", "500ms")
    assert (status, out) == (3, [])
    assert f"Redis@{tmp_path}/redis.sock can't be reached" in said
    server.start()
    try:
        server.send_signal(signal.SIGSTOP)  # it is there, and says nothing
        status, out, said = await verify(str(recording), "--from", server.url, "--give-up", "500ms")
        assert (status, out) == (3, [])
        server.send_signal(signal.SIGCONT)
    finally:
        server.kill()


async def test_a_log_that_comes_back(tmp_path: Path) -> None:
    server = RedisProcess(tmp_path)
    server.start()
    try:
        await append(server.url, *(event(number) for number in range(10)))
        recording = tmp_path / "recording"
        await record(server.url, recording, 10, "1")
        server.kill()
        async with listener("verify", str(recording), "--from", server.url) as program:
            await program.err.wait_for("is away")
            await trio.to_thread.run_sync(partial(server.start))
            assert await program.out.next() == "1 account, 10 events, 0 missing, 0 doubled, 0 reordered, 0 altered"
            assert await program.ends() == 0
    finally:
        server.kill()


async def test_a_tracker_that_refuses(start_tracker: StartTracker, redis_url: str, tmp_path: Path) -> None:
    await append(redis_url, event(1, 999_999))
    recording = tmp_path / "recording"
    await record(redis_url, recording, 1, "999999")
    async with start_tracker() as client:
        status, out, said = await verify(str(recording), "--tracker", str(client.base_url))
    assert (status, out) == (4, [])
    assert "999999" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_interrupted_it_vouches_for_nothing(redis_url: str, number: int) -> None:
    read_end, write_end = os.pipe()
    try:
        async with listener("verify", "-", "--from", redis_url, stdin=read_end) as program:
            os.write(write_end, b"\n" * 2)
            await wait_for_handler(program.process.pid)
            program.process.send_signal(number)
            assert "Interrupted" in await program.err.next()
            assert await program.ends() == 1
    finally:
        os.close(read_end)
        os.close(write_end)


async def wait_for_handler(pid: int) -> None:
    """Until the program handles SIGINT and SIGTERM: before, they end it as they end any other."""
    wanted = (1 << (signal.SIGINT - 1)) | (1 << (signal.SIGTERM - 1))
    read = trio.Path(f"/proc/{pid}/status").read_text
    with trio.fail_after(PATIENCE):
        while True:
            status = dict(line.split(":\t", 1) for line in (await read()).splitlines())
            if int(status["SigCgt"], 16) & wanted == wanted and int(status["Threads"]) > 1:
                return
            await trio.sleep(0.02)


async def test_nobody_reads_the_result(redis_url: str, tmp_path: Path) -> None:
    recording = tmp_path / "recording"
    recording.write_bytes(b"no event\nno event\n")
    read_end, write_end = os.pipe()
    os.close(read_end)
    process = await trio.run_process(
        [sys.executable, "-m", "listener", "verify", str(recording), "--from", redis_url],
        stdout=write_end,
        capture_stderr=True,
        check=False,
        env=surroundings(),
    )
    os.close(write_end)
    assert process.returncode == 1
    assert b"Traceback" not in process.stderr


def test_a_terminal_shows_how_far_it_is(redis_url: str) -> None:
    command = ["-m", "listener", "verify", "-", "--from", redis_url]
    with pexpect.spawn(sys.executable, command, env=surroundings(TERM="xterm"), timeout=PATIENCE) as child:
        child.expect_exact("0 events read")
        child.sendeof()
        child.expect_exact("\x1b[K")  # it is taken away before there is more
        child.expect_exact("0 accounts, 0 events")
        child.expect(pexpect.EOF)
