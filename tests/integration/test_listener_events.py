"""`listener events …` and piped sessions, with a real Redis that comes and goes."""

from __future__ import annotations

import array
import fcntl
import json
import signal
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis
import trio

from shared.events import draft, encode_json, encode_text
from tests.integration.listeners import (
    NOW,
    PATIENCE,
    SHOWN,
    Program,
    RedisProcess,
    append,
    append_sync,
    event,
    listener,
    surroundings,
)


@pytest.fixture
def own_redis() -> Iterator[RedisProcess]:
    """A Redis that does not run yet."""
    with tempfile.TemporaryDirectory(prefix="tt-", dir="/tmp") as folder:
        server = RedisProcess(Path(folder))
        yield server
        server.kill()


async def test_events_of_the_log_are_shown(redis_url: str) -> None:
    async with listener("events", "1", "2", "3", "--from", redis_url) as program:
        await program.err.wait_for("listening for events from: [1 2 3]")
        drafts = [
            draft(1, encode_text("test data"), NOW),
            draft(4, encode_text("another's"), NOW),
            draft(3, encode_text('"in quotes"'), NOW),
            draft(2, encode_json(b'{"a": [1.10]}'), NOW),
            draft(2, encode_text("\x1b[2J\u202e"), NOW),
        ]
        await append(redis_url, *drafts, host="290ad619a440")
        assert [await program.out.next() for _ in range(4)] == [
            f'{SHOWN}: [1]: "test data" [290ad619a440]',
            f'{SHOWN}: [3]: "in quotes" [290ad619a440]',
            f'{SHOWN}: [2]: {{"a":[1.10]}} [290ad619a440]',
            f'{SHOWN}: [2]: "\\x1b[2J\\u202e" [290ad619a440]',
        ]
        program.process.send_signal(signal.SIGTERM)
        assert await program.ends() == 0
        assert await program.out.rest() == []


async def test_json_is_the_bytes_of_the_log(redis_url: str) -> None:
    async with listener("--from", redis_url, "events", "1", "--json") as program:
        await program.err.wait_for("listening")
        await append(redis_url, event("\x9b1.10"), event([1.10]))
        with redis.Redis.from_url(redis_url) as client:
            stored = [fields[b"event"].decode() for _, fields in client.xrange("{events:0}:1")]
        assert [await program.out.next(), await program.out.next()] == stored
        program.process.send_signal(signal.SIGINT)
        assert await program.ends() == 0


async def test_what_is_published_and_no_event_is_not_shown(redis_url: str) -> None:
    async with listener("events", "1", LISTENER_FROM=redis_url) as program:
        await program.err.wait_for("listening")
        with redis.Redis.from_url(redis_url) as client:
            for junk in (b"{", b"\xff\x1b", b"[]", b'{"ID":1,"Position":"e-0-1","Seq":1}'):
                client.publish("events:1", junk)
        await append(redis_url, event("good"))
        assert await program.out.next() == f'{SHOWN}: [1]: "good" [h]'


async def test_all_accounts(redis_url: str) -> None:
    async with listener("events", "all", "--from", redis_url) as program:
        await program.err.wait_for("listening for events from: all")
        await append(redis_url, *(event(number, number % 7 + 1) for number in range(100)))
        assert [await program.out.next() for _ in range(100)] == [
            shown(number, number % 7 + 1) for number in range(100)
        ]


def shown(data: object, account: int = 1) -> str:
    return f"{SHOWN}: [{account}]: {json.dumps(data, separators=(',', ':'))} [h]"


async def test_many_events_come_complete_and_in_order(redis_url: str) -> None:
    async with listener("events", "1", REDIS_URL=redis_url) as program:
        await program.err.wait_for("listening")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(append, redis_url, *(event(number) for number in range(20_000)))
            for number in range(20_000):
                assert await program.out.next() == shown(number)


async def test_a_reader_that_goes_away_ends_it_quietly(redis_url: str) -> None:
    async with listener("events", "1", "--from", redis_url) as program:
        await program.err.wait_for("listening")
        await append(redis_url, event("first"))
        assert await program.out.next()
        assert program.process.stdout is not None
        await program.process.stdout.aclose()
        await append(redis_url, event("second"))
        assert await program.ends() == 0
        assert await program.err.rest() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_blocked_output_does_not_keep_it(redis_url: str, tmp_path: Path, number: int) -> None:
    async with listener("events", "1", "--from", redis_url, "--state", str(tmp_path / "state")) as program:
        await program.err.wait_for("listening")
        # More than the pipe, the queue and the connection hold, and nobody reads.
        messages = [event("x" * 60_000)] * 200
        await append(redis_url, *messages)
        with trio.fail_after(PATIENCE):
            while filled(program) <= 60_000:
                await trio.sleep(0.02)
        program.process.send_signal(number)
        with trio.fail_after(5):
            assert await program.ends() == 0


