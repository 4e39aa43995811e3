"""What scripts build on: which events are written, in which form, when it ends, and with which exit code."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio

from tests.integration.conftest import StartTracker
from tests.integration.listeners import (
    PATIENCE,
    RedisProcess,
    append,
    append_sync,
    event,
    listener,
    surroundings,
)

NOW = ("--since", "all", "--until", "now")


async def run(*arguments: str, **variables: str) -> tuple[int, list[str], str]:
    """Run a listener to its end. Returns its status, lines, and what it said to people."""
    async with listener(*arguments, **variables) as program:
        lines = await program.out.rest()
        said = await program.err.rest()
        return await program.ends(), lines, "\n".join(said)


def data(lines: list[str]) -> list[object]:
    return [json.loads(line)["Data"] for line in lines]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["all"], [1, {"amount": 150}, "text 7", {"amount": 7.5}]),
        (["2-3"], [{"amount": 150}, "text 7"]),
        (["1", "3-4", "4"], [1, "text 7", {"amount": 7.5}]),
        (["all", "--where", "Data.amount > 100"], [{"amount": 150}]),
        (["all", "--where", "Data.amount > 1 && ID != 2"], [{"amount": 7.5}]),
        (["all", "--match", "t 7"], ["text 7"]),
        (["all", "--match", '"amount":'], [{"amount": 150}, {"amount": 7.5}]),
        (["all", "--regex", r"\d[05]\b"], [{"amount": 150}]),
        (["all", "--host", "one"], [1, {"amount": 150}]),
        (["all", "--host", "one", "--match", "amount"], [{"amount": 150}]),
        (["all", "--match", "nothing"], []),
        (["all", "--count", "2"], [1, {"amount": 150}]),
        (["all", "--match", "amount", "--count", "2"], [{"amount": 150}, {"amount": 7.5}]),
    ],
)
async def test_which_events(redis_url: str, arguments: list[str], expected: list[object]) -> None:
    await append(redis_url, event(1, 1), event({"amount": 150}, 2), host="one")
    await append(redis_url, event("text 7", 3), event({"amount": 7.5}, 4), host="other")
    status, lines, _ = await run("events", *arguments, "--from", redis_url, *NOW, "--json")
    assert (status, data(lines)) == (0, expected)


async def test_forms(redis_url: str) -> None:
    text = 'a,"b"\nc'
    await append(redis_url, event(text, 1), event({"amount": 1.10}, 2))
    source = ("events", "all", "--from", redis_url, *NOW)
    _, lines, _ = await run(*source, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO("\n".join(lines))))
    assert [(row["ID"], row["Data"], row["Seq"]) for row in rows] == [("1", text, "1"), ("2", '{"amount":1.1}', "1")]
    _, lines, _ = await run(*source, "--format", r"{ID:>3}\t{Data.amount}\t{Data:.3}")
    assert lines == ['  1\t\ta,"', '  2\t1.1\t{"a']
    _, lines, _ = await run(*source, LISTENER_FORMAT="json")
    assert data(lines) == [text, {"amount": 1.1}]
    _, lines, _ = await run(*source, "--format", "pretty", "--color", "always")
    assert lines[0].startswith("\x1b[38;5;")
    assert lines[1:3] == ['  a,"b"', "  c"]
    _, lines, _ = await run(*source, "--timestamps", "relative", "--color", "auto")
    assert all("d ago>: [" in line for line in lines)


async def test_until_a_place_that_is_live_when_it_comes(redis_url: str) -> None:
    [first, second] = await append(redis_url, event("one"), event("two"))
    source = ("events", "1", "--from", redis_url, "--json")
    status, lines, _ = await run(*source, "--since", "all", "--until", str(first.position))
    assert (status, data(lines)) == (0, ["one"])
    epoch, shard, number = str(second.position).split("-")
    async with listener(*source, "--until", f"{epoch}-{shard}-{int(number) + 2}") as program:
        await program.err.wait_for("listening")
        await append(redis_url, event("three"))
        await append(redis_url, event("four"), event("five"))
        assert data(await program.out.rest()) == ["three", "four"]
        assert await program.ends() == 0


async def test_what_was_left_comes_with_the_next_run(redis_url: str, tmp_path: Path) -> None:
    await append(redis_url, *[event(number) for number in range(5)])
    source = ("events", "1", "--from", redis_url, "--json", "--state", str(tmp_path / "state"), "--since", "all")
    assert data((await run(*source, "--count", "2"))[1]) == [0, 1]
    assert data((await run(*source, "--expect", "Data == 3"))[1]) == [2, 3]
    assert data((await run(*source, "--until", "now", "--quiet"))[1]) == []
    assert data((await run(*source, "--until", "now"))[1]) == []


async def test_expected_and_told_when_it_really_follows(client: httpx.AsyncClient) -> None:
    source = str(client.base_url).replace("http", "ws")
    ready = f"{sys.executable} -c 'import httpx; httpx.put(\"{client.base_url}/1?data=go\").raise_for_status()'"
    ends = ("--expect", 'Data == "go"', "--timeout", f"{PATIENCE:g}s", "--on-ready", ready)
    status, lines, _ = await run("events", "1", "--from", source, "--json", *ends)
    assert (status, data(lines)) == (0, ["go"])


@pytest.mark.parametrize(
    ("command", "said"),
    [("sh -c 'exit 3'", "exit status 3"), (f"{sys.executable} -c 'import time; time.sleep(600)'", "took longer")],
)
async def test_a_command_for_the_beginning_that_fails(redis_url: str, command: str, said: str) -> None:
    arguments = ("events", "1", "--from", redis_url, "--on-ready", command, "--exec-timeout", "500ms")
    status, _, told = await run(*arguments)
    assert status == 1
    assert f"--on-ready {command!r} failed: {said}" in told


async def test_a_command_for_the_beginning_does_not_outlive_us(redis_url: str, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = (
        f"import os, signal, time; signal.signal(15, signal.SIG_IGN); open({str(pid)!r}, 'w').write(str(os.getpid()))"
    )
    command = f'{sys.executable} -c "{script}; time.sleep(600)"'
    async with listener("events", "1", "--from", redis_url, "--on-ready", command) as program:
        await program.err.wait_for("listening")
        with trio.fail_after(PATIENCE):
            while not (pid.exists() and pid.read_text()):
                await trio.sleep(0.02)
        program.process.send_signal(signal.SIGTERM)
        assert await program.ends() == 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_a_file_descriptor_gets_a_line_once_it_follows(redis_url: str) -> None:
    [there] = append_sync(redis_url, event("before"))
    readable, writable = os.pipe()
    command = [sys.executable, "-m", "listener", "events", "1", "--from", redis_url, "--ready-fd", str(writable)]
    with subprocess.Popen(command, env=surroundings(), pass_fds=[writable], stderr=subprocess.DEVNULL) as process:
        os.close(writable)
        with open(readable, "rb") as lines:
            assert json.loads(lines.readline()) == {"Frame": "ready", "Position": str(there.position)}
            assert lines.read() == b""  # closed, though it still follows
        assert process.poll() is None
        process.terminate()
        assert process.wait(PATIENCE) == 0


async def test_a_file_descriptor_whose_reader_is_gone_is_no_fault(redis_url: str) -> None:
    readable, writable = os.pipe()
    os.close(readable)
    command = [sys.executable, "-m", "listener", "events", "1", "--from", redis_url, "--ready-fd", str(writable)]
    command += ["--until", "+0s", "--quiet"]
    done = await trio.run_process(
        command, env=surroundings(), pass_fds=[writable], capture_stderr=True, stdin=subprocess.DEVNULL, check=False
    )
    os.close(writable)
    assert done.returncode == 0, done.stderr


async def test_nothing_came_in_time(redis_url: str) -> None:
    status, lines, said = await run("events", "1", "--from", redis_url, "--timeout", "300ms")
    assert (status, lines) == (5, [])
    assert "--timeout: 0.3 s have passed" in said


async def test_it_ends_without_what_was_expected(redis_url: str) -> None:
    await append(redis_url, event("other"))
    status, _, said = await run("events", "1", "--from", redis_url, *NOW, "--expect", 'Data == "it"')
    assert status == 1
    assert "no event came" in said


async def test_a_gap_ends_it_if_that_is_strict(redis_url: str, tmp_path: Path) -> None:
    state = tmp_path / "state"
    [first, *_] = await append(redis_url, event(1))
    state.write_text(f"{first.position}\n")
    await append(redis_url, *[event(number) for number in range(2, 10)], keep=3)
    source = ("events", "1", "--from", redis_url, "--json", "--state", str(state))
    for _ in range(2):  # the bookmark has not moved on
        status, lines, said = await run(*source, "--strict", "--until", "now")
        assert (status, lines) == (6, [])
        assert "account 1: events 2 to 6 are gone (trimmed)" in said
    status, lines, _ = await run(*source, "--until", "now")
    assert (status, data(lines)) == (0, [7, 8, 9])


@pytest.mark.parametrize("source", ["redis://127.0.0.1:1", "ws://127.0.0.1:1"])
async def test_a_server_that_never_comes_is_given_up(source: str) -> None:
    status, _, said = await run("events", "1", "--from", source, "--give-up", "500ms")
    assert status == 3
    assert "given up" in said


async def test_an_outage_that_is_too_long_is_given_up_and_a_short_one_is_not(tmp_path: Path) -> None:
    server = RedisProcess(tmp_path)
    server.start()
    try:
        async with listener("events", "1", "--from", server.url, "--give-up", "5s") as program:
            await program.err.wait_for("listening")
            for _ in range(2):
                server.kill()
                await program.err.wait_for("away")
                server.start()
                await program.err.wait_for("back")
            server.kill()
            await program.err.wait_for("given up")
            assert await program.ends() == 3
    finally:
        server.kill()


async def test_accounts_that_do_not_exist(client: httpx.AsyncClient, redis_url: str) -> None:
    """The log knows of no accounts: the tracker is asked, if it is known."""
    asks = ("--from", redis_url, "--tracker", str(client.base_url), *NOW)
    assert (await client.put("/2", params={"data": "x"})).status_code == 202
    status, lines, said = await run("events", "2", "998-1003", "9999999999", *asks, "--json")
    assert (status, data(lines)) == (0, ["x"])
    assert "! There are no accounts 1001, 1002, 1003, 9999999999: the others are followed." in said
    status, lines, said = await run("events", "1001", *asks)
    assert (status, lines) == (4, [])
    assert "There is no account 1001." in said


async def test_a_tracker_that_is_away_does_not_keep_anyone_from_the_log(redis_url: str) -> None:
    await append(redis_url, event("x"))
    status, lines, _ = await run("events", "1", "--from", redis_url, "--tracker", "http://127.0.0.1:1", *NOW, "--json")
    assert (status, data(lines)) == (0, ["x"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["5-3"], "the smaller account first, 3-5"),
        (["1-999999999"], "too long"),
        (["1-"], "no account ID"),
        (["1", "--where", "Data.amount >"], "--where is wrong at column 14"),
        (["1", "--expect", "amount == 1"], "--expect is wrong at column 1: 'amount' is unknown"),
        (["1", "--regex", "("], "unclosed group"),
        (["1", "--format", "xml"], "text, json, pretty, csv, or a template"),
        (["1", "--format", "{Dta}"], "Did you mean {Data}"),
        (["1", "--json", "--format", "csv"], "--json is --format json"),
        (["1", "--until", "tomorrow"], "no place to end"),
        (["1", "--count", "0"], "0 is not in the range"),
        (["1", "--timeout", "soon"], "no length of time"),
        (["1", "--ready-fd", "1"], "not in the range"),
        (["1", "--ready-fd", "77"], "--ready-fd 77 is not open"),
        (["1", "--on-ready", "/no/such/program"], "is not found"),
        (["1", "--retries", "3"], "--retries is for --exec"),
        (["1", "--token", "secret"], "for everyone on this machine to read"),
        (["1", "--token-file", "/no/such/file", "--from", "ws://127.0.0.1:1"], "can't be read"),
        (["1", "--profile", "prod"], "no profile 'prod'"),
        (["1", "--state", "/no/such/folder/state"], "can't be used"),
        (["1", "--color", "blue"], "'blue' is not one of"),
        (["1", "--tracker", "ws://host"], "neither http:// nor https://"),
    ],
)
async def test_bad_input_is_told_before_anything_is_followed(arguments: list[str], said: str) -> None:
    status, lines, told = await run("events", "--from", "unix:///nowhere", *arguments)
    assert (status, lines) == (2, [])
    assert said in " ".join(told.split())
    assert "secret" not in told
    assert "listening" not in told


async def test_a_command_that_there_is_not() -> None:
    status, _, said = await run("evnts", "1")
    assert status == 2
    assert "Did you mean 'events'?" in said


async def test_profiles(tmp_path: Path) -> None:
    file = tmp_path / "listener.toml"
    file.write_text(
        'from = "unix:///of-the-file"\nformat = "csv"\n[profiles.prod]\nfrom = "unix:///of-prod"\ngive-up = "100ms"\n'
        '[profiles.test]\nfrom = "unix:///of-test"\n'
    )
    at = ("--config", str(file))
    for arguments, variables, expected in [
        ((*at, "events", "1"), {}, "of-the-file"),
        ((*at, "--profile", "prod", "events", "1"), {}, "of-prod"),
        (("events", "1", "--profile", "prod", *at), {}, "of-prod"),
        ((*at, "--profile", "test", "events", "1", "--profile", "prod"), {}, "of-prod"),
        (("events", "1"), {"LISTENER_CONFIG": str(file), "LISTENER_PROFILE": "test"}, "of-test"),
        ((*at, "events", "1", "--profile", "prod"), {"LISTENER_PROFILE": "test"}, "of-prod"),
        ((*at, "--profile", "prod", "events", "1", "--from", "unix:///flag"), {}, "flag"),
    ]:
        async with listener(*arguments, **variables) as program:
            assert await program.err.next() == f"Connecting to Redis@/{expected}"
    assert (await run(*at, "--profile", "prod", "events", "1"))[0] == 3
    for content, said in [
        ("profiles = 3", "tables, such as [profiles.prod]"),
        ("[profiles.prod]\nform = 1", "does not know: ['form']"),
        ("[profiles.other]", "Expected one of those there: other"),
        ("from = [", "is not a TOML file"),
    ]:
        file.write_text(content)
        status, _, told = await run(*at, "--profile", "prod", "events", "1")
        assert status == 2
        assert said in " ".join(told.split())
    assert (await run(*at, "--help"))[0] == 0


async def test_a_reader_that_goes_away_is_noticed_while_nothing_comes(redis_url: str) -> None:
    async with listener("events", "1", "--from", redis_url) as program:
        await program.err.wait_for("listening")
        assert program.process.stdout is not None
        await program.process.stdout.aclose()
        assert await program.ends() == 0
        assert await program.err.rest() == []


def test_a_pipeline_ends_with_its_last_program(redis_url: str) -> None:
    append_sync(redis_url, *[event(number) for number in range(5000)])
    command = f"'{sys.executable}' -m listener events all --from '{redis_url}' --since all --json"
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -n 2; echo ${{PIPESTATUS[0]}}"],
        env=surroundings(),
        capture_output=True,
        timeout=PATIENCE,
        check=True,
        text=True,
    )
    first, second, status = done.stdout.splitlines()
    assert (data([first, second]), status) == ([0, 1], "0")
    assert "Error" not in done.stderr
    assert "Traceback" not in done.stderr


async def test_trackers_and_what_is_in_front_of_them_ask_for_a_token(
    start_tracker: StartTracker, tmp_path: Path
) -> None:
    """A real nginx that lets only those pass who have it."""
    from tests.nginx import free_port, nginx_program_or_skip

    program, port = nginx_program_or_skip(), free_port()
    async with start_tracker() as client:
        assert (await client.put("/1", params={"data": "x"})).status_code == 202
        configuration = tmp_path / "nginx.conf"
        configuration.write_text(
            f"""
            daemon off; pid {tmp_path}/pid; error_log stderr;
            events {{}}
            http {{
              access_log off;
              client_body_temp_path {tmp_path}; proxy_temp_path {tmp_path}; fastcgi_temp_path {tmp_path};
              uwsgi_temp_path {tmp_path}; scgi_temp_path {tmp_path};
              map $http_authorization $known {{ default 0; "Bearer s3cret" 1; }}
              server {{
                listen 127.0.0.1:{port};
                if ($known = 0) {{ return 401; }}
                location / {{
                  proxy_pass {str(client.base_url).rstrip("/")};
                  proxy_http_version 1.1;
                  proxy_set_header Host $http_host;
                  proxy_set_header Upgrade $http_upgrade;
                  proxy_set_header Connection upgrade;
                }}
              }}
            }}
            """
        )
        token = tmp_path / "token"
        token.write_text("s3cret\n")
        source = ("events", "1", "--from", f"ws://127.0.0.1:{port}", "--json", *NOW)
        async with trio.open_nursery() as nursery:
            command = [program, "-p", str(tmp_path), "-c", str(configuration)]
            nursery.start_soon(partial(trio.run_process, command, stderr=subprocess.DEVNULL, check=False))
            with trio.fail_after(PATIENCE):
                while True:
                    try:
                        await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
                        break
                    except OSError:
                        await trio.sleep(0.02)
            for arguments, variables in [(("--token-file", str(token)), {}), ((), {"LISTENER_TOKEN": "s3cret"})]:
                status, lines, said = await run(*source, *arguments, **variables)
                assert (status, data(lines)) == (0, ["x"]), said
            for variables in ({}, {"LISTENER_TOKEN": "wr0ng"}):
                status, lines, said = await run(*source, **variables)
                assert (status, lines) == (4, [])
                assert "(401)" in said
                assert "wr0ng" not in said
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("content", ["", "two\nlines", "sp ace", "\x00", "é"])
async def test_a_file_without_a_token(tmp_path: Path, content: str) -> None:
    token = tmp_path / "token"
    token.write_text(content)
    status, _, said = await run("events", "1", "--from", "ws://127.0.0.1:1", "--token-file", str(token))
    assert status == 2
    assert "holds no token" in said
