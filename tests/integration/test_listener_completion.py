"""Completion in real shells: bash, zsh and fish ask the listener, and the listener a real tracker."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio

from tests.integration.listeners import listener, surroundings
from tests.integration.test_accounts import sql
from tests.integration.test_listener_top import answering
from tests.integration.tmux import program_or_skip, tmux

RC = {
    "bash": "PS1='READY$ '; bind 'set show-all-if-ambiguous on'; source <(listener completion bash)",
    "zsh": "PS1='READY%% '; autoload -Uz compinit; compinit -u -D; source <(listener completion zsh)",
}


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH where `listener` is."""
    program = tmp_path / "bin" / "listener"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m listener "$@"\n')
    program.chmod(0o755)
    return f"{program.parent}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture
async def people(client: httpx.AsyncClient, database_url: str) -> str:
    """The URL of a tracker that knows alice (1001), alina (1002, not active) and zoë (1003), beside x1 to x1000."""
    await sql(database_url, "update account set name = 'x' || id")
    for name, active in (("alice smith", True), ("alina", False), ("Zoë $(touch x) 😀", True)):
        assert (await client.post("/", json={"Name": name, "IsActive": active})).status_code == 201
    return str(client.base_url).rstrip("/")


async def answered(path: str, line: str, **variables: str) -> list[str]:
    """What bash is answered for a line, without the kinds; nothing is said beside it."""
    done = await trio.run_process(
        ["listener"],
        capture_stdout=True,
        capture_stderr=True,
        env=surroundings(PATH=path, COMP_LINE=line, _LISTENER_COMPLETE="bash_complete", **variables),
    )
    assert done.stderr == b""
    return [one.partition(",")[2] for one in done.stdout.decode().splitlines() if one]


async def test_commands_options_and_choices(path: str) -> None:
    away = {"LISTENER_TRACKER": "http://127.0.0.1:1"}
    assert {"accounts", "completion", "events", "top"} <= set(await answered(path, "listener ", **away))
    assert await answered(path, "listener comp", **away) == ["completion"]
    assert await answered(path, "listener completion z", **away) == ["zsh"]
    assert await answered(path, "listener top --int", **away) == ["--interval"]
    assert await answered(path, "listener accounts --in", **away) == ["--inactive"]
    assert await answered(path, "listener accounts --nothing-like-it", **away) == []


async def test_accounts_by_id_and_name(path: str, people: str) -> None:
    async def offered(typed: str, before: str = "listener events") -> list[str]:
        return await answered(path, f"{before} {typed}", LISTENER_TRACKER=people)

    assert await offered("1003") == ["1003"]
    beginning = ["10", *map(str, range(100, 110)), *map(str, range(1000, 1004))]
    assert await offered("10", "listener events 7 8 --since all") == beginning
    assert await offered("ALIC") == ["1001"]
    assert await offered("zo") == ["1003"]
    assert await offered("ali") == ["(2 are like that)", "1001 (alice smith)", "1002 (alina (not active))"]
    assert await offered("nobody") == []
    assert await offered("al") == [
        "(3 are like that)",
        "1001 (alice smith)",
        "1002 (alina (not active))",
        "all (every account)",
    ]
    assert len(await offered("")) == 51  # the first 50, and all
    for unlike in ("0", "9999999999", "1-", "x\x01", "\udcff"):
        assert await offered(unlike) == []


async def test_where_the_tracker_is(path: str, people: str, tmp_path: Path) -> None:
    """As the command itself would find it."""
    file = tmp_path / "config.toml"
    file.write_text(f'tracker = "http://127.0.0.1:1"\n[profiles.there]\ntracker = "{people}"\n')
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "address").write_text(f"{people}\n")
    websocket = people.replace("http", "ws")
    for before in (
        f"listener events --tracker {people}",
        f"listener --tracker {people} events",
        f"listener events --tracker={people}",
        f"listener events --from {websocket}",
        f"listener events --config {file} --profile there",
        f"listener events --data-dir {tmp_path}/data",
    ):
        assert await answered(path, f"{before} alic") == ["1001"], before
    for name, value in (("TRACKER", people), ("FROM", websocket), ("DATA_DIR", f"{tmp_path}/data")):
        assert await answered(path, "listener events alic", **{f"LISTENER_{name}": value}) == ["1001"]
    named = {"LISTENER_TRACKER": "http://127.0.0.1:1"}
    assert await answered(path, f"listener events --tracker {people} alic", **named) == ["1001"]