def filled(program: Program) -> int:
    """How many bytes wait in the pipe of its output."""
    assert isinstance(program.process.stdout, trio.lowlevel.FdStream)
    waiting = array.array("i", [0])
    fcntl.ioctl(program.process.stdout.fileno(), termios.FIONREAD, waiting)
    return waiting[0]


async def test_absent_at_the_start(own_redis: RedisProcess) -> None:
    async with listener("events", "1", "--from", own_redis.url) as program:
        assert "is away" in await program.err.wait_for("is away")
        own_redis.start()
        assert "is back" in await program.err.next()
        assert await program.err.next() == "listening for events from: [1]"
        await append(own_redis.url, event("here"))
        assert await program.out.next() == shown("here")


async def test_killed_and_started_again_while_events_flow(own_redis: RedisProcess) -> None:
    own_redis.start()
    async with listener("events", "1", "2", "--from", own_redis.url) as program:
        await program.err.wait_for("listening")
        for round_number in range(3):
            sent = [event([round_number, number], number % 2 + 1) for number in range(100)]
            await append(own_redis.url, *sent[:50])
            own_redis.kill()
            assert "is away" in await program.err.next()
            own_redis.start()
            await append(own_redis.url, *sent[50:])
            assert "What was missed follows" in await program.err.next()
            for number in range(100):
                assert await program.out.next() == shown([round_number, number], number % 2 + 1)
        program.process.send_signal(signal.SIGTERM)
        assert await program.ends() == 0
        assert await program.err.rest() == []
        assert await program.out.rest() == []


async def test_a_log_that_begins_anew_is_told(own_redis: RedisProcess) -> None:
    own_redis.start(durable=False)
    async with listener("events", "1", "--from", own_redis.url) as program:
        await program.err.wait_for("listening")
        await append(own_redis.url, event("old"), event("older"))
        assert [await program.out.next(), await program.out.next()] == [shown("old"), shown("older")]
        own_redis.kill()
        assert "is away" in await program.err.next()
        own_redis.start(durable=False)
        await append(own_redis.url, event("new"))
        assert "is back" in await program.err.next()
        said = "! the log began anew (epoch): what was not received of the old one is gone"
        assert await program.err.next() == said
        assert await program.out.next() == shown("new")


async def test_what_is_gone_is_told_exactly(redis_url: str) -> None:
    [first] = await append(redis_url, event(1))
    await append(redis_url, *(event(number) for number in range(2, 21)), keep=3)
    async with listener("events", "1", "--from", redis_url, "--since", first.position) as program:
        assert await program.err.wait_for("gone") == "! account 1: events 2 to 17 are gone (trimmed)"
        assert [await program.out.next() for _ in range(3)] == [shown(number) for number in (18, 19, 20)]
        await program.err.wait_for("listening for events from: [1]")


