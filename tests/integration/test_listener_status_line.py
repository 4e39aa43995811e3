"""The line at the bottom of a terminal: it tells how things are, and never mixes into what is written."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.listeners import RedisProcess, append, event
from tests.integration.tmux import LISTENER, PROMPT, Tmux, tmux


@pytest.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[Tmux]:
    async with tmux(tmp_path) as opened:
        yield opened


def shown(lines: list[str]) -> list[str]:
    return [line for line in lines if line]


async def clear(terminal: Tmux) -> None:
    """Begin with an empty screen, once a program has left the terminal."""
    await terminal.wait(lambda lines: shown(lines)[-1:] == [PROMPT])
    await terminal.do("clear")
    await terminal.wait(lambda lines: shown(lines) == [PROMPT])


async def test_it_is_the_last_line_below_all_events(redis_url: str, terminal: Tmux) -> None:
    await append(redis_url, *[event(f"first {number}") for number in range(3)])
    await terminal.do(f"{LISTENER} events all --since all --from {redis_url}")
    lines = await terminal.wait(lambda lines: any("connected" in line and "3 events" in line for line in lines))
    assert [line.split()[-2] for line in shown(lines)[1:-2] if "first" in line] == ['0"', '1"', '2"']
    assert shown(lines)[-1].split(" | ")[2:] == ["3 events", "0 behind", "0 gaps"]
    for number in range(40):  # more than there are rows
        await append(redis_url, event(f"漢字 {number} " + "x" * 100))
    lines = await terminal.wait(lambda lines: any("connected" in line and "43 events" in line for line in lines))
    assert sum("connected |" in line for line in lines) == 1
    assert "connected |" in shown(lines)[-1]
    await terminal.type("C-c")
    lines = await terminal.wait(lambda lines: shown(lines)[-1] == PROMPT)
    assert not any("connected |" in line for line in lines)
    await terminal.wait_shell()


async def test_it_tells_of_outages_and_gaps(tmp_path: Path, terminal: Tmux) -> None:
    server = RedisProcess(tmp_path)
    server.start()
    try:
        [first, *_] = await append(server.url, event(1))
        await append(server.url, *[event(number) for number in range(2, 9)], keep=2)
        await terminal.do(f"{LISTENER} events 1 --since {first.position} --from {server.url}")
        lines = await terminal.wait_for("| 1 gaps")
        assert any(line.startswith("! account 1: events 2 to 6 are gone") for line in lines)
        server.kill()
        lines = await terminal.wait(lambda lines: "away for " in shown(lines)[-1])
        assert any("is away (" in line for line in shown(lines)[:-1])
        server.start()
        await terminal.wait(lambda lines: shown(lines)[-1].startswith("connected |"))
        await terminal.type("C-c")
        await terminal.wait_shell()
    finally:
        server.kill()


async def test_it_fits_the_narrowest_terminal(redis_url: str, tmp_path: Path) -> None:
    async with tmux(tmp_path, columns=20, lines=6) as terminal:
        await clear(terminal)
        await append(redis_url, event("x"))
        await terminal.do(f"exec 2>&1; {LISTENER} events all --since all --cut --from {redis_url}")
        lines = await terminal.wait(lambda lines: shown(lines)[-1].startswith("connected | "))
        assert shown(lines)[-1].endswith("…")
        await terminal.type("C-c")


async def test_it_is_not_in_a_file_and_not_where_another_program_writes(redis_url: str, terminal: Tmux) -> None:
    await append(redis_url, event("x"))
    source = f"{LISTENER} events all --since all --json --from {redis_url}"
    await terminal.do(f"{source} >recorded; echo $?; wc -l <recorded; cat recorded; rm recorded")
    await terminal.wait(lambda lines: shown(lines)[-1].startswith("connected |"))
    await terminal.type("C-c")
    lines = await terminal.wait(lambda lines: shown(lines)[-1] == PROMPT and "0" in lines)
    [recorded] = [line for line in "\n".join(lines).replace("\n", "").split("{")[1:] if line]
    assert json.loads("{" + recorded.partition("}")[0] + "}")["Data"] == "x"
    await clear(terminal)
    await terminal.do(f"{source} | cat")
    await terminal.wait_for("listening for")
    await append(redis_url, event("y"))
    lines = await terminal.wait(lambda lines: '"y"' in "".join(lines))
    assert not any("connected |" in line for line in lines)
    await terminal.type("C-c")
    await clear(terminal)
    await terminal.do(f"{source} --exec true")
    await terminal.wait_for("listening for")
    assert not any("connected |" in line for line in await terminal.lines())
    await terminal.type("C-c")


@pytest.mark.parametrize(("variables", "colours"), [("", True), ("NO_COLOR=1", False), ("TERM=dumb", False)])
async def test_colours_by_account_on_a_terminal_alone(
    redis_url: str, terminal: Tmux, variables: str, colours: bool
) -> None:
    await append(redis_url, event("x", 1), event("y", 2))
    command = f"{variables} {LISTENER} events all --since all --until now --from {redis_url}"
    await terminal.do(command)
    await terminal.wait_for("[2]: ")
    rows = [line for line in await terminal.lines(codes=True) if "[1]:" in line or "[2]:" in line]
    assert len(rows) == 2
    assert all(("[38;5;" in row) == colours for row in rows)
    await clear(terminal)
    await terminal.do(f"{command} | cat")
    await terminal.wait_for("[2]: ")
    assert not any("[38;5;" in line for line in await terminal.lines(codes=True))
