"""A command as a child: what it gets, how it ends, and that nothing of it is left."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import psutil
import pytest
import trio

from listener.command import LONGEST_WORD, Command, Outcome
from listener.decoded import Decoded, decode
from shared.errors import Misconfigured

PATIENCE = 30.0
LINE = b'{"ID":7,"Timestamp":"2021-02-06T17:35:30Z","Data":%s,"Host":"h","Position":"p","Seq":42}'


def event(data: bytes = b'"test data"') -> Decoded:
    return decode(LINE % data)


async def run(
    text: str,
    *,
    shell: bool = False,
    data: bytes = b'"test data"',
    stdin: bytes = b"",
    variables: Mapping[str, str] = {},
    within: float = PATIENCE,
) -> Outcome:
    return await Command(text, shell=shell).run(event(data), stdin, variables, within)


def script(path: Path, text: str) -> str:
    """An executable file; returns its path."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


async def written(path: Path) -> None:
    """Wait for the first line in a file."""
    with trio.fail_after(PATIENCE):
        while not has_line(path):
            await trio.sleep(0.01)


def has_line(path: Path) -> bool:
    return path.exists() and path.read_text().endswith("\n")


async def gone(pid: int) -> None:
    """Wait for the end of a process that is not our child."""
    with trio.fail_after(PATIENCE):
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            await trio.sleep(0.01)


@pytest.mark.parametrize(
    "data",
    [
        "$(touch injected)",
        "; touch injected",
        "`touch injected`",
        "'\"\\ x",
        "-rf",
        "--",
        "a  b\nc\t",
        "",
        "{ID} {{",
        "*",
        "\u202e\x1b",
    ],
)
async def test_data_are_never_more_than_a_part_of_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str
) -> None:
    monkeypatch.chdir(tmp_path)
    handler = script(tmp_path / "handler", f'printf "%s\\0" "$@" > {tmp_path}/words')
    assert await run(f"{handler} {{Data}} 'a {{ID}}:{{Data}}' {{{{}}}}", data=json.dumps(data).encode()) == Outcome()
    words = (tmp_path / "words").read_bytes().decode().split("\0")
    assert words == [data, f"a 7:{data}", "{}", ""]
    assert not (tmp_path / "injected").exists()


async def test_what_it_gets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENT_ATTEMPT", "another's")
    handler = script(tmp_path / "handler", f"env | grep ^EVENT_ | sort > {tmp_path}/env; cat > {tmp_path}/stdin")
    assert await run(handler, stdin=b"the event\n", variables={"EVENT_ATTEMPT": "2"}) == Outcome()
    assert (tmp_path / "env").read_text().splitlines() == [
        "EVENT_ATTEMPT=2",
        "EVENT_DATA=test data",
        "EVENT_HOST=h",
        "EVENT_ID=7",
        "EVENT_POSITION=p",
        "EVENT_SEQ=42",
        "EVENT_TIMESTAMP=2021-02-06T17:35:30Z",
    ]
    assert (tmp_path / "stdin").read_bytes() == b"the event\n"


@pytest.mark.parametrize("data", [b'"a\\u0000b"', b'"' + b"x" * LONGEST_WORD + b'"'])
async def test_what_no_variable_can_hold_is_in_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.setenv("EVENT_DATA", "of another event")
    assert (
        await run(
            f'echo "$EVENT_ID ${{EVENT_DATA-none}}" > {tmp_path}/seen; cat > {tmp_path}/stdin',
            shell=True,
            data=data,
            stdin=data,
        )
        == Outcome()
    )
    assert (tmp_path / "seen").read_text() == "7 none\n"
    assert (tmp_path / "stdin").read_bytes() == data


async def test_the_longest_that_can_be_passed(tmp_path: Path) -> None:
    variable = LONGEST_WORD - len("EVENT_DATA=")
    for size in (variable, LONGEST_WORD):
        handler = script(tmp_path / "handler", f'echo "${{#1}} ${{#EVENT_DATA}}" > {tmp_path}/sizes')
        assert await run(f"{handler} {{Data}}", data=b'"%b"' % (b"x" * size)) == Outcome()
        assert (tmp_path / "sizes").read_text() == f"{size} {size if size == variable else 0}\n"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'"a\\u0000b"', "an argument with a NUL character can't be passed"),
        (b'"' + b"x" * (LONGEST_WORD + 1) + b'"', f"an argument of {LONGEST_WORD + 1} bytes is too long to be passed"),
    ],
)
async def test_what_no_argument_can_hold_is_a_failure(data: bytes, said: str) -> None:
    assert await run("true {Data}", data=data) == Outcome(said, again=False)


async def test_more_arguments_than_there_is_room_for() -> None:
    outcome = await run("true " + "{Data} " * 100, data=b'"%b"' % (b"x" * 100_000))
    assert outcome == Outcome("can't be started: Argument list too long", again=False)


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("true", ""),
        ("exit 3", "exit status 3"),
        ("kill -KILL $$", "killed by SIGKILL"),
        ("kill -40 $$", "killed by signal 40"),
    ],
)
async def test_how_it_ended(text: str, failure: str) -> None:
    assert await run(text, shell=True) == Outcome(failure)


async def test_a_program_that_is_gone_by_now(tmp_path: Path) -> None:
    command = Command(script(tmp_path / "handler", ""), shell=False)
    (tmp_path / "handler").write_text("no program")
    assert await command.run(event(), b"", {}, PATIENCE) == Outcome("can't be started: Exec format error")
    (tmp_path / "handler").unlink()
    assert await command.run(event(), b"", {}, PATIENCE) == Outcome("can't be started: No such file or directory")