async def test_nothing_is_offered_where_there_is_no_answer(path: str, people: str, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("tracker = [")
    for before in (
        "listener events --tracker http://127.0.0.1:1",
        "listener events --tracker nonsense",
        f"listener events --tracker {people} --token x",
        f"listener events --tracker {people} --token-file {tmp_path}/none",
        f"listener --config {tmp_path}/bad.toml events",
        "listener events --tracker http://name.invalid",
    ):
        assert await answered(path, f"{before} 100") == [], before
    async with answering(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n") as url:
        assert await answered(path, "listener events 100", LISTENER_TRACKER=url) == []
    async with answering(None) as url:  # it never answers
        assert await answered(path, "listener events 100", LISTENER_TRACKER=url) == []


async def test_the_token_is_sent(path: str) -> None:
    asked = b""

    async def serve(stream: trio.SocketStream) -> None:
        nonlocal asked
        asked += await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async with trio.open_nursery() as nursery:
        [served] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        url = f"http://127.0.0.1:{served.socket.getsockname()[1]}"
        await answered(path, "listener events a", LISTENER_TRACKER=url, LISTENER_TOKEN="secret")
        nursery.cancel_scope.cancel()
    assert b"Authorization: Bearer secret\r\n" in asked


@pytest.mark.parametrize("shell", ["bash", "zsh"])
async def test_at_the_keyboard(shell: str, path: str, people: str, tmp_path: Path) -> None:
    program_or_skip(shell)
    (tmp_path / ".zshrc" if shell == "zsh" else tmp_path / "rc").write_text(RC[shell] + "\n")
    command = "zsh -i" if shell == "zsh" else f"bash --noprofile --rcfile {tmp_path}/rc -i"
    async with tmux(tmp_path, 200, 40, PATH=path, ZDOTDIR=str(tmp_path), LISTENER_TRACKER=people) as terminal:
        await terminal.do(f"clear; exec {command}")
        prompt = "READY%" if shell == "zsh" else "READY$"
        await terminal.wait(lambda lines: [line for line in lines if line] == [prompt])

        async def complete(typed: str, *expected: str) -> None:
            """Type, TAB; expect these on the screen, the first one as the line that is being typed."""
            await terminal.run("send-keys", "-l", typed)
            await terminal.type("Tab")
            await terminal.wait(lambda lines: all(any(text in line for line in lines) for text in expected))
            await terminal.wait(lambda lines: any(line == f"{prompt} {expected[0]}" for line in lines))
            await terminal.type("C-u", "C-l")
            await terminal.wait(lambda lines: [line for line in lines if line] == [prompt])

        await complete("listener to", "listener top")
        await complete("listener completion fi", "listener completion fish")
        await complete("listener accounts --ina", "listener accounts --inactive")
        await complete("listener events ALIC", "listener events 1001")
        await complete(f"listener events --tracker {people} zo", f"listener events --tracker {people} 1003")
        await complete(f"listener events --tracker={people} zo", f"listener events --tracker={people} 1003")
        await complete(
            "listener events ali", "listener events ali", "1001", "alice smith", "1002", "alina (not active)"
        )
        await complete("listener events 100", "listener events 100", "1000", "1003")
        (tmp_path / "settings.toml").touch()
        for given in (f"--config {tmp_path}", f"--config={tmp_path}"):
            await complete(f"listener top {given}/setti", f"listener top {given}/settings.toml")


async def test_fish(path: str, people: str, tmp_path: Path) -> None:
    program_or_skip("fish")

    async def complete(line: str) -> dict[str, str]:
        """What fish offers for a line, and what it says of each."""
        code = f"listener completion fish | source; complete -C {line!r}"
        done = await trio.run_process(
            ["fish", "--no-config", "-c", code],
            capture_stdout=True,
            env=surroundings(PATH=path, LISTENER_TRACKER=people, HOME=str(tmp_path)),
        )
        offered = [one.partition("\t") for one in done.stdout.decode().splitlines()]
        return {value: about for value, _, about in offered}

    assert "top" in await complete("listener to")
    assert await complete("listener completion f") == {"fish": ""}
    assert list(await complete("listener accounts --inac")) == ["--inactive"]
    assert await complete("listener events 1003") == {"1003": "Zoë $(touch x) 😀"}
    assert await complete("listener events ali") == {"1001": "alice smith", "1002": "alina (not active)"}
    assert list(await complete(f"listener events --tracker {people} zo")) == ["1003"]
    assert list(await complete("LISTENER_TRACKER=http://127.0.0.1:1 listener events zo")) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_the_script_is_printed_without_a_tracker(shell: str) -> None:
    program_or_skip(shell)
    async with listener("completion", shell, LISTENER_TRACKER="http://127.0.0.1:1") as program:
        printed = "\n".join(await program.out.rest())
        assert await program.ends() == 0
    await trio.run_process([shell, "-n"], stdin=printed.encode())  # it is no error to the shell


@pytest.mark.parametrize("arguments", [[], ["tcsh"], ["bash", "zsh"]])
async def test_no_shell(arguments: list[str]) -> None:
    async with listener("completion", *arguments) as program:
        assert await program.ends() == 2
        assert "Usage: listener completion" in "".join(await program.err.rest())
