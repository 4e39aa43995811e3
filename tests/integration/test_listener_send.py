"""`listener send`: an event or many, through outages and kills, each once and in order."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pexpect
import psutil
import pytest
import trio

from tests.integration.listeners import PATIENCE, Program, listener, surroundings
from tests.integration.terminals import Terminal, running_tracker
from tests.integration.test_bulk import stored

NOWHERE = "http://127.0.0.1:9"


class Line:
    """A connection to a tracker that may be held: so many bytes of answers come through, then no more until it is let
    go. What a client sends always comes through."""

    def __init__(self, url: str, most: int) -> None:
        self.upstream = url
        self.url = ""
        self.held = trio.Event()
        self.free = trio.Event()
        self._most = most

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            [listening] = await nursery.start(partial(trio.serve_tcp, self._serve, 0, host="127.0.0.1"))
            self.url = f"http://127.0.0.1:{listening.socket.getsockname()[1]}"
            task_status.started()

    async def _serve(self, client: trio.SocketStream) -> None:
        parts = urlsplit(self.upstream)
        try:
            server = await trio.open_tcp_stream(parts.hostname or "", parts.port or 0)
        except OSError:
            return
        async with server, trio.open_nursery() as nursery:

            async def pump(source: trio.SocketStream, to: trio.SocketStream, *, answers: bool) -> None:
                try:
                    async for data in source:
                        if answers:
                            await self._pass(len(data))
                        await to.send_all(data)
                except trio.BrokenResourceError:
                    pass
                nursery.cancel_scope.cancel()

            nursery.start_soon(lambda: pump(client, server, answers=False))
            nursery.start_soon(lambda: pump(server, client, answers=True))

    async def _pass(self, size: int) -> None:
        self._most -= size
        if self._most < 0:
            self.held.set()
            await self.free.wait()


@asynccontextmanager
async def held(url: str, *arguments: str, most: int = 0) -> AsyncIterator[tuple[Line, Program]]:
    """`listener send` by a line to the tracker at `url`, once that is held."""
    async with trio.open_nursery() as nursery:
        line = Line(url, most)
        await nursery.start(line.run)
        async with listener("send", *arguments, "--tracker", line.url) as program:
            with trio.fail_after(PATIENCE):
                await line.held.wait()
            yield line, program
        nursery.cancel_scope.cancel()


def url_of(client: httpx.AsyncClient) -> str:
    return str(client.base_url)


async def ends(program: Program, status: int) -> tuple[list[str], str]:
    """Wait for the end. Returns what it wrote, and what it said from here on."""
    async with trio.open_nursery() as nursery:
        out: list[str] = []

        async def read() -> None:
            out.extend(await program.out.rest())

        nursery.start_soon(read)
        said = "\n".join(await program.err.rest())
    assert await program.ends() == status, said
    return out, said


async def send(*arguments: str, status: int = 0, given: bytes | None = None) -> tuple[list[str], str]:
    stdin = subprocess.DEVNULL if given is None else subprocess.PIPE
    async with listener("send", *arguments, stdin=stdin) as program:
        if given is not None:
            assert program.process.stdin is not None
            with suppress(trio.BrokenResourceError):
                await program.process.stdin.send_all(given)
            await program.process.stdin.aclose()
        return await ends(program, status)


def write_bulk(path: Path, count: int, accounts: int = 7) -> None:
    items = [{"ID": number % accounts + 1, "Data": {"n": number}} for number in range(count)]
    path.write_text("".join(json.dumps(item) + "\n" for item in items))


def check_log(redis_url: str, count: int, accounts: int = 7) -> None:
    """All is in it, once, and in order."""
    for account in range(1, accounts + 1):
        numbers = [event["Data"]["n"] for event in stored(redis_url, account)]
        assert numbers == [number for number in range(count) if number % accounts + 1 == account]


def data(redis_url: str, account: int = 1) -> list[object]:
    return [event["Data"] for event in stored(redis_url, account)]


async def test_it_prints_the_position_alone(client: httpx.AsyncClient, redis_url: str) -> None:
    to = ["--tracker", url_of(client)]
    assert await send("1", "hello, wörld", *to) == ([stored(redis_url, 1)[0]["Position"]], "")
    await send("1", *to, given=b"from a pipe\n")
    await send("1", "-", *to, given=b"two\nlines\r\n")
    await send("1", "--json", '{"a": 1.50}', *to)
    await send("1", "--json", *to, given=b"[1,\n2]\n")
    await send(*to, "1", "--", "-5")
    assert data(redis_url) == ["hello, wörld", "from a pipe", "two\nlines", {"a": 1.5}, [1, 2], "-5"]


@pytest.mark.parametrize(
    ("arguments", "given", "said"),
    [
        ((), None, "There is no account"),
        (("x", "y"), None, "'x' is no account ID"),
        (("0", "y"), None, "'0' is no account ID"),
        (("-1", "y"), None, "goes behind --"),
        (("1", "-5"), None, "No such option '-5'. Data that begins with - goes behind --"),
        (("--", "-1", "y"), None, "'-1' is no account ID"),
        (("1", "y", "z"), None, "unexpected extra argument"),
        (("1",), b"", "The data is empty"),
        (("1", ""), None, "The data is empty"),
        (("1",), b"a\xffb", "expected UTF-8"),
        (("1", "--json"), b'"\xed\xa0\x80"', "expected UTF-8"),
        (("1",), b"x" * (16 << 20) + b"y", "more than 16 MiB"),
        (("1", "x", "--key", "kä"), None, "visible characters"),
        (("1", "x", "--progress", "f"), None, "are for --bulk"),
        (("1", "--bulk", "f"), None, "without an account"),
        (("--json", "--bulk", "f"), None, "without --json"),
        (("--key", "k", "--bulk", "f"), None, "without --key"),
        (("--restart", "--bulk", "-"), b"", "can't be resumed"),
    ],
)
async def test_usage(arguments: Sequence[str], given: bytes | None, said: str) -> None:
    out, err = await send(*["--tracker", NOWHERE], *arguments, given=given, status=2)
    assert not out
    assert said in err


async def test_what_the_tracker_refuses(client: httpx.AsyncClient) -> None:
    to = ["--tracker", url_of(client)]
    for arguments, said in (
        (["999999", "x"], "(404): There is no account 999999."),
        (["1", "--json", "{"], "(400): The data is not valid JSON"),
        (["1", "x" * 70_000], "(413): The data takes 70002 bytes"),
    ):
        _, err = await send(*to, *arguments, status=4)
        assert said in err


async def test_no_tracker_for_too_long() -> None:
    _, err = await send("--tracker", NOWHERE, "--give-up", "0.2s", "1", "x", status=3)
    assert "can't be reached" in err
    assert "The event was not accepted." in err


async def test_given_up_while_it_connects_nothing_was_accepted() -> None:
    """Its queue of connections is full, so that nobody answers the next one: not one byte of the event went out."""
    with socket.socket() as server, ExitStack() as waiting:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(8):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(server.getsockname())
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        _, err = await send("--tracker", url, "--give-up", "1s", "1", "x", status=3)
    assert "The event was not accepted." in err


@pytest.mark.parametrize("number", [None, signal.SIGTERM, signal.SIGINT])
async def test_an_unknown_outcome_names_the_key(client: httpx.AsyncClient, redis_url: str, number: int | None) -> None:
    """It is in the log, but the answer never comes."""
    async with held(url_of(client), "1", "x", "--give-up", "1m" if number else "1s") as (_, program):
        if number:
            program.process.send_signal(number)
        out, err = await ends(program, 1 if number else 3)
    assert not out
    assert "may have been accepted" in err
    key = err.rpartition("--key ")[2].strip()
    out, _ = await send("--tracker", url_of(client), "1", "x", "--key", key)
    assert [event["Position"] for event in stored(redis_url, 1)] == out


async def test_it_waits_for_a_tracker_and_sends_once(database_url: str, redis_url: str) -> None:
    with running_tracker(database_url, redis_url) as first:
        async with held(first.url, "1", "x") as (line, program):
            first.process.kill()
            await program.err.wait_for("is away")
            line.free.set()
            with running_tracker(database_url, redis_url) as second:
                line.upstream = second.url
                out, _ = await ends(program, 0)
    assert [event["Position"] for event in stored(redis_url, 1)] == out


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_a_bulk_that_is_ended_goes_on(
    client: httpx.AsyncClient, redis_url: str, tmp_path: Path, number: int
) -> None:
    """Each time a chunk is in the log whose answer has not come whole."""
    file, count = tmp_path / "bulk", 7000
    write_bulk(file, count)
    confirmed = [0]
    for _ in range(3):
        async with held(url_of(client), "--bulk", str(file), most=100_000) as (line, program):
            program.process.send_signal(number)
            _, err = await ends(program, -number if number == signal.SIGKILL else 1)
            confirmed.append(json.loads((tmp_path / "bulk.sent").read_text())["Line"])
        if number != signal.SIGKILL:
            assert f"up to line {confirmed[-1]} (byte " in err
            assert "may have been accepted" in err
            assert f"listener send --bulk {file} --tracker {line.url}" in err
    assert confirmed == sorted(set(confirmed))
    assert sum(len(stored(redis_url, account)) for account in range(1, 8)) > confirmed[-1]
    out, err = await send("--bulk", str(file), "--tracker", url_of(client))
    assert f"going on behind line {confirmed[-1]} " in err
    assert "may come twice" not in err
    assert f"sent {count - confirmed[-1]} events, refused 0, of {count - confirmed[-1]} lines in " in err
    assert not out
    check_log(redis_url, count)


async def test_a_tracker_that_is_killed_in_the_middle(database_url: str, redis_url: str, tmp_path: Path) -> None:
    file, count = tmp_path / "bulk", 6000
    write_bulk(file, count)
    with running_tracker(database_url, redis_url) as first:
        async with held(first.url, "--bulk", str(file), most=100_000) as (line, program):
            first.process.kill()
            line.free.set()
            await program.err.wait_for("is away")
            with running_tracker(database_url, redis_url) as second:
                line.upstream = second.url
                _, err = await ends(program, 0)
    assert f"sent {count} events, refused 0, of {count} lines" in err
    check_log(redis_url, count)


async def test_a_bulk_that_is_given_up(client: httpx.AsyncClient, redis_url: str, tmp_path: Path) -> None:
    file = tmp_path / "bulk"
    write_bulk(file, 100)
    _, err = await send("--bulk", str(file), "--tracker", NOWHERE, "--give-up", "0.2s", status=3)
    assert "The tracker confirmed nothing yet." in err
    assert "may have been accepted" not in err
    assert json.loads((tmp_path / "bulk.sent").read_text())["PendingSince"] is None
    await send("--bulk", str(file), "--tracker", url_of(client))
    check_log(redis_url, 100)


async def test_hostile_lines(client: httpx.AsyncClient, redis_url: str, tmp_path: Path) -> None:
    file = tmp_path / "bulk"
    deep = b"[" * 100_000 + b"]" * 100_000
    lines = [
        b'\xef\xbb\xbf{"ID":1,"Data":"first"}\r',
        b"",
        deep,
        b'{"ID":1,"Data":%b}' % deep,
        b"\x00" * 10,
        b'{"ID":1,"Data":"%b"}' % (b"x" * (20 << 20)),
        b'{"Frame":"ready","Position":"a-0-1"}',
        b'{"ID":1,"Timestamp":"t","Data":1.50,"Host":"h","Position":"p","Seq":9,"Error":"e","Attempts":4}',
        b'{"ID":1,"Data":"\xff"}',
        b'{"ID":1,"Data":"%b"}' % (b"x" * (3 << 20)),
        b'{"\x1b[31m":1}',
        b'{"ID":999999,"Data":1}',
        b'{"ID":1,"Data":"last"}',
    ]
    file.write_bytes(b"\n".join(lines))
    _, err = await send("--bulk", str(file), "--tracker", url_of(client), status=4)
    assert "\x1b" not in err
    refused = [line.split(":")[0] for line in err.splitlines() if line.startswith("! ")]
    assert refused == [f"! line {number}" for number in (3, 4, 5, 6, 9, 10, 11, 12)]
    assert "! line 12: There is no account 999999 (404)" in err
    assert "sent 3 events, refused 8, of 13 lines (1 control frame skipped) in " in err
    assert data(redis_url) == ["first", 1.5, "last"]
    _, err = await send("--bulk", str(file), "--tracker", NOWHERE)
    assert "all of it was sent already" in err
    await send("--bulk", "-", "--tracker", url_of(client), status=4, given=file.read_bytes())
    assert data(redis_url) == ["first", 1.5, "last"] * 2


async def test_many_refusals_are_counted(client: httpx.AsyncClient, tmp_path: Path) -> None:
    file = tmp_path / "bulk"
    file.write_text("junk\n" * 30)
    _, err = await send("--bulk", str(file), "--tracker", url_of(client), status=4)
    assert err.count("! line ") == 20
    assert "! 10 more lines were refused" in err


async def test_a_file_that_has_grown(client: httpx.AsyncClient, redis_url: str, tmp_path: Path) -> None:
    file, to = tmp_path / "bulk", ["--tracker", url_of(client)]
    write_bulk(file, 0)
    await send("--bulk", str(file), *to)
    file.write_text("junk")
    await send("--bulk", str(file), *to, status=4)
    file.write_text('junk\n{"ID":1,"Data":1}\n')
    _, err = await send("--bulk", str(file), *to)
    assert "sent 1 event, refused 0, of 2 lines" in err
    assert data(redis_url) == [1]


async def test_it_grows_while_it_is_interrupted(client: httpx.AsyncClient, redis_url: str, tmp_path: Path) -> None:
    file = tmp_path / "bulk"
    write_bulk(file, 1500)
    async with held(url_of(client), "--bulk", str(file), most=60_000) as (_, program):
        program.process.kill()
        await program.ends()
    write_bulk(file, 3000)
    await send("--bulk", str(file), "--tracker", url_of(client))
    check_log(redis_url, 3000)


@pytest.mark.parametrize("content", ['{"ID":1,"Data":2}\n', "", '{"ID":2,"Data":1}\n{"ID":1,"Data":1}\n'])
async def test_another_file(client: httpx.AsyncClient, redis_url: str, tmp_path: Path, content: str) -> None:
    file, to = tmp_path / "bulk", ["--tracker", url_of(client)]
    file.write_text('{"ID":1,"Data":1}\n')
    await send("--bulk", str(file), *to)
    file.write_text(content)
    _, err = await send("--bulk", str(file), *to, status=2)
    assert "is about another file, or this one has changed" in err
    assert "--restart" in err
    assert data(redis_url) == [1]
    await send("--bulk", str(file), "--restart", *to)
    assert len(data(redis_url)) + len(data(redis_url, 2)) == 1 + content.count("\n")


async def test_a_late_start_is_told(client: httpx.AsyncClient, tmp_path: Path) -> None:
    file, state = tmp_path / "bulk", tmp_path / "state"
    write_bulk(file, 10)
    async with held(url_of(client), "--bulk", str(file), "--progress", str(state)) as (_, program):
        program.process.kill()
        await program.ends()
    said = json.loads(state.read_text())
    # One that came to nothing in between does not change since when that is.
    await send("--bulk", str(file), "--progress", str(state), "--tracker", NOWHERE, "--give-up", "0.1s", status=3)
    assert json.loads(state.read_text()) == said
    state.write_text(json.dumps(said | {"PendingSince": said["PendingSince"] - 601}))
    _, err = await send("--bulk", str(file), "--progress", str(state), "--tracker", url_of(client))
    assert "may come twice" in err


async def test_two_senders_of_a_file(client: httpx.AsyncClient, redis_url: str, tmp_path: Path) -> None:
    file = tmp_path / "bulk"
    write_bulk(file, 10)
    async with held(url_of(client), "--bulk", str(file)) as (line, program):
        _, err = await send("--bulk", str(file), "--tracker", url_of(client), status=2)
        assert "belongs to another listener" in err
        line.free.set()
        await ends(program, 0)
    check_log(redis_url, 10)


async def test_places_that_cannot_be_used(tmp_path: Path) -> None:
    file = tmp_path / "bulk"
    write_bulk(file, 1)
    for place in (tmp_path, tmp_path / "none" / "state", Path("/dev/full"), file):
        _, err = await send("--bulk", str(file), "--progress", str(place), "--tracker", NOWHERE, status=2)
        assert f"--progress {place}" in err
    for place in (tmp_path, tmp_path / "none"):
        _, err = await send("--bulk", str(place), "--tracker", NOWHERE, status=1)
        assert f"{place} can't be read" in err


async def test_a_disk_that_fills(client: httpx.AsyncClient, redis_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "states"
    folder.mkdir()
    file, state = tmp_path / "bulk", folder / "state"
    write_bulk(file, 10)
    async with held(url_of(client), "--bulk", str(file), "--progress", str(state)) as (line, program):
        # root writes anywhere, so the place of the new file is taken by a directory instead
        (folder / "state.new").mkdir()
        line.free.set()
        _, err = await ends(program, 1)
    assert f"--progress {state} can't be saved" in err
    (folder / "state.new").rmdir()
    await send("--bulk", str(file), "--progress", str(state), "--tracker", url_of(client))
    check_log(redis_url, 10)


async def test_a_wrong_token(tmp_path: Path) -> None:
    file = tmp_path / "bulk"
    write_bulk(file, 10)

    async def refuse(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        body = b'{"title":"Unauthorized","status":401,"detail":"The token is \\u001b[1mwrong."}'
        head = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        await stream.send_all(head % len(body) + body)

    async with trio.open_nursery() as nursery:
        [listening] = await nursery.start(partial(trio.serve_tcp, refuse, 0, host="127.0.0.1"))
        to = ["--tracker", f"http://127.0.0.1:{listening.socket.getsockname()[1]}"]
        for arguments in (["1", "x"], ["--bulk", str(file)]):
            _, err = await send(*arguments, *to, status=4)
            assert "(401): The token is \\x1b[1mwrong." in err
        nursery.cancel_scope.cancel()


async def test_what_comes_by_a_pipe_is_sent_at_once(client: httpx.AsyncClient, redis_url: str) -> None:
    async with listener("send", "--bulk", "-", "--tracker", url_of(client), stdin=subprocess.PIPE) as program:
        assert program.process.stdin is not None
        for number in range(3):
            await program.process.stdin.send_all(b'{"ID":1,"Data":%d}\n{"ID"' % number)
            with trio.fail_after(PATIENCE):
                while len(data(redis_url)) <= 2 * number:
                    await trio.sleep(0.01)
            await program.process.stdin.send_all(b':1,"Data":"rest"}\n')
            with trio.fail_after(PATIENCE):
                while len(data(redis_url)) <= 2 * number + 1:
                    await trio.sleep(0.01)
        await program.process.stdin.aclose()
        _, err = await ends(program, 0)
    assert "sent 6 events" in err
    assert data(redis_url) == [0, "rest", 1, "rest", 2, "rest"]


async def test_a_pipe_that_nobody_writes_to_can_be_left(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    async with listener("send", "--bulk", str(tmp_path / "pipe"), "--tracker", NOWHERE) as program:
        with trio.fail_after(PATIENCE):
            while psutil.Process(program.process.pid).num_threads() == 1:
                await trio.sleep(0.01)  # until a thread opens it
        program.process.send_signal(signal.SIGINT)
        _, err = await ends(program, 1)
    assert "interrupted" in err


async def test_nobody_reads_what_it_says(client: httpx.AsyncClient, redis_url: str, tmp_path: Path) -> None:
    file = tmp_path / "bulk"
    file.write_text("junk\n" * 10 + '{"ID":1,"Data":1}\n')
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "listener", "send", "--bulk", str(file), "--tracker", url_of(client)]
    ended = await trio.run_process(command, stderr=writing, env=surroundings(), check=False)
    os.close(writing)
    assert ended.returncode == 4
    assert data(redis_url) == [1]


def test_on_a_terminal(open_terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    file = tmp_path / "bulk"
    write_bulk(file, 10)
    terminal = open_terminal("send", "--bulk", str(file), "--tracker", NOWHERE)
    terminal.child.expect(r"░   0% \| sent 0 \| refused 0 \| 0/s \| -:-- left")
    terminal.child.expect("is away")
    terminal.child.sendintr()
    terminal.child.expect(r"\r\x1b\[KError: interrupted\. ")
    terminal.child.expect(pexpect.EOF)
    assert "\x1b" not in terminal.child.before
    terminal.child.close()
    assert terminal.child.exitstatus == 1


def test_no_data_on_a_terminal(open_terminal: Callable[..., Terminal]) -> None:
    terminal = open_terminal("send", "1", "--tracker", NOWHERE)
    terminal.child.expect_exact("There is no data.")
    terminal.child.expect(pexpect.EOF)
    terminal.child.close()
    assert terminal.child.exitstatus == 2