@pytest.mark.parametrize("text", ["true", "exec <&-; sleep 0.1", "head -c 1 > /dev/null"])
async def test_nobody_has_to_read(text: str) -> None:
    assert await run(text, shell=True, stdin=b"x" * (1 << 20)) == Outcome()


async def test_what_it_leaves_running_keeps_nobody(tmp_path: Path) -> None:
    text = f"sleep 1000 <&0 & echo $! > {tmp_path}/child"
    assert await run(text, shell=True, stdin=b"x" * (1 << 20)) == Outcome()
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)  # it is still there


async def test_much_to_read(tmp_path: Path) -> None:
    assert await run(f"sleep 0.1; cat > {tmp_path}/stdin", shell=True, stdin=b"x" * (1 << 20)) == Outcome()
    assert (tmp_path / "stdin").stat().st_size == 1 << 20


async def test_what_it_writes_goes_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    await run("echo out; echo err >&2", shell=True)
    assert capfd.readouterr() == ("", "out\nerr\n")


HANGS = "sleep 1000 & echo $! > child; echo $$ > shell; wait"
STUBBORN = "trap '' TERM; " + HANGS


@pytest.mark.parametrize("text", [HANGS, STUBBORN, "kill -STOP $$"])
async def test_one_that_hangs_is_ended_with_all_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("listener.command.GRACE", 0.2)
    outcome = await run(text, shell=True, stdin=b"x" * (1 << 20), within=0.5)
    assert outcome == Outcome("took longer than 0.5 s")
    if "child" in text:
        await gone(int((tmp_path / "child").read_text()))
        assert not psutil.pid_exists(int((tmp_path / "shell").read_text()))  # not even a zombie


async def test_what_it_started_may_clean_up_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cleans = "trap 'sleep 0.2; echo > clean; exit' TERM; while :; do sleep 0.01; done"
    assert await run(f"({cleans}) & exec sleep 1000", shell=True, within=0.5) == Outcome("took longer than 0.5 s")
    assert (tmp_path / "clean").exists()


async def test_cancelled_it_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("listener.command.GRACE", 0.2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(run, STUBBORN, shell=True))
        await written(tmp_path / "shell")
        nursery.cancel_scope.cancel()
    await gone(int((tmp_path / "child").read_text()))
    assert not psutil.pid_exists(int((tmp_path / "shell").read_text()))


async def test_without_an_event(tmp_path: Path) -> None:
    command = Command(f'echo "$EVENT_POSITION" > {tmp_path}/seen', shell=True, option="--on-ready", of_event=False)
    assert await command.run(None, b"", {"EVENT_POSITION": "p"}, PATIENCE) == Outcome()
    assert (tmp_path / "seen").read_text() == "p\n"
    with pytest.raises(Misconfigured, match=r"--on-ready 'echo \{ID\}' can't be run: '\{ID\}' has a placeholder"):
        Command("echo {ID}", shell=False, option="--on-ready", of_event=False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty. Expected a command"),
        (" ", "it is empty"),
        ("echo \0", "a NUL character"),
        ("echo 'open", "no closing quotation. Expected words as for a shell"),
        ("echo \\", "no escaped character"),
        ("nonesuch {ID}", "'nonesuch' is not found. Expected a program in PATH"),
        ("'' {ID}", "'' is not found"),
        ("X=1 env", "variables and what else only a shell knows need --shell"),
        ("/etc/passwd", "'/etc/passwd' is no program that can be run"),
        ("/etc", "'/etc' is no program that can be run"),
        ("echo {Dta}", "in '{Dta}': column 1: there is no {Dta}. Did you mean {Data}?"),
        ("{Data} x", "its first word names the program, and no event may choose that"),
        ("echo {ID} | tee", "only a shell knows what | means. Expected it in quotes, or --shell."),
        ("sh -c 'echo {Data}'", "'echo {Data}' is a shell's program"),
        ("env LANG=C bash -ec 'echo {Data}'", "is a shell's program"),
        ("\x1b[2J", "\\x1b[2J"),
    ],
)
def test_what_can_not_be_run_is_said_at_once(text: str, said: str) -> None:
    with pytest.raises(Misconfigured) as error:
        Command(text, shell=False)
    assert str(error.value).startswith(f"--exec {text!r} can't be run: ")
    assert said in str(error.value)


@pytest.mark.parametrize(
    "text", ["echo '|' \\> \">\" {ID}", "sh -c 'echo \"$1\"' sh {Data}", "echo '{{}}'", "head -c {ID}"]
)
def test_what_can_be_run(text: str) -> None:
    Command(text, shell=False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo x {ID}", "it has {ID} in column 8"),
        ("echo {Data.amount}", "it has {Data.amount}"),
        ("echo {ID:>6}", "it has {ID:>6}"),
        ("echo 'open", "Unterminated quoted string"),
        ("if", "Syntax error"),
        ("", "it is empty"),
    ],
)
def test_what_a_shell_can_not_run(text: str, said: str) -> None:
    with pytest.raises(Misconfigured) as error:
        Command(text, shell=True)
    assert said in str(error.value)


@pytest.mark.parametrize("text", ["echo ${ID}", "{ echo; }", "awk '{print}'", "echo {a,b}", 'echo "$EVENT_ID" | cat'])
def test_what_a_shell_can_run(text: str) -> None:
    Command(text, shell=True)
