"""One account's events to many WebSockets: what each of them gets, byte by byte."""

from __future__ import annotations

import json
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
import trio
import trio.testing
import wsproto.events
from wsproto.connection import Connection, ConnectionType

from shared import frames
from shared.frames import Error
from tests.integration.conftest import StartTracker
from tests.integration.stand_ins import event
from tests.integration.test_http_server import Wire
from tests.integration.test_streams import Tracker, tracked, upgrade
from tracker.http import app as app_module
from tracker.http import limits

__all__ = ["tracked"]

LARGE = b'"%b"' % (b"x" * 60_000)


class Client:
    """A WebSocket that gives all that comes, in its order, and complains about what is no frame."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.seqs: list[int] = []
        self.frames: list[str] = []
        self.pongs: list[bytes] = []
        self.closed: int | None = None
        self._protocol = Connection(ConnectionType.CLIENT)
        self._text = ""

    async def begin(self, query: str) -> None:
        assert (await self.wire.ask(upgrade(query))).status == 101
        self._take(self.wire._buffer)

    async def until_ready(self) -> None:
        while "ready" not in self.frames:
            assert await self.read()

    async def until(self, number: int) -> None:
        """Read until that many events are there."""
        while len(self.seqs) < number:
            assert await self.read(), f"the end, after {len(self.seqs)} events"

    async def read(self) -> bool:
        """Take what comes next; False at the end."""
        with trio.fail_after(30):
            try:
                data = await self.wire.stream.receive_some()
            except trio.BrokenResourceError:
                return False
        if data:
            self._take(bytes(data))
        return bool(data)

    async def say(self, what: wsproto.events.Event) -> None:
        await self.wire.send(self._protocol.send(what))

    def _take(self, data: bytes) -> None:
        assert self.closed is None, "something came after the close"
        self._protocol.receive_data(data)
        for found in self._protocol.events():
            assert self.closed is None
            if isinstance(found, wsproto.events.TextMessage):
                self._text += found.data
                if found.message_finished:
                    for line in self._text.split("\n"):
                        frame = json.loads(line)
                        assert "bye" not in self.frames
                        if "Frame" in frame:
                            self.frames.append(frame["Frame"])
                        else:
                            self.seqs.append(frame["Seq"])
                    self._text = ""
            elif isinstance(found, wsproto.events.Pong):
                self.pongs.append(bytes(found.payload))
            elif isinstance(found, wsproto.events.CloseConnection):
                self.closed = found.code
            else:
                assert isinstance(found, wsproto.events.Ping)


@asynccontextmanager
async def following(tracked: Tracker, *, receive_buffer: int | None = None) -> AsyncIterator[Client]:
    async with tracked.wire(receive_buffer=receive_buffer) as wire:
        client = Client(wire)
        await client.begin("account=7")
        yield client


@pytest.mark.parametrize("size", [125, 126, 65_535, 65_536])
async def test_messages_of_the_sizes_at_which_frames_change(tracked: Tracker, size: int) -> None:
    empty = len(frames.encode(Error(detail="")))
    sent = Error(detail="x" * (size - empty))
    async with following(tracked) as client:
        await client.until_ready()
        tracked.feed.publish(sent)
        await trio.testing.wait_all_tasks_blocked()
        tracked.feed.publish(event(1))
        await client.until(1)
        assert client.frames == ["ready", "error"]


async def test_pings_among_many_events(tracked: Tracker) -> None:
    number, pings = 3000, 200
    async with following(tracked) as client:
        await client.until_ready()

        async def ask() -> None:
            for count in range(pings):
                await client.say(wsproto.events.Ping(b"%d" % count))
                await trio.testing.wait_all_tasks_blocked()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            for seq in range(1, number + 1):
                tracked.feed.publish(event(seq, data=LARGE if seq % 50 == 0 else b'"x"'))
                if seq % 10 == 0:
                    await trio.lowlevel.checkpoint()
            await client.until(number)
        while len(client.pongs) < pings:
            assert await client.read()
        assert client.pongs == [b"%d" % count for count in range(pings)]


async def test_the_answer_to_a_close_is_the_last_thing(tracked: Tracker) -> None:
    async with following(tracked, receive_buffer=4096) as client:
        await client.until_ready()
        tracked.feed.publish(*[event(seq, data=LARGE) for seq in range(1, 201)])
        await trio.testing.wait_all_tasks_blocked(0.05)
        [follower] = tracked.feed.followers
        assert follower.waiting, "nothing is under way"
        await client.say(wsproto.events.CloseConnection(1000))
        await trio.testing.wait_all_tasks_blocked(0.05)
        while await client.read():
            pass
        assert client.closed == 1000
        assert client.seqs == list(range(1, len(client.seqs) + 1))


async def test_a_stop_while_a_send_is_under_way_ends_with_whole_frames(tracked: Tracker) -> None:
    async with following(tracked, receive_buffer=4096) as client:
        await client.until_ready()
        tracked.feed.publish(*[event(seq, data=LARGE) for seq in range(1, 201)])
        await trio.testing.wait_all_tasks_blocked(0.05)
        [follower] = tracked.feed.followers
        assert follower.waiting, "nothing is under way"
        tracked.app.stopping.set()
        while await client.read():
            pass
        assert client.frames == ["ready", "bye"]
        assert client.closed == 1001
        assert client.seqs == list(range(1, len(client.seqs) + 1))


async def test_nothing_follows_a_frame_that_was_given_up(tracked: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "LAST_WORDS", 0.2)
    async with following(tracked, receive_buffer=4096) as client:
        await client.until_ready()
        tracked.feed.publish(*[event(seq, data=LARGE) for seq in range(1, 201)])
        await trio.testing.wait_all_tasks_blocked(0.05)
        tracked.app.stopping.set()
        with trio.fail_after(5):
            await tracked.finished.wait()
        while await client.read():
            pass
        assert (client.frames, client.closed) == (["ready"], None)
        assert client.seqs == list(range(1, len(client.seqs) + 1))


async def test_one_who_does_not_read_is_cut_off_and_costs_the_others_nothing(
    tracked: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SEND_TIMEOUT", 1.0)
    number = 300
    async with following(tracked, receive_buffer=4096), following(tracked) as other:
        await tracked.feed.has(2)
        for seq in range(1, number + 1):
            tracked.feed.publish(event(seq, data=LARGE))
            await other.until(seq)
        assert other.seqs == list(range(1, number + 1))
        await tracked.feed.has(1)
        tracked.feed.publish(event(number + 1))
        await other.until(number + 1)


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        pytest.skip("this system lets a process have few files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_thousand_followers_of_one_account_get_every_event_once(
    many_files: None, start_tracker: StartTracker
) -> None:
    number, followers = 100, 1000
    clients: list[Client] = []
    at_once = trio.Semaphore(20)  # who has not begun yet has no time to wait for

    async def begin(port: int) -> None:
        async with at_once:
            await nursery.start(follow, port)

    async def follow(port: int, *, task_status: trio.TaskStatus[None]) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            client = Client(Wire(stream))
            await client.begin("account=1")
            await client.until_ready()
            clients.append(client)
            task_status.started()
            await client.until(number)

    async with start_tracker() as tracker:
        port = urlsplit(str(tracker.base_url)).port
        assert port
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as starting:
                for _ in range(followers):
                    starting.start_soon(begin, port)
            for put in range(number):
                assert (await tracker.put(f"/1?data={put}")).status_code == 202
    assert [client.seqs for client in clients] == [list(range(1, number + 1))] * followers
