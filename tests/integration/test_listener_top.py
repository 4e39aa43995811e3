"""`listener top` on a real terminal: what it shows, and that it always leaves the terminal clean."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pexpect
import psutil
import pytest
import trio

from tests.integration.conftest import StartTracker
from tests.integration.listeners import PATIENCE, listener, surroundings
from tests.integration.tmux import LISTENER, Tmux, tmux

WIDE = "日本語 😀"
HOSTILE = "\x1b[2J\x1b]2;owned\x07\u202e"


@pytest.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[Tmux]:
    async with tmux(tmp_path) as opened:
        yield opened


async def send(client: httpx.AsyncClient, *accounts: int) -> None:
    answer = await client.post("/events", json=[{"ID": account, "Data": "x"} for account in accounts])
    assert answer.status_code == 200, answer.text


def top(client: httpx.AsyncClient, *arguments: str) -> str:
    """The command line; then its status is written."""
    line = [LISTENER, "top", "--interval", "200ms", "--tracker", str(client.base_url), *arguments]
    return f"{' '.join(line)}; echo status $?"


def row(lines: list[str], begins: str) -> list[str]:
    [found] = [line for line in lines if line.split()[:1] == [begins]] or [""]
    return found.split()


async def test_figures_and_names(start_tracker: StartTracker, terminal: Tmux) -> None:
    async with start_tracker(host="here") as client:
        for account, name in ((1, WIDE), (2, HOSTILE), (3, "é" * 255)):
            assert (await client.patch(f"/{account}", json={"Name": name})).status_code == 200
        assert (await client.patch("/4", json={"IsActive": False})).status_code == 200
        await send(client, *[1] * 60, *[2] * 30, *[3] * 6)
        await terminal.do(top(client))
        lines = await terminal.wait(lambda lines: row(lines, "1")[1:3] == ["1.00", "0.20"] and WIDE in "".join(lines))
        assert lines[0].split()[0] == f"Tracker@127.0.0.1:{client.base_url.port}"
        assert row(lines, "now")[2:] == ["1", "min", "1.60", "5", "min", "0.32", "events/s"]
        assert [line.split()[-1] for line in lines if " TRACKER" in line or line.endswith("  here")] == [
            "TRACKER",
            "here",
        ]
        assert row(lines, "2")[1:3] == ["0.50", "0.10"]
        assert row(lines, "2")[-1] == r"\x1b[2J\x1b]2;owned\x07\u202e"[: len(row(lines, "2")[-1]) - 1] + "…"
        assert row(lines, "3")[-1].endswith("é…")
        shown = [line for line in lines if line.split()[:1] in (["1"], ["2"], ["3"], ["ACCOUNT"])]
        assert len({line.find(".") for line in shown[1:]}) == 1
        assert await terminal.state("pane_title") != "owned"
        await terminal.type("q")
        await terminal.wait_shell("status 0")


async def test_keys(client: httpx.AsyncClient, terminal: Tmux) -> None:
    await send(client, *[one for account in range(1, 21) for one in [account] * (30 - account)])
    await terminal.do(top(client))
    await terminal.wait(lambda lines: row(lines, "1")[1:2] == ["0.48"] and "1-18 of 24" in lines[-1])
    await terminal.type("f")
    await terminal.wait_for("5 MIN ▼")
    await terminal.type("m")
    await terminal.wait_for("1 MIN ▼")
    await terminal.type("?")
    await terminal.wait_for("q quit")
    await terminal.type("?")
    await terminal.wait(lambda lines: "? help" in lines[-1])
    for keys, first in (
        (["Down"], 2),
        (["Up"], 1),
        (["PgDn"], 7),
        (["PgUp"], 1),
        (["End"], 7),
        (["Home"], 1),
        (["NPage", "j", "k", "Down"], 7),
    ):
        await terminal.type(*keys)
        await terminal.wait_for(f" {first}-{first + 17} of 24")
    await terminal.wait(lambda lines: "ACCOUNT" in lines[5] and lines[-2].split()[0] == "20")
    await terminal.type("C-d")
    await terminal.wait_shell("status 0")


@pytest.mark.parametrize("end", ["C-c", "SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGTERM SIGTERM SIGINT"])
async def test_it_leaves_the_terminal_clean(client: httpx.AsyncClient, terminal: Tmux, end: str) -> None:
    await terminal.do(top(client))
    await terminal.wait_for("ACCOUNT")
    assert [await terminal.state(flag) for flag in ("alternate_on", "cursor_flag")] == ["1", "0"]
    if end == "C-c":
        await terminal.type("C-c")
    else:
        running = await process(terminal)
        for name in end.split():
            running.send_signal(signal.Signals[name])
    await terminal.wait_shell("status 0")


async def test_a_crash_leaves_the_terminal_clean(client: httpx.AsyncClient, terminal: Tmux, tmp_path: Path) -> None:
    program = tmp_path / "crash.py"
    program.write_text(
        "from listener import __main__, names\n"
        "async def learn(self, tracker, ids):\n"
        "    raise ZeroDivisionError('a bug')\n"
        "names.Names.learn = learn\n"
        "__main__.main()\n"
    )
    await terminal.do(top(client).replace("-m listener", str(program), 1))
    await terminal.wait_shell("status 1")


async def test_ctrl_z_and_fg(client: httpx.AsyncClient, terminal: Tmux) -> None:
    await terminal.do(top(client))
    for _ in range(2):
        await terminal.wait_for("ACCOUNT")
        await terminal.type("C-z")
        await terminal.wait_shell("Stopped")
        await terminal.do("fg")
    await terminal.wait_for("ACCOUNT")
    await terminal.type("?")  # keys are read again
    await terminal.wait_for("q quit")
    await terminal.type("C-z")
    await terminal.wait_shell("Stopped")
    await terminal.do("bg")
    await terminal.do("echo still $((40 + 2))")
    await terminal.wait_for("still 42")
    assert await terminal.state("alternate_on") == "0"
    await terminal.do("fg")
    await terminal.wait_for("ACCOUNT")
    await terminal.type("C-z")
    await terminal.wait_shell("Stopped")
    await terminal.do("kill %1; wait; echo over $((40 + 2))")
    await terminal.wait_for("over 42")
    await terminal.wait_shell()


async def test_stopped_by_another_and_continued(client: httpx.AsyncClient, terminal: Tmux) -> None:
    await terminal.do(top(client))
    await terminal.wait_for("ACCOUNT")
    running = await process(terminal)
    running.suspend()
    await terminal.wait_for("Stopped")
    await terminal.do("clear; fg")
    await terminal.wait_for("ACCOUNT")
    await terminal.type("q")
    await terminal.wait_shell()


async def test_it_follows_the_size(client: httpx.AsyncClient, terminal: Tmux) -> None:
    await send(client, *range(1, 21))
    await terminal.do(top(client))
    await terminal.wait(lambda lines: " of " in lines[-1])
    for columns, rows in ((120, 40), (40, 10), (20, 4), (80, 24), (1, 1), (300, 60)):
        await terminal.run("resize-window", "-x", str(columns), "-y", str(rows))
        if rows >= 10:
            lines = await terminal.wait(partial(fills, columns=columns, rows=rows))
            assert max(map(len, lines)) < columns
    await terminal.type("q")
    await terminal.wait_shell("status 0")


def fills(lines: list[str], *, columns: int, rows: int) -> bool:
    """Whether a screen is drawn for this size, to its right and lower edges."""
    return len(lines) == rows and len(lines[0]) == columns - 1 and lines[-1].startswith(" ? help")


async def test_an_outage_and_the_return(start_tracker: StartTracker, terminal: Tmux) -> None:
    async with start_tracker(host="a") as client:
        port = urlsplit(str(client.base_url)).port
        await send(client, *[1] * 60)
        await terminal.do(top(client))
        before = await terminal.wait(lambda lines: row(lines, "1")[1:2] == ["1.00"])
    away = await terminal.wait_for("! Since ")
    assert " is away (" in "".join(away)
    assert row(away, "1")[:3] == row(before, "1")[:3]  # the last figures stay
    async with start_tracker(host="b", bind=f"127.0.0.1:{port}") as client:
        await terminal.wait(lambda lines: "ACCOUNT" in "".join(lines) and "! Since" not in "".join(lines))
        await send(client, *[5] * 120)
        await terminal.wait(lambda lines: row(lines, "5")[1:2] == ["2.00"])
    await terminal.wait_for("! Since ")
    await terminal.type("q")
    await terminal.wait_shell("status 0")


async def test_a_tracker_that_hangs_is_said_to_be_away(client: httpx.AsyncClient, terminal: Tmux) -> None:
    async with answering(None) as url:
        await terminal.do(f"{LISTENER} top --tracker {url} --give-up 4s; echo status $?")
        await terminal.wait_for("is away (no answer in time)")
        await terminal.wait_shell("status 3")


async def test_give_up(terminal: Tmux) -> None:
    await terminal.do(f"{LISTENER} top --tracker http://127.0.0.1:1 --give-up 300ms; echo status $?")
    await terminal.wait_shell("status 3")


@asynccontextmanager
async def answering(answer: bytes | None) -> AsyncIterator[str]:
    """The URL of a server that has this one answer for everything; None: it never answers."""

    async def serve(stream: trio.SocketStream) -> None:
        while await stream.receive_some():
            if answer is not None:
                await stream.send_all(answer)

    async with trio.open_nursery() as nursery:
        [served] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield f"http://127.0.0.1:{served.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "refuses (401)"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "refuses (403)"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", "answers as no tracker does"),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"Rate": 10}', "answers as no tracker does"),
    ],
)
async def test_a_refusal(terminal: Tmux, answer: bytes, said: str) -> None:
    async with answering(answer) as url:
        await terminal.do(f"clear; {LISTENER} top --tracker {url}; echo status $?")
        lines = await terminal.wait_for("status 4")
        assert said in "".join(lines)
        await terminal.wait_shell()


@pytest.mark.parametrize(("variables", "colored"), [({}, True), ({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False)])
async def test_colours(client: httpx.AsyncClient, tmp_path: Path, variables: dict[str, str], colored: bool) -> None:
    async with tmux(tmp_path, **variables) as terminal:
        await terminal.do(top(client))
        await terminal.wait_for("ACCOUNT")
        assert any("\x1b[36m" in line for line in await terminal.lines(codes=True)) is colored


async def test_a_locale_without_blocks(client: httpx.AsyncClient, tmp_path: Path) -> None:
    await client.patch("/1", json={"Name": "é"})
    await send(client, 1)
    async with tmux(tmp_path, LC_ALL="C") as terminal:
        await terminal.do(top(client))
        lines = await terminal.wait_for(r"\xe9")
        assert all(line.isascii() for line in lines)
        assert "#" in "".join(lines)


@pytest.mark.parametrize("before", ["", "setsid "])
def test_a_terminal_that_goes_ends_it(tmp_path: Path, before: str) -> None:
    """By SIGHUP; or, in a session of its own, which gets none, by what reading and writing say then."""
    said = tmp_path / "said"
    command = f"{before}{LISTENER} top --tracker http://127.0.0.1:1 2>{said}; exit"
    child = pexpect.spawn("/bin/sh", ["-c", command], env=surroundings(TERM="xterm"), timeout=PATIENCE)
    child.expect_exact("\x1b[?1049h")
    child.expect_exact("is away")
    [running] = [one for one in psutil.Process(child.pid).children(recursive=True) if "listener" in one.cmdline()]
    os.close(child.child_fd)
    running.wait(PATIENCE)
    assert said.read_text() == ""


async def test_a_terminal_that_takes_nothing_does_not_keep_it(client: httpx.AsyncClient) -> None:
    await send(client, *range(1, 21))
    master, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (60, 300))
    arguments = [sys.executable, "-m", "listener", "top", "--interval", "100ms", "--tracker", str(client.base_url)]
    async with trio.open_nursery() as nursery:
        run = partial(trio.run_process, stdin=terminal, stdout=terminal, env=surroundings(TERM="xterm"))
        process: trio.Process = await nursery.start(run, arguments)
        with trio.fail_after(PATIENCE):
            while (held := waiting(master)) == 0 or await still_grows(master, held):
                await trio.sleep(0.1)
            process.terminate()
            assert await process.wait() == 0
    os.close(master)
    os.close(terminal)


def waiting(fd: int) -> int:
    """How many bytes there are to be read."""
    [number] = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0" * 4))
    return int(number)


async def still_grows(fd: int, held: int) -> bool:
    await trio.sleep(0.5)  # five times the interval
    return waiting(fd) != held


def test_frames_are_drawn_in_place() -> None:
    arguments = ["-m", "listener", "top", "--tracker", "http://127.0.0.1:1"]
    child = pexpect.spawn(sys.executable, arguments, env=surroundings(TERM="xterm"), timeout=PATIENCE)
    child.expect_exact("is away")
    child.send("?")
    child.expect_exact("q quit")
    child.send("?")
    child.expect_exact("? help")
    drawn = child.before
    child.send("q")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert drawn.count(b"\x1b[?2026h") == drawn.count(b"\x1b[?2026l")
    assert b"\x1b[2J" not in drawn
    assert b"\x1b[J" not in drawn


@pytest.mark.parametrize("arguments", [[], ["--once"]])
async def test_once(client: httpx.AsyncClient, arguments: Sequence[str]) -> None:
    await client.patch("/1", json={"Name": HOSTILE})
    await client.patch("/2", json={"Name": WIDE})
    await send(client, 1, 2)
    await busy(client)
    async with listener("top", "--tracker", str(client.base_url), *arguments) as program:
        assert await program.ends() == 0
        lines = await program.out.rest()
    assert any(line.endswith(r"\x1b[2J\x1b]2;owned\x07\u202e") for line in lines)
    assert any(line.endswith(f"  {WIDE}") for line in lines)
    assert "\x1b" not in "".join(lines)


async def test_json(client: httpx.AsyncClient) -> None:
    await client.patch("/1", json={"Name": WIDE})
    await send(client, 1)
    answer = await busy(client)
    async with listener("top", "--tracker", str(client.base_url), "--json") as program:
        assert await program.ends() == 0
        [line] = await program.out.rest()
    shown = json.loads(line)
    assert set(shown) == set(answer)
    assert shown["Busiest"] == [{**answer["Busiest"][0], "Name": WIDE}]


async def busy(client: httpx.AsyncClient) -> dict[str, object]:
    """Wait until the tracker tells of busy accounts; its answer."""
    with trio.fail_after(PATIENCE):
        while not (answer := (await client.get("/rates")).json())["Busiest"]:
            await trio.sleep(0.05)
    return dict(answer)


async def test_once_with_the_tracker_away() -> None:
    async with listener("top", "--once", "--tracker", "http://127.0.0.1:1", "--give-up", "200ms") as program:
        assert await program.ends() == 3
        assert await program.out.rest() == []


@pytest.mark.parametrize("interval", ["0", "50ms", "soon"])
async def test_a_bad_interval(interval: str) -> None:
    async with listener("top", "--interval", interval) as program:
        assert await program.ends() == 2
        assert "--interval" in "".join(await program.err.rest())


async def process(terminal: Tmux) -> psutil.Process:
    """The listener in a terminal."""
    shell = psutil.Process(int(await terminal.state("pane_pid")))
    [found] = [child for child in shell.children(recursive=True) if "top" in child.cmdline()]
    return found
