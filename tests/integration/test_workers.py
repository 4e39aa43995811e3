"""A tracker of several workers, as processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil
import pytest
import redis
import trio
import trio_websocket
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from listener.config import Config
from tests.integration import certificates
from tests.integration.fragile import fragile_servers
from tests.integration.test_process import Tracker, data_dir, tracker
from tests.integration.websockets import websocket
from tracker.http.limits import GRACE

__all__ = ["data_dir"]

Arguments = tuple[str | Path, ...]


@pytest.fixture
def servers_of_test(database_url: str, redis_url: str) -> Arguments:
    return ("--database", database_url, "--redis", redis_url)


@asynccontextmanager
async def workers(*arguments: str | Path, number: int = 2) -> AsyncIterator[Tracker]:
    """A tracker with so many workers, all of them ready; none is left after."""
    async with tracker(*arguments, "--workers", str(number)) as running:
        await running.url()
        yield running
        left = processes(running)
        if running.process.poll() is None:
            running.process.kill()
        await gone(left)


def processes(running: Tracker) -> list[psutil.Process]:
    """The workers."""
    try:
        children = psutil.Process(running.process.pid).children()
    except psutil.NoSuchProcess:
        return []
    return [child for child in children if "tracker.worker" in child.cmdline()]


async def gone(some: list[psutil.Process], seconds: float = 15) -> None:
    with trio.fail_after(seconds):
        while any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in some):
            await trio.sleep(0.02)


def connections_of(worker: psutil.Process) -> int:
    return len([each for each in worker.net_connections("tcp") if each.status == psutil.CONN_ESTABLISHED])


@asynccontextmanager
async def connections(url: str, number: int) -> AsyncIterator[list[trio.SocketStream]]:
    host, port = url.removeprefix("http://").split(":")
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(await trio.open_tcp_stream(host, int(port))) for _ in range(number)]


async def put(stream: trio.SocketStream, request: bytes = b"PUT /1?data=x") -> bytes:
    """Send an event; the answer, or nothing if the connection is broken."""
    try:
        await stream.send_all(request + b" HTTP/1.1\r\nHost: t\r\n\r\n")
        return bytes(await stream.receive_some(65536))
    except trio.BrokenResourceError:
        return b""


@asynccontextmanager
async def spread(
    url: str, number: int, by: Sequence[psutil.Process] = ()
) -> AsyncIterator[tuple[list[trio.SocketStream], list[int]]]:
    """So many connections, on each of which an event was accepted, and how many of them each worker has."""
    before = [connections_of(worker) for worker in by]  # theirs to the servers
    async with connections(url, number) as streams:
        async with trio.open_nursery() as nursery:
            for stream in streams:
                nursery.start_soon(put, stream)
        yield streams, [connections_of(worker) - other for worker, other in zip(by, before, strict=True)]


async def ask(url: str, path: str, **headers: str) -> httpx.Response:
    """On a connection of its own: any worker may answer."""
    async with httpx.AsyncClient(base_url=url, timeout=20) as client:
        return await client.get(path, headers=headers)


async def metric(url: str, name: str, **labels: str) -> float:
    families = text_string_to_metric_families((await ask(url, "/metrics")).text)
    return sum(s.value for family in families for s in family.samples if s.name == name and s.labels == labels)


async def comes(url: str, value: float, name: str, **labels: str) -> None:
    with trio.fail_after(20):
        while await metric(url, name, **labels) != value:
            await trio.sleep(0.05)


class Writers:
    """Writers on connections of their own, who come again when theirs is broken."""

    def __init__(self, url: str) -> None:
        self.accepted: list[str] = []
        self.broken = 0
        self._url = url

    async def run(self, number: int = 16) -> None:
        async with trio.open_nursery() as nursery:
            for name in range(number):
                nursery.start_soon(self._write, str(name))

    async def _write(self, name: str) -> None:
        count = 0
        while True:
            async with httpx.AsyncClient(base_url=self._url, timeout=20) as client:
                with contextlib.suppress(httpx.TransportError):
                    while True:
                        count += 1
                        data = f"{name}-{count}"
                        if (await client.put("/1", params={"data": data})).status_code == 202:
                            self.accepted.append(data)
            self.broken += 1
            await trio.sleep(0.02)

    async def accept(self, more: int) -> None:
        wanted = len(self.accepted) + more
        with trio.fail_after(30):
            while len(self.accepted) < wanted:
                await trio.sleep(0.01)


def logged(redis_url: str) -> list[str]:
    with redis.Redis.from_url(redis_url) as store:
        return [json.loads(fields[b"event"])["Data"] for _, fields in store.xrange("{events:0}:1")]


@pytest.mark.parametrize(("number", "together"), [(2, 32), (3, 60)])
async def test_connections_spread_over_the_workers(servers_of_test: Arguments, number: int, together: int) -> None:
    async with workers(*servers_of_test, number=number) as running:
        all_workers = processes(running)
        assert len(all_workers) == number
        async with spread(await running.url(), together, all_workers) as (_, shares):
            assert sum(shares) == together
            assert min(shares) >= together / number * 0.6, shares


async def test_a_killed_worker_loses_nothing_and_is_started_again(servers_of_test: Arguments, redis_url: str) -> None:
    async with workers(*servers_of_test, "--keep-events", "1000000") as running, trio.open_nursery() as nursery:
        url, (first, second) = await running.url(), processes(running)
        writers = Writers(url)
        nursery.start_soon(writers.run)
        await writers.accept(200)
        first.kill()
        await running.says(r'"part": "worker \d", "reason": "killed by SIGKILL"')
        await writers.accept(200)
        await running.says(r'"part": "worker \d", "event": "back"')
        await writers.accept(200)
        nursery.cancel_scope.cancel()
    assert 0 < writers.broken < 16 + 16  # those of one worker, once
    assert second.pid != first.pid
    found = logged(redis_url)
    assert set(writers.accepted) - set(found) == set()
    assert len(found) == len(set(found))


async def test_only_the_connections_of_a_killed_worker_break(servers_of_test: Arguments) -> None:
    async with workers(*servers_of_test) as running:
        all_workers = processes(running)
        async with spread(await running.url(), 20, all_workers) as (streams, (_, others)):
            all_workers[0].kill()
            answers = [await put(stream) for stream in streams]
        assert sum(answer.startswith(b"HTTP/1.1 202") for answer in answers) == others
        assert 0 < others < 20


async def test_totals_do_not_fall_when_a_worker_is_started_again(servers_of_test: Arguments) -> None:
    async with workers(*servers_of_test) as running:
        url, (first, _) = await running.url(), processes(running)
        names = ("worker 1", "worker 2")

        async def restarts() -> float:
            return sum([await metric(url, "tracker_service_restarts_total", service=name) for name in names])

        async with spread(url, 20, [first]) as (_, [lost]):
            assert await metric(url, "tracker_events_accepted_total") == 20
            await comes(url, 21, "tracker_connections")  # and the one that asks
            first.kill()
            with trio.fail_after(20):
                while await restarts() != 1:
                    assert await metric(url, "tracker_events_accepted_total") == 20
            await running.says(r'"part": "worker \d", "event": "back"')
            assert await metric(url, "tracker_events_accepted_total") == 20
            await comes(url, 21 - lost, "tracker_connections")
        async with spread(url, 20):
            assert await metric(url, "tracker_events_accepted_total") == 40
        assert await restarts() == 1
        for name in (*names, "log"):
            await comes(url, 1, "tracker_service_up", service=name)


async def test_openmetrics_of_several_workers(servers_of_test: Arguments) -> None:
    async with workers(*servers_of_test) as running:
        accept = "application/openmetrics-text; version=1.0.0; charset=utf-8"
        answer = await ask(await running.url(), "/metrics", Accept=accept)
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        families = list(openmetrics.text_string_to_metric_families(answer.text))
        assert {sample.labels.get("pid") for family in families for sample in family.samples} == {None}


async def test_the_rate_is_that_of_all(servers_of_test: Arguments) -> None:
    async with workers(*servers_of_test) as running:
        async with spread(await running.url(), 20, processes(running)) as (streams, shares):
            assert min(shares) > 0
            with trio.fail_after(5):  # by then both have begun to look at the log
                while any([b'"Rate":0}' not in await put(stream, b"GET /") for stream in streams]):
                    pass
            for stream in streams[:10]:
                await put(stream)
            rates = [await put(stream, b"GET /") for stream in streams]
        assert all(b'"Rate":10}' in rate for rate in rates), rates


async def readiness(url: str) -> tuple[int, str]:
    answer = await ask(url, "/readyz")
    return answer.status_code, answer.text


async def until(url: str, status: int, text: str) -> None:
    with trio.fail_after(20):
        while (found := await readiness(url))[0] != status or text not in found[1]:
            await trio.sleep(0.02)


async def test_ready_speaks_for_all(servers_of_test: Arguments) -> None:
    async with workers(*servers_of_test, number=3) as running:
        url, all_workers = await running.url(), processes(running)
        assert await readiness(url) == (200, '{"Status":"ready","Workers":{"Ready":3,"Of":3}}')
        all_workers[0].kill()
        await until(url, 200, '"Ready":2,"Of":3')  # what a dead worker said does not count
        await until(url, 200, '"Ready":3,"Of":3')
        all_workers[1].terminate()  # it stops as a tracker does, and is started again
        await until(url, 200, '"Ready":2,"Of":3')
        await until(url, 200, '"Ready":3,"Of":3')
        await running.says("ended with status 0")


async def test_not_ready_when_one_worker_lacks_a_part(database_url: str) -> None:
    async with fragile_servers() as (_, store):
        await store.start()
        async with workers("--database", database_url, "--redis", store.url) as running:
            url, all_workers = await running.url(), processes(running)
            os.kill(all_workers[0].pid, signal.SIGSTOP)
            try:
                await store.kill()
                await until(url, 503, "1 of 2 workers are")
                await store.start()
                await until(url, 200, '"Ready":2,"Of":2')  # as the stopped one last said
            finally:
                os.kill(all_workers[0].pid, signal.SIGCONT)


async def test_the_listener_finds_them_in_the_data_directory(data_dir: Path) -> None:
    config = Config(data_dir=data_dir)
    async with workers("--data-dir", data_dir) as running:
        url = await running.url()
        assert config.known_tracker == url
        assert (await ask(url, "/livez")).status_code == 200
        running.process.terminate()
        assert await running.process.wait() == 0
    assert config.known_tracker is None


async def test_the_workers_leave_when_the_parent_is_killed(data_dir: Path) -> None:
    async with workers("--data-dir", data_dir) as running:
        url, all_workers = await running.url(), processes(running)
        [counts] = {Path(file.path).parent for file in all_workers[0].memory_maps() if "counter_" in file.path}
        async with trio.open_nursery() as nursery:
            writers = Writers(url)
            nursery.start_soon(writers.run)
            await writers.accept(100)
            running.process.kill()
            await gone(all_workers, GRACE)
            nursery.cancel_scope.cancel()
        assert not await trio.Path(counts).exists()
        async with workers("--data-dir", data_dir) as again:  # the own servers are taken over, as ever
            async with connections(await again.url(), 1) as [stream]:
                assert b" 202 " in await put(stream)
            again.process.terminate()
            assert await again.process.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_under_load_with_streams_open(
    servers_of_test: Arguments, redis_url: str, number: signal.Signals
) -> None:
    codes: list[int] = []

    async def follow(url: str) -> None:
        async with websocket(f"{url.replace('http', 'ws')}/events") as socket:
            with contextlib.suppress(trio_websocket.ConnectionClosed):
                while True:
                    await socket.get_message()
            codes.append(socket.closed.code)

    async with workers(*servers_of_test, "--keep-events", "1000000") as running:
        url, all_workers = await running.url(), processes(running)
        async with trio.open_nursery() as nursery:
            writers = Writers(url)
            async with trio.open_nursery() as following:
                nursery.start_soon(writers.run)
                for _ in range(12):
                    following.start_soon(follow, url)
                await comes(url, 12, "tracker_followers", transport="websocket")
                await writers.accept(200)
                running.process.send_signal(number)
                with trio.fail_after(15):
                    assert await running.process.wait() == 0
            nursery.cancel_scope.cancel()
        assert codes == [1001] * 12
        assert not any(worker.is_running() for worker in all_workers)
    found = logged(redis_url)
    assert set(writers.accepted) - set(found) == set()
    assert b"Traceback" not in running.said
    assert running.said.count(b'"worker": 1') >= 2
    assert running.said.count(b'"worker": 2') >= 2


async def test_a_second_signal_hurries_the_workers(servers_of_test: Arguments) -> None:
    async with workers(*servers_of_test) as running, connections(await running.url(), 8) as streams:
        for stream in streams:  # requests in flight, which a stop waits for
            await stream.send_all(b"PUT /1 HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\n")
        await comes(await running.url(), 9, "tracker_connections")
        running.process.terminate()
        for number in (1, 2):
            await running.says(f'"stopping".*"worker": {number}')
        with trio.move_on_after(2) as patience:
            await running.process.wait()
        assert patience.cancelled_caught
        running.process.terminate()
        with trio.fail_after(5):
            assert await running.process.wait() == 0
    assert b"Traceback" not in running.said


async def test_a_worker_that_hangs_is_killed_at_the_end(servers_of_test: Arguments) -> None:
    code = (
        "import tracker.__main__ as m, tracker.counting as c\n"
        "together = c.count_together\n"
        "def patched(*given):\n"
        "    together(*given)\n"
        "    from tracker import workers\n"
        "    workers.STOP_TIMEOUT = 1.0\n"
        "c.count_together = patched\n"
        "m.main()\n"
    )
    async with tracker(*servers_of_test, "--workers", "2", code=("-c", code)) as running:
        await running.url()
        hung, _ = processes(running)
        os.kill(hung.pid, signal.SIGSTOP)
        running.process.terminate()
        with trio.fail_after(10):
            assert await running.process.wait() == 0
        assert not hung.is_running()
        await running.says("killed, as it did not stop")


async def test_what_is_misconfigured_ends_all_with_the_message(redis_url: str) -> None:
    url = "postgresql://u:secret@127.0.0.1:1/x?sslmode=bogus"
    async with tracker("--database", url, "--redis", redis_url, "--workers", "2") as running:
        await running.says("tracker: The URL of --database can't be used: .*sslmode")
        with trio.fail_after(15):
            assert await running.process.wait() == 1
    assert running.said.count(b"can't be used") == 1
    assert b"secret" not in running.said


async def test_workers_within_tls(servers_of_test: Arguments, tmp_path: Path) -> None:
    cert, key = certificates.write(tmp_path)
    async with workers(*servers_of_test, "--cert", cert, "--key", key) as running:
        url = await running.url()
        assert url.startswith("https://")
        for _ in range(4):
            async with httpx.AsyncClient(base_url=url, verify=certificates.trusting(), timeout=20) as client:
                assert (await client.put("/1", params={"data": "x"})).status_code == 202
    async with tracker(*servers_of_test, "--cert", key, "--key", key, "--workers", "2") as running:
        await running.says("tracker: There is no certificate in --cert ")
        with trio.fail_after(15):
            assert await running.process.wait() == 1


async def test_the_workers_share_the_most_connections(servers_of_test: Arguments) -> None:
    async with workers(*servers_of_test, "--max-connections", "4") as running:
        all_workers = processes(running)
        before = [connections_of(worker) for worker in all_workers]
        answered: list[trio.SocketStream] = []

        async def ask_one(stream: trio.SocketStream) -> None:
            if await put(stream):
                answered.append(stream)

        async with connections(await running.url(), 6) as streams, trio.open_nursery() as nursery:
            for stream in streams:
                nursery.start_soon(ask_one, stream)
            with trio.fail_after(10):
                while len(answered) < 4:
                    await trio.sleep(0.01)
            with trio.move_on_after(0.3):
                while len(answered) < 5:
                    await trio.sleep(0.01)
            assert len(answered) == 4
            after = [connections_of(worker) for worker in all_workers]
            assert [now - then for now, then in zip(after, before, strict=True)] == [2, 2]
            for stream in answered[:2]:
                await stream.aclose()
            with trio.fail_after(10):
                while len(answered) < 6:
                    await trio.sleep(0.01)


async def test_ctrl_c_reaches_the_parent_alone(servers_of_test: Arguments) -> None:
    """Who passes it on, and is the only one in the session of the terminal."""
    async with workers(*servers_of_test) as running:
        sessions = {os.getsid(worker.pid) for worker in processes(running)}
        assert os.getsid(running.process.pid) not in sessions
        assert len(sessions) == 2


async def test_a_worker_without_orders_ends() -> None:
    with trio.fail_after(20):
        done = await trio.run_process([sys.executable, "-m", "tracker.worker"], stdin=subprocess.DEVNULL)
    assert done.returncode == 0