async def test_since(redis_url: str) -> None:
    where = await append(redis_url, *(event(number) for number in range(5)))
    for since, expected in [("all", 0), (where[2].position, 3), ("2021-02-06T17:35:30.123456Z", 0), ("1s", 5)]:
        async with listener("events", "1", "--from", redis_url, LISTENER_SINCE=since) as program:
            await program.err.wait_for("listening")
            program.process.send_signal(signal.SIGTERM)
            assert await program.out.rest() == [shown(number) for number in range(expected, 5)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_ends_while_redis_is_away(own_redis: RedisProcess, number: int) -> None:
    async with listener("events", "1", "--from", own_redis.url) as program:
        await program.err.wait_for("is away")
        program.process.send_signal(number)
        assert await program.ends() == 0


async def test_a_slow_name_server_does_not_keep_it(tmp_path: Path) -> None:
    slow = "import socket, time\nsocket.getaddrinfo = lambda *args, **options: time.sleep(3600)\n"
    (tmp_path / "sitecustomize.py").write_text(slow)
    async with listener("events", "1", "--from", "redis://somewhere", PYTHONPATH=str(tmp_path)) as program:
        await program.err.wait_for("Redis@somewhere:6379 is away (no answer in time)")
        program.process.send_signal(signal.SIGTERM)
        assert await program.ends() == 0


async def test_a_stalled_redis_is_noticed_within_10_seconds(own_redis: RedisProcess) -> None:
    own_redis.start()
    async with listener("events", "1", "--from", own_redis.url) as program:
        await program.err.wait_for("listening")
        own_redis.send_signal(signal.SIGSTOP)
        stopped = trio.current_time()
        assert "no answer" in await program.err.next()
        assert trio.current_time() - stopped < 10
        own_redis.send_signal(signal.SIGCONT)
        assert "is back" in await program.err.next()
        await append(own_redis.url, event("after"))
        assert await program.out.next() == shown("after")


async def test_the_data_directory_leads_to_the_embedded_redis(own_redis: RedisProcess) -> None:
    own_redis.start()
    folder = own_redis.url.removeprefix("unix://").removesuffix("/redis.sock")
    async with listener("events", "1", "--data-dir", folder) as program:
        assert await program.err.next() == f"Connecting to Redis@{folder}/redis.sock"
        await program.err.wait_for("listening")


async def test_a_piped_session_reads_like_one_at_a_terminal(redis_url: str) -> None:
    async with listener("--from", redis_url, stdin=subprocess.PIPE) as program:
        assert program.process.stdin is not None
        await program.process.stdin.send_all(b"events\naccounts\n1 2 3\naccounts\n\nnonsense\x1b\n\nevents\n")
        await program.process.stdin.aclose()
        address = redis_url.removeprefix("unix://")
        assert [await program.err.next() for _ in range(23)] == [
            f"Connecting to Redis@{address}",
            "options: [accounts events]",
            ">events",
            " no account IDs selected",
            "options: [accounts events]",
            ">accounts",
            " already selected accounts: []",
            " input space separated account IDs",
            "accounts >1 2 3",
            " current selected accounts: [1 2 3]",
            "options: [accounts events]",
            ">accounts",
            " already selected accounts: [1 2 3]",
            " input space separated account IDs",
            "accounts >",
            ' "" should be an (positive) number',
            " current selected accounts: [1 2 3]",
            "options: [accounts events]",
            ">nonsense\\x1b",
            "unrecognized command: nonsense\\x1b",
            "options: [accounts events]",
            ">",
            "unrecognized command: ",
        ]
        await program.err.wait_for("listening for events from: [1 2 3]")
        await append(redis_url, event("test data"))
        assert await program.out.next() == shown("test data")
        program.process.send_signal(signal.SIGINT)
        assert await program.err.next() == "options: [accounts events]"
        assert [await program.err.next(), await program.err.next()] == [">", "Goodbye!"]
        assert await program.ends() == 0


async def test_a_piped_session_has_all_commands(redis_url: str) -> None:
    await append(redis_url, event("old"), event("\u009b2J", account=3))
    script = b"""accounts 1-4 x
remove 2 9
remove
4 y
since
tomorrow
since all
json on
json x
evnts
events 1
help
events
"""
    async with listener("--from", redis_url, stdin=subprocess.PIPE) as program:
        assert program.process.stdin is not None
        await program.process.stdin.send_all(script)
        await program.process.stdin.aclose()
        await program.err.wait_for("Connecting")
        assert [await program.err.next() for _ in range(36)] == [
            "options: [accounts events]",
            ">accounts 1-4 x",
            ' "x" should be an (positive) number',
            " current selected accounts: [1 2 3 4]",
            "options: [accounts events]",
            ">remove 2 9",
            " 9 was not selected",
            " current selected accounts: [1 3 4]",
            "options: [accounts events]",
            ">remove",
            " already selected accounts: [1 3 4]",
            " input space separated account IDs to take out",
            "remove >4 y",
            ' "y" should be an (positive) number',
            " current selected accounts: [1 3]",
            "options: [accounts events]",
            ">since",
            " events are shown since: now",
            " input a duration (10m), a time, a Position, all, or now",
            "since >tomorrow",
            " since='tomorrow' is no place to begin: expected a Position as events carry it, a duration such as 90s, "
            "10m, 2h30m or 7d, a time such as 2026-11-23T17:35:30Z, or all.",
            " events are shown since: now",
            "options: [accounts events]",
            ">since all",
            " events are shown since: all",
            "options: [accounts events]",
            ">json on",
            " events are shown as: JSON",
            "options: [accounts events]",
            ">json x",
            ' "x" should be on or off',
            " events are shown as: JSON",
            "options: [accounts events]",
            ">evnts",
            "unrecognized command: evnts",
            "options: [accounts events]",
        ]
        assert [await program.err.next() for _ in range(3)] == [
            ">events 1",
            "unrecognized command: events 1",
            "options: [accounts events]",
        ]
        assert await program.err.next() == ">help"
        await program.err.wait_for("docs/listener.md")
        await program.err.wait_for("listening for events from: [1 3]")
        assert [json.loads(await program.out.next())["Data"] for _ in range(2)] == ["old", "\u009b2J"]
        program.process.send_signal(signal.SIGINT)
        await program.err.wait_for("Goodbye!")
        assert await program.ends() == 0


async def test_a_piped_session_sends(client: httpx.AsyncClient, redis_url: str) -> None:
    script = b"send 7 h\xc3\xa4llo\nsend\n7\nagain\nsend 999999 x\nsend 7 \xff\nsend x\nsend 7\n\nsend\n"
    async with listener("--from", redis_url, "--tracker", str(client.base_url), stdin=subprocess.PIPE) as program:
        assert program.process.stdin is not None
        await program.process.stdin.send_all(script)
        await program.process.stdin.aclose()
        for said in (
            "accepted at: ",
            "accepted at: ",
            "refuses (404): There is no account 999999.",
            "refuses (400): The body is not UTF-8",
            ' "x" should be an (positive) number',
            " no data to send",
            "send >",
            "Goodbye!",
        ):
            await program.err.wait_for(said)
        assert await program.ends() == 0
    shown = (await client.get("/events", params={"account": "7", "since": "all"})).json()["Events"]
    assert [one["Data"] for one in shown] == ["hällo", "again"]


async def test_a_piped_session_that_is_refused_tells_so_by_its_status(client: httpx.AsyncClient) -> None:
    url = str(client.base_url).replace("http", "ws")
    async with listener("--from", url, stdin=subprocess.PIPE) as program:
        assert program.process.stdin is not None
        await program.process.stdin.send_all(b"accounts 999999\nevents\n")
        await program.err.wait_for("refuses to be followed (404)")
        assert await program.ends() == 4


async def test_a_session_from_a_file_without_a_last_line_end(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_bytes(b"accounts\r\n2 x\x9b -1 +1 1 1_0 0")
    with script.open("rb") as stdin:
        async with listener("--from", "unix:///nowhere", stdin=stdin.fileno()) as program:
            await program.err.wait_for("accounts >")
            assert await program.err.rest() == [
                ' "x\\udc9b" should be an (positive) number',
                ' "-1" should be an (positive) number',
                ' "+1" should be an (positive) number',
                ' "1_0" should be an (positive) number',
                ' "0" should be an (positive) number',
                " current selected accounts: [1 2]",
                "options: [accounts events]",
                ">",
                "Goodbye!",
            ]
            assert await program.ends() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_piped_session_ends_by_signal_at_the_prompt(number: int) -> None:
    async with listener("--from", "unix:///nowhere", stdin=subprocess.PIPE) as program:
        assert program.process.stdin is not None
        await program.process.stdin.send_all(b"x\n")
        await program.err.wait_for("unrecognized command: x")
        program.process.send_signal(number)
        assert await program.ends() == 0
        assert ("Goodbye!" in "".join(await program.err.rest())) == (number == signal.SIGINT)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["events"], "Expected account IDs"),
        (["events", "1", "x"], "Expected account IDs"),
        (["events", "0"], "Expected account IDs"),
        (["events", "-1"], "Expected account IDs"),
        (["events", "1", ""], "Expected account IDs"),
        (["events", "--jsn", "1"], "'--jsn' is no account ID"),
        (["nonsense"], "No such command"),
        (["events", "1", "all"], "stands alone"),
        (["events", "1", "--since", "yesterday"], "is no place to begin"),
        (["events", "1", "--since", ""], "Expected a Position"),
        (["events", "1", "--serve", "9000"], "Expected HOST:PORT"),
        (["--serve", "localhost:9000"], "is for `listener events`"),
        (["--from", "ws://user:secret@tracker"], "no user and password"),
        (["--from", "ws://tracker/events?secret"], "After the path"),
        (["--from", "wss://tracker#secret"], "After the path"),
        (["--from", "ws://"], "no host"),
        (["--from", "ws://tracker:0"], "port"),
        (["--from", "ws://tracker/a b"], "percent-encoded"),
        (["events", "1", "--from", "http://u:secret@host"], "http:// is not supported"),
        (["--from", "redis:secret"], "no URL"),
        (["--from", "redis://:secret@host:port"], "port"),
        (["--from", "redis://:secret@host:0"], "port"),
        (["--from", "redis://:1/secret@host"], "percent-encoded"),
        (["--from", "redis://:1?secret@host"], "percent-encoded"),
        (["--from", "redis://:1#secret@host"], "percent-encoded"),
        (["--from", "redis://host/secret"], "database"),
        (["--from", "redis://host/?secret=1"], "may come only"),
        (["--from", "redis://host/?db=secret"], "no number"),
        (["--from", "redis://[::1"], "Expected redis://"),
        (["--from", "unix://run/secret"], "three"),
        (["--from", "unix:///"], "path"),
        (["--config", "/nowhere"], "does not exist"),
    ],
)
async def test_bad_input_is_a_usage_error(arguments: list[str], said: str) -> None:
    async with listener(*arguments) as program:
        assert await program.ends() == 2
        said_on_stderr = " ".join(" ".join(await program.err.rest()).split())
        assert said in said_on_stderr
        assert "secret" not in said_on_stderr
        assert await program.out.rest() == []


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams(closed: str) -> None:
    command = f'"{sys.executable}" -m listener --from unix:///nowhere {closed}'
    done = subprocess.run(
        ["sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, env=surroundings()
    )
    assert (done.returncode, done.stdout) == (0, b"")
    assert (b"Goodbye!" in done.stderr) == ("2>&-" not in closed.split())


def test_an_output_that_cannot_be_written_is_an_error(redis_url: str) -> None:
    command = [sys.executable, "-m", "listener", "events", "1", "--from", redis_url]
    with (
        open("/dev/full", "wb") as full,
        subprocess.Popen(command, stdout=full, stderr=subprocess.PIPE, env=surroundings()) as process,
    ):
        assert process.stderr is not None
        while b"listening" not in process.stderr.readline():
            assert process.poll() is None
        append_sync(redis_url, event("test data"))
        assert process.wait(PATIENCE) == 1
        assert process.stderr.read() == b"Error: The output can't be written: No space left on device.\n"


def test_the_prompt_waits_for_nothing_slow() -> None:
    code = (
        "import sys; was = set(sys.modules); import listener.__main__, listener.prompt; print(*set(sys.modules) - was)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout.split()
    slow = {"redis", "trio_asyncio", "structlog", "asyncpg", "trio_websocket", "wsproto", "httpx", "prompt_toolkit"}
    assert not slow & set(loaded)


async def test_which_setting_wins(tmp_path: Path) -> None:
    config = tmp_path / "listener.toml"
    config.write_text('from = "unix:///of-the-file"\n')
    environment = {"LISTENER_FROM": "unix:///of-the-environment", "REDIS_URL": "unix:///of-redis"}
    before, after = ["--from", "unix:///before"], ["--from", "unix:///after"]
    file = ["--config", str(config)]
    for arguments, variables, expected in [
        ([*before, "events", "1", *after], environment, "after"),
        ([*before, "events", "1"], environment, "before"),
        ([*file, "events", "1"], environment, "of-the-environment"),
        ([*file, "events", "1"], {"REDIS_URL": environment["REDIS_URL"]}, "of-redis"),
        ([*file, "events", "1"], {}, "of-the-file"),
        (["events", "1", *file], {}, "of-the-file"),
    ]:
        async with listener(*arguments, **variables) as program:
            assert await program.err.next() == f"Connecting to Redis@/{expected}"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://user:secret@redis:6379/0", "redis:6379"),
        ("redis://:secret@127.0.0.1", "127.0.0.1:6379"),
        ("rediss://[::1]:7000?password=secret", "[::1]:7000"),
        ("redis://", "localhost:6379"),
        ("unix://:secret@/run/a%20b.sock?db=1", "/run/a b.sock"),
    ],
)
async def test_the_address_is_shown_without_password(url: str, address: str) -> None:
    async with listener("--from", url) as program:
        assert (await program.err.rest())[0] == f"Connecting to Redis@{address}"
        assert "secret" not in "".join(program.out.seen)
        assert await program.ends() == 0
