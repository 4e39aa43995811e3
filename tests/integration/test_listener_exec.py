"""`listener events … --exec COMMAND`: each event is acted on at least once, whatever is killed, fails or hangs."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest
import trio

from shared.events import Draft, draft, encode_json
from tests.integration.listeners import NOW, PATIENCE, Program, append, event, listener, surroundings


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the test, where its commands run, too."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines(name: str) -> list[str]:
    """The whole lines of a file that commands append to."""
    try:
        return Path(name).read_text().split("\n")[:-1]
    except FileNotFoundError:
        return []


async def until(true: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE):
        while not true():
            await trio.sleep(0.01)


def handler(text: str) -> str:
    """An executable file that notes which event it is for, and then does this. Returns its path."""
    path = Path("handler").absolute()
    path.write_text(f'#!/bin/sh\necho "$EVENT_ID $EVENT_SEQ $EVENT_ATTEMPT" >> acted\n{text}\n')
    path.chmod(0o755)
    return str(path)


WAITS = "while ! [ -e go ]; do sleep 0.01; done; echo >> went"


async def stopped(program: Program, number: int = signal.SIGTERM) -> list[str]:
    """Tell it to end, and return what it said from then on."""
    program.process.send_signal(number)
    assert await program.ends() == 0
    return await program.err.rest()


async def test_each_event_in_order(redis_url: str) -> None:
    arguments = ["events", "1", "2", "--from", redis_url, "--state", "state", "--exec"]
    async with listener(*arguments, f"{handler('cat >> stdin')} {{Data}}") as program:
        await program.err.wait_for("listening")
        where = await append(redis_url, *(event(number, number % 3 + 1) for number in range(30)))
        await until(lambda: len(lines("stdin")) == 20)
        await until(lambda: lines("state") == [where[28].position])
        assert await stopped(program) == []
    acted = [f"{number % 3 + 1} {number // 3 + 1} 1" for number in range(30) if number % 3 + 1 in (1, 2)]
    assert lines("acted") == acted
    assert [json.loads(line)["Data"] for line in lines("stdin")] == [n for n in range(30) if n % 3 + 1 in (1, 2)]


async def test_killed_at_any_moment_it_skips_none(redis_url: str) -> None:
    total, accounts = 400, 5
    await append(redis_url, *(event(number, number % accounts + 1) for number in range(total)))
    arguments = ["events", "all", "--from", redis_url, "--since", "all", "--state", "state", "--concurrency", "4"]
    command = handler("[ $((EVENT_SEQ % 20)) = 0 ] && exit $((2 - EVENT_ATTEMPT)); true")
    for life in range(1, 4):
        async with listener(*arguments, "--exec", command) as program:
            await until(lambda life=life: len(lines("acted")) >= life * total // 4)  # type: ignore[misc]
            program.process.send_signal(signal.SIGKILL)
            await program.ends()
    async with listener(*arguments, "--exec", command) as program:
        await until(lambda: finished(total, accounts))
        await stopped(program)
    highest: dict[str, int] = defaultdict(int)
    for line in lines("acted"):
        account, seq, _ = line.split()
        assert int(seq) <= highest[account] + 1, "a hole"
        highest[account] = max(highest[account], int(seq))
    assert set(highest.values()) == {total // accounts}
    assert len(lines("acted")) < 2 * total, "the bookmark never moved"


def finished(total: int, accounts: int) -> bool:
    return len({tuple(line.split()[:2]) for line in lines("acted")}) == total and all(
        f"{account} {total // accounts} 1" in lines("acted") for account in range(1, accounts + 1)
    )


async def test_concurrency_is_between_accounts_never_within(redis_url: str) -> None:
    # The first eight wait for each other: they come to an end only if all eight run at once.
    command = handler(
        "while [ $(wc -l < acted) -lt 8 ]; do sleep 0.01; done; "
        'echo "begin $EVENT_ID $EVENT_SEQ" >> log; sleep 0.0$((EVENT_SEQ % 3)); echo "end $EVENT_ID $EVENT_SEQ" >> log'
    )
    arguments = ["events", "all", "--from", redis_url, "--since", "all", "--concurrency", "8"]
    await append(redis_url, *(event(number, number % 10 + 1) for number in range(100)))
    async with listener(*arguments, "--exec", command) as program:
        await until(lambda: len(lines("log")) == 200)
        await stopped(program)
    running: dict[str, str] = {}
    done: dict[str, int] = defaultdict(int)
    for line in lines("log"):
        what, account, seq = line.split()
        if what == "begin":
            assert account not in running
            assert int(seq) == done[account] + 1
            running[account] = seq
        else:
            assert running.pop(account) == seq
            done[account] = int(seq)
        assert len(running) <= 8


async def test_a_slow_account_does_not_hold_up_the_others(redis_url: str, here: Path) -> None:
    command = handler(f"[ $EVENT_ID = 2 ] || {{ {WAITS}; }}")
    arguments = ["events", "all", "--from", redis_url, "--since", "all", "--concurrency", "2", "--state", "state"]
    where = await append(redis_url, *[event("slow", 1)] * 200, *[event("fast", 2)] * 50)
    async with listener(*arguments, "--exec", command):
        await until(lambda: "2 50 1" in lines("acted"))
        assert [line for line in lines("acted") if line.startswith("1 ")] == ["1 1 1"]
        assert lines("state") in ([], ["start-0-0"])
        (here / "go").touch()
        await until(lambda: lines("state") == [where[-1].position])


async def test_a_failure_is_tried_again_and_then_the_next(redis_url: str) -> None:
    arguments = ["events", "1", "--from", redis_url, "--state", "state", "--retries", "2"]
    async with listener(*arguments, "--exec", handler("[ $EVENT_SEQ != 1 ] || [ $EVENT_ATTEMPT = 3 ]")) as program:
        await program.err.wait_for("listening")
        where = await append(redis_url, event(1), event(2))
        assert await program.err.next() == "! account 1, event 1: exit status 1 (try 1 of 3)"
        assert await program.err.next() == "! account 1, event 1: exit status 1 (try 2 of 3)"
        await until(lambda: lines("state") == [where[1].position])
        assert await stopped(program) == []
    assert lines("acted") == ["1 1 1", "1 1 2", "1 1 3", "1 2 1"]


async def test_given_up_it_ends_and_begins_there_again(redis_url: str) -> None:
    arguments = ["events", "1", "--from", redis_url, "--state", "state", "--since", "all", "--retries", "1", "--exec"]
    where = await append(redis_url, event(1), event(2), event(3))
    async with listener(*arguments, handler("[ $EVENT_SEQ != 2 ]")) as program:
        assert await program.ends() == 1
        said = (await program.err.rest())[-1]
        assert said.startswith(
            "Error: account 1, event 2: exit status 1, in 2 tries. With --state the next start begins"
        )
    assert lines("state") == [where[0].position]
    assert lines("acted") == ["1 1 1", "1 2 1", "1 2 2"]
    async with listener(*arguments, handler("")) as program:
        await until(lambda: lines("state") == [where[2].position])
    assert lines("acted")[3:] == ["1 2 1", "1 3 1"]


async def test_given_up_the_others_may_come_to_an_end(redis_url: str, here: Path) -> None:
    command = handler(f"[ $EVENT_ID = 1 ] && {{ {WAITS}; exit; }}; while ! [ -e fail ]; do sleep 0.01; done; exit 3")
    arguments = ["events", "all", "--from", redis_url, "--state", "state", "--since", "all", "--retries", "0"]
    where = await append(redis_url, event(1, 1), event(2, 2), event(3, 1))
    async with listener(*arguments, "--concurrency", "2", "--exec", command) as program:
        await until(lambda: len(lines("acted")) == 2)
        (here / "fail").touch()
        assert await program.err.wait_for("Waiting") == "Waiting up to 5 s for the command that runs."
        (here / "go").touch()
        assert await program.ends() == 1
        assert (await program.err.rest())[-1].startswith("Error: account 2, event 1: exit status 3, in 1 try.")
    assert sorted(lines("acted")) == ["1 1 1", "2 1 1"]
    assert lines("state") == [where[0].position]


async def test_dead_letters(redis_url: str, here: Path) -> None:
    (here / "dead").write_text("cut in the midst of wri")
    arguments = ["events", "1", "--from", redis_url, "--state", "state", "--retries", "1", "--dead-letter", "dead"]
    async with listener(*arguments, "--json", "--exec", handler("[ $EVENT_SEQ = 2 ] || exit 3")) as program:
        await program.err.wait_for("listening")
        where = await append(redis_url, event({"a": 1}), event(2))
        await program.err.wait_for("(try 2 of 2)")
        assert await program.err.next() == "! account 1, event 1 is set aside in dead"
        await until(lambda: lines("state") == [where[1].position])
        (here / "dead").rename(here / "taken")
        await append(redis_url, event("\u00e9"))
        await program.err.wait_for("is set aside")
        await stopped(program)
        shown = await program.out.rest()
    assert lines("taken") == ["cut in the midst of wri", shown[0][:-1] + ',"Error":"exit status 3","Attempts":2}']
    assert lines("dead") == [shown[2][:-1] + ',"Error":"exit status 3","Attempts":2}']
    assert json.loads(lines("dead")[0])["Seq"] == 3
    assert lines("acted") == ["1 1 1", "1 1 2", "1 2 1", "1 3 1", "1 3 2"]


async def test_dead_letters_on_a_full_disk(redis_url: str) -> None:
    arguments = ["events", "1", "--from", redis_url, "--state", "state", "--since", "all", "--retries", "0"]
    where = await append(redis_url, event(1), event(2))
    command = handler("[ $EVENT_SEQ = 1 ]")
    async with listener(*arguments, "--dead-letter", "/dev/full", "--exec", command) as program:
        assert await program.ends() == 1
        assert (await program.err.rest())[-1] == (
            "Error: account 1, event 2: exit status 1, and --dead-letter /dev/full can't be written: No space left on "
            "device. With --state the next start begins with this event again: make room first."
        )
    assert lines("state") == [where[0].position]


async def test_one_that_hangs_is_a_failure(redis_url: str) -> None:
    arguments = ["events", "1", "--from", redis_url, "--retries", "0", "--dead-letter", "dead"]
    command = handler('[ $EVENT_SEQ = 2 ] || exec sh -c "trap : TERM; sleep 1000 & echo $! > child; wait; exit 0"')
    async with listener(*arguments, "--exec-timeout", "300ms", "--exec", command) as program:
        await program.err.wait_for("listening")
        await append(redis_url, event(1), event(2))
        assert await program.err.wait_for("try 1") == "! account 1, event 1: took longer than 0.3 s (try 1 of 1)"
        await until(lambda: "1 2 1" in lines("acted"))
    assert json.loads(lines("dead")[0])["Error"] == "took longer than 0.3 s"


async def test_data_that_nothing_but_standard_input_can_hold(redis_url: str, here: Path) -> None:
    huge = "x" * 300_000
    arguments = ["events", "1", "--from", redis_url, "--dead-letter", "dead"]
    command = handler('echo "${EVENT_DATA-none}" >> variable; cat >> stdin')
    for asked, count in [(command, 2), (f"{command} {{Data}}", 0)]:
        (here / "stdin").write_text("")
        async with listener(*arguments, "--exec", asked) as program:
            await program.err.wait_for("listening")
            await append(redis_url, large(huge), event("a\0b"), event("good"))
            for _ in range(3):
                await program.out.next()
            await until(lambda count=count: len(lines("stdin")) == count + 1)  # type: ignore[misc]
            await stopped(program)
            failures = [line for line in program.err.seen if "try" in line]
        assert len(failures) == 2 - count
    assert lines("variable") == ["none", "none", "good", "good"]
    assert failures == [
        "! account 1, event 4: an argument of 300000 bytes is too long to be passed (try 1 of 1)",
        "! account 1, event 5: an argument with a NUL character can't be passed (try 1 of 1)",
    ]
    assert [json.loads(line)["Data"] for line in lines("dead")] == [huge, "a\0b"]


def large(data: str) -> Draft:
    return draft(1, encode_json(json.dumps(data).encode(), 1 << 20), NOW)


HOSTILE = ["$(touch x)", "`touch x`", "; touch x", "' ; touch x '", '" ; touch x "', "-rf", "a\nb", "{ID}", "\\"]


@pytest.mark.parametrize("shell", [False, True])
async def test_data_are_no_commands(redis_url: str, here: Path, shell: bool) -> None:
    text = """printf '%s\\0' "{}" >> seen"""
    command = text.format("$EVENT_DATA") if shell else f"{handler(text.format('$1'))} {{Data}}"
    async with listener("events", "1", "--from", redis_url, "--exec", command, *["--shell"] * shell) as program:
        await program.err.wait_for("listening")
        await append(redis_url, *map(event, HOSTILE))
        await until(lambda: (here / "seen").exists() and (here / "seen").read_bytes().count(b"\0") == len(HOSTILE))
    assert (here / "seen").read_text().split("\0")[:-1] == HOSTILE
    assert not (here / "x").exists()


async def test_standard_output_has_events_alone(redis_url: str) -> None:
    async with listener("events", "1", "--from", redis_url, "--json", "--exec", "echo acted on {Data}") as program:
        await program.err.wait_for("listening")
        await append(redis_url, event("first"), event("second"))
        assert await program.err.next() == "acted on first"
        assert await program.err.next() == "acted on second"
        await stopped(program)
        assert [json.loads(line)["Data"] for line in await program.out.rest()] == ["first", "second"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_told_to_end_what_runs_may_come_to_its_end(redis_url: str, here: Path, number: int) -> None:
    arguments = ["events", "1", "--from", redis_url, "--state", "state", "--exec", handler(WAITS)]
    async with listener(*arguments) as program:
        await program.err.wait_for("listening")
        where = await append(redis_url, event(1), event(2))
        await until(lambda: lines("acted") != [])
        program.process.send_signal(number)
        await program.err.wait_for("Waiting up to 5 s for the command that runs.")
        (here / "go").touch()
        assert await program.ends() == 0
    assert lines("acted") == ["1 1 1"]
    assert lines("state") == [where[0].position]


def test_a_command_has_no_terminal(redis_url: str) -> None:
    command = handler(f"trap 'echo >> interrupted' INT; cat < /dev/tty && echo >> typed; {WAITS}")
    child = pexpect.spawn(
        sys.executable,
        ["-m", "listener", "events", "1", "--from", redis_url, "--exec", command],
        env=surroundings(TERM="xterm"),  # type: ignore[arg-type]
        timeout=PATIENCE,
        encoding="utf-8",
    )
    child.expect("listening")
    trio.run(append, redis_url, event(1))
    child.expect("/dev/tty")
    child.sendintr()
    child.expect("Waiting up to 5 s")
    Path("go").touch()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert sorted(os.listdir(".")) == ["acted", "go", "handler", "went"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--exec", ""], "--exec '' can't be run: it is empty."),
        (["--exec", "nonesuch {ID}"], "'nonesuch' is not found. Expected a program in PATH"),
        (["--exec", "echo 'x"], "no closing quotation"),
        (["--exec", "echo {Nme}"], "there is no {Nme}"),
        (["--exec", "echo {ID}", "--shell"], '"$EVENT_ID"'),
        (["--exec", "echo 'x", "--shell"], "Unterminated quoted string"),
        (["--exec", "true", "--exec-timeout", "0"], "Expected a longer one"),
        (["--exec", "true", "--exec-timeout", "soon"], "is no length of time"),
        (["--exec", "true", "--concurrency", "0"], "not in the range"),
        (["--exec", "true", "--retries", "-1"], "not in the range"),
        (["--exec", "true", "--dead-letter", "none/dead"], "--dead-letter none/dead can't be written: No such file"),
        (["--exec", "true", "--dead-letter", "."], "can't be written: Is a directory"),
        (["--dead-letter", "dead"], "--dead-letter is for --exec, and there is none."),
    ],
)
async def test_bad_input_is_said_before_anything_is_followed(redis_url: str, arguments: list[str], said: str) -> None:
    async with listener("events", "1", "--from", redis_url, *arguments) as program:
        assert await program.ends() == 2
        on_stderr = re.sub(r"\s+", " ", " ".join(await program.err.rest()))
        assert said in on_stderr
        assert "listening" not in on_stderr
