"""`/events`, over a feed and a log that stand in for the real ones."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import h11
import httpx
import pytest
import structlog.testing
import trio
import trio.testing
import trio_websocket

from shared.errors import Refused
from shared.frames import Gap, Lagging
from shared.position import START, Position
from tests.integration import test_http_server
from tests.integration.stand_ins import EPOCH, Accounts, Feed, History, event
from tests.integration.test_http_server import UPGRADE, Server, Services, hard_close
from tests.integration.websockets import websocket
from tracker.http import app as app_module
from tracker.http import conversation, endings, limits, server, sessions
from tracker.http.app import create_app

KINDS = ["text/event-stream", "application/x-ndjson"]
STREAM = b"GET /events?%b HTTP/1.1\r\nHost: t\r\nAccept: %b\r\n\r\n"


class Tracker(Server):
    """A served application, and what it is served from."""

    feed: Feed
    history: History
    accounts: Accounts

    async def get(self, query: str, accept: str = "application/json", **headers: str) -> httpx.Response:
        url = f"http://127.0.0.1:{self.port}/events?{query}"
        async with httpx.AsyncClient() as client:
            return await client.get(url, headers={"Accept": accept, **headers})

    @asynccontextmanager
    async def stream(self, query: str, accept: str, **headers: str) -> AsyncIterator[Stream]:
        async with self.wire() as wire:
            stream = Stream(wire.stream)
            await stream.ask(query, accept, headers)
            yield stream

    @asynccontextmanager
    async def websocket(self, query: str) -> AsyncIterator[Socket]:
        async with websocket(f"ws://127.0.0.1:{self.port}/events?{query}") as client:
            yield Socket(client)


class Stream:
    """A client of a stream over HTTP. Frames are decoded; `ids` has what `id:` lines said."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.raw = b""
        self.ids: list[str] = []
        self.status = 0
        self.headers: dict[str, str] = {}
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT)

    async def ask(self, query: str, accept: str, headers: dict[str, str]) -> None:
        """Send the request; return when the head of the answer is there."""
        given = {"Host": "t", "Accept": accept, **headers}
        request = h11.Request(method="GET", target=f"/events?{query}", headers=list(given.items()))
        await self._stream.send_all(self._http.send(request) + self._http.send(h11.EndOfMessage()))
        response = await self._event()
        assert isinstance(response, h11.Response)
        self.status = response.status_code
        self.headers = {name.decode(): value.decode() for name, value in response.headers}

    async def chunk(self) -> bytes:
        """What comes next, nothing at the end of the body."""
        data = await self._event()
        if isinstance(data, h11.EndOfMessage):
            return b""
        assert isinstance(data, h11.Data)
        self.raw += data.data
        return bytes(data.data)

    async def _event(self) -> object:
        with trio.fail_after(20):
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(await self._stream.receive_some())
        return event

    async def frames(self, number: int) -> list[dict[str, Any]]:
        """The next frames."""
        found: list[dict[str, Any]] = []
        while len(found) < number:
            assert await self._take(found), f"the end, after {found}"
        assert len(found) == number
        return found

    async def rest(self) -> list[dict[str, Any]]:
        """What comes until the end."""
        found: list[dict[str, Any]] = []
        while await self._take(found):
            pass
        return found

    async def _take(self, found: list[dict[str, Any]]) -> bool:
        sse = self.headers["content-type"].startswith("text/event-stream")
        end = b"\n\n" if sse else b"\n"
        data = b""
        while not data.endswith(end):
            chunk = await self.chunk()
            if not chunk:
                assert data == b""
                return False
            data += chunk
        for block in data.decode().split(end.decode()):
            if not sse:
                found += [json.loads(block)] if block else []
                continue
            fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
            if "id" in fields:
                self.ids.append(fields["id"])
            if "data" in fields:
                frame = json.loads(fields["data"])
                assert fields.get("event") == frame.get("Frame")
                found.append(frame)
        return True


class Socket:
    """A client of a WebSocket."""

    def __init__(self, client: trio_websocket.WebSocketConnection) -> None:
        self.client = client
        self._waiting: list[dict[str, Any]] = []

    async def frames(self, number: int) -> list[dict[str, Any]]:
        while len(self._waiting) < number:
            with trio.fail_after(20):
                message = await self.client.get_message()
            self._waiting += [json.loads(line) for line in message.split("\n")]
        found, self._waiting = self._waiting[:number], self._waiting[number:]
        return found

    async def say(self, **wish: Any) -> None:
        await self.client.send_message(json.dumps(wish))

    async def closed(self) -> tuple[list[dict[str, Any]], int]:
        """The frames until the end, and its code."""
        found, self._waiting = self._waiting, []
        try:
            while True:
                with trio.fail_after(20):
                    message = await self.client.get_message()
                found += [json.loads(line) for line in message.split("\n")]
        except trio_websocket.ConnectionClosed as closed:
            return found, closed.reason.code


@asynccontextmanager
async def tracker(allow_origin: str = "", max_followers: int = 1000) -> AsyncIterator[Tracker]:
    services: Any = Services()
    feed, history, accounts = Feed(), History(), Accounts()
    app = create_app(
        services, accounts, services, services, [], feed, history,  # type: ignore[arg-type]
        max_data=64 * 1024, max_followers=max_followers, allow_origin=allow_origin,
    )  # fmt: skip
    async with test_http_server.serving(app, services, Tracker) as served:
        served.feed, served.history, served.accounts = feed, history, accounts
        yield served
        if not app.stopping.is_set():
            await served.well()
        await feed.has(0)
        await served.settled()
        assert app.places.taken == 0


@pytest.fixture
async def tracked() -> AsyncIterator[Tracker]:
    """A tracker, which has to be well after the test, and to have neither followers nor tasks left."""
    async with tracker() as served:
        yield served


# What flows


@pytest.mark.parametrize("accept", KINDS)
async def test_a_stream_over_http(tracked: Tracker, accept: str) -> None:
    async with tracked.stream("account=7&account=8", accept) as stream:
        assert stream.headers["content-type"].partition(";")[0] == accept
        assert "no-store" in stream.headers["cache-control"]
        assert stream.headers["x-accel-buffering"] == "no"
        assert await stream.frames(1) == [{"Frame": "ready", "Position": "start-0-0"}]
        tracked.feed.publish(event(1), event(2, 9), event(3, 8, b'{"a":[1.50,"\\n\xc3\xa4"]}'))
        got = await stream.frames(2)
        assert [(frame["ID"], frame["Seq"]) for frame in got] == [(7, 1), (8, 3)]
        assert event(3, 8, b'{"a":[1.50,"\\n\xc3\xa4"]}').line in stream.raw
        tracked.feed.publish(Gap(account_id=7, from_seq=2, to_seq=5, reason="trimmed"), Lagging(12))
        assert await stream.frames(2) == [
            {"Frame": "gap", "ID": 7, "FromSeq": 2, "ToSeq": 5, "Reason": "trimmed"},
            {"Frame": "lagging", "Behind": 12},
        ]
        if accept == "text/event-stream":
            assert stream.raw.startswith(b"retry: 2000\n\n")
            assert stream.ids == ["start-0-0", f"{EPOCH}-0-1", f"{EPOCH}-0-3"]


async def test_a_websocket_gets_frames_together(tracked: Tracker) -> None:
    async with tracked.websocket("account=7") as client:
        assert await client.frames(1) == [{"Frame": "ready", "Position": "start-0-0"}]
        tracked.feed.publish(*[event(number) for number in range(1, 4)])
        message = await client.client.get_message()
        assert message.encode() == b"\n".join(event(number).line for number in range(1, 4))


@pytest.mark.parametrize("accept", KINDS)
async def test_the_head_comes_before_the_first_frame(tracked: Tracker, accept: str) -> None:
    tracked.feed.gate = trio.Event()
    async with tracked.stream("account=7", accept) as stream:
        assert stream.status == 200
        tracked.feed.gate.set()
        assert (await stream.frames(1))[0]["Frame"] == "ready"


@pytest.mark.parametrize("accept", KINDS)
@pytest.mark.parametrize("away", [False, True])
async def test_a_quiet_stream_has_a_keepalive(
    tracked: Tracker, accept: str, away: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "KEEPALIVE", 0.05)
    if away:
        tracked.feed.gate = trio.Event()
    async with tracked.stream("account=7", accept) as stream:
        if not away:
            await stream.frames(1)
        chunks = [chunk for chunk in [await stream.chunk() for _ in range(3)] if not chunk.startswith(b"retry")]
        assert set(chunks) == {b":\n\n" if accept == "text/event-stream" else b"\n"}
        tracked.feed.gate.set()
        await tracked.feed.has(1)
        tracked.feed.publish(event(1))
        while b'"Seq":1}' not in stream.raw:
            await stream.chunk()


async def test_events_on_more_lines_than_one_come_on_one(tracked: Tracker) -> None:
    odd = event(1, data=b"[1,\r\n2]")
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(tracked.stream("account=7", accept)) for accept in KINDS]
        client = await stack.enter_async_context(tracked.websocket("account=7"))
        await tracked.feed.has(3)
        tracked.feed.publish(odd)
        for each in (*streams, client):
            assert (await each.frames(2))[1]["Data"] == [1, 2]


async def test_where_it_begins(tracked: Tracker) -> None:
    position = f"{EPOCH}-0-12"
    for query, headers, since in (
        ("since=all", {}, START),
        (f"since={position}", {}, Position(EPOCH, 0, 12)),
        ("since=2026-11-23T17:35:30Z", {}, datetime(2026, 11, 23, 17, 35, 30, tzinfo=UTC)),
        ("since=all", {"Last-Event-ID": position}, Position(EPOCH, 0, 12)),
        ("", {"Last-Event-ID": position}, Position(EPOCH, 0, 12)),
        ("", {"Last-Event-ID": ""}, None),
    ):
        async with tracked.stream(f"account=all&{query}", "text/event-stream", **headers) as stream:
            await stream.frames(1)
            assert [(follower.accounts, follower.since) for follower in tracked.feed.followers] == [(None, since)]
        await tracked.feed.has(0)
    async with tracked.stream("account=7&since=10m", "application/x-ndjson") as stream:
        await stream.frames(1)
        [follower] = tracked.feed.followers
        assert isinstance(follower.since, datetime)
        assert abs(datetime.now(UTC) - timedelta(minutes=10) - follower.since) < timedelta(seconds=20)


# Pages


async def test_a_page_holds_the_events_as_they_are(tracked: Tracker) -> None:
    tracked.history.events = [event(number, 7, b"1.0e0%d" % number) for number in range(1, 8)]
    tracked.history.gaps = [Gap(account_id=7, from_seq=1, to_seq=2, reason="trimmed")]
    answer = await tracked.get("account=7&limit=3")
    assert answer.headers["Content-Type"] == "application/json"
    lines = b",".join(found.line for found in tracked.history.events[:3])
    gap = b'{"Frame":"gap","ID":7,"FromSeq":1,"ToSeq":2,"Reason":"trimmed"}'
    assert answer.content == b'{"Events":[%b],"Gaps":[%b],"Position":"%b-0-3","Behind":4}' % (
        lines,
        gap,
        EPOCH.encode(),
    )
    seen = answer.json()["Events"]
    while "next" in answer.links:
        answer = await tracked.get(answer.links["next"]["url"].partition("?")[2])
        seen += answer.json()["Events"]
    assert [found["Seq"] for found in seen] == list(range(1, 8))
    assert answer.json()["Behind"] == 0


async def test_a_page_tells_the_whole_of_what_is_gone(tracked: Tracker) -> None:
    tracked.history.scans = 3
    answer = (await tracked.get("account=all")).json()
    assert [gap["ID"] for gap in answer["Gaps"]] == [3, 2, 1]


async def test_a_page_is_the_default(tracked: Tracker) -> None:
    for accept in ("*/*", "application/json", "text/html, */*;q=0.1"):
        assert (await tracked.get("account=all", accept)).json()["Events"] == []
    async with tracked.wire() as wire:
        answer = await wire.ask(b"GET /events?account=7 HTTP/1.1\r\nHost: t\r\n\r\n")
        assert answer.body == b'{"Events":[],"Gaps":[],"Position":"%b-0-0","Behind":0}' % EPOCH.encode()


async def test_a_page_about_a_great_many_accounts_has_no_link_that_no_proxy_would_pass_on(tracked: Tracker) -> None:
    tracked.history.events = [event(1), event(2)]
    query = "&".join(f"account={account}" for account in range(1, 1001))
    answer = await tracked.get(f"{query}&limit=1")
    assert answer.json()["Behind"] == 1
    assert "Link" not in answer.headers


async def test_head_tells_of_a_stream_and_does_not_begin_it(tracked: Tracker) -> None:
    async with tracked.wire() as wire:
        for accept in (*KINDS, "application/json"):
            await wire.send(b"HEAD /events?account=7 HTTP/1.1\r\nHost: t\r\nAccept: %b\r\n\r\n" % accept.encode())
            answer = await wire.answer(body=False)
            assert answer.status == 200
            assert answer.headers["content-type"].partition(";")[0] == accept
            await wire.send(b"HEAD /events HTTP/1.1\r\nHost: t\r\nAccept: %b\r\n\r\n" % accept.encode())
            assert (await wire.answer(body=False)).status == 400


# Accounts


async def test_accounts_that_do_not_exist(tracked: Tracker) -> None:
    errors = [
        {"Frame": "error", "ID": account, "Detail": f"There is no account {account}."} for account in (2001, 2**40)
    ]
    query = f"account=7&account={2**40}&account=2001"
    for accept in KINDS:
        async with tracked.stream(query, accept) as stream:
            assert (await stream.frames(3))[:2] == errors
            assert [follower.accounts for follower in tracked.feed.followers] == [{7}]
        await tracked.feed.has(0)
    async with tracked.websocket(query) as client:
        assert (await client.frames(3))[:2] == errors
    assert (await tracked.get(query)).json()["Errors"] == errors
    assert all(len(asked) == 3 for asked in tracked.accounts.asked)
    for accept in (*KINDS, "application/json"):
        answer = await tracked.get("account=2001&account=2002", accept)
        assert (answer.status_code, answer.json()["detail"]) == (404, "There is no account 2001.")


async def test_accounts_are_followed_unseen_while_the_database_is_away(tracked: Tracker) -> None:
    tracked.accounts.away = True
    async with tracked.websocket("account=7&account=2001") as client:
        assert await client.frames(1) == [{"Frame": "ready", "Position": "start-0-0"}]
        assert [follower.accounts for follower in tracked.feed.followers] == [{7, 2001}]
    assert (await tracked.get("account=2001")).status_code == 200


# Refusals

BAD = {
    "": "no account",
    "account=": "no account ID",
    "account=0": "no account ID",
    "account=7&account=x": "no account ID",
    "account=%D9%A1": "no account ID",
    "account=%FF": "percent-encoded",
    "account=7&account=all": "account=all",
    "account=ALL": "no account ID",
    "account=7&since=": "since",
    "account=7&since=now": "since",
    "account=7&since=-5m": "since",
    "account=7&since=2026-13-01T00:00:00Z": "since",
    "account=7&since=2026-01-01": "since",
    "account=7&since=abc-0-1": "since",
    "account=7&since=1m&since=2m": "2 times",
    "account=7&limit=10&limit=10": "2 times",
    "account=7&Account=8&x=1": "'Account', 'x'",
    "&".join(["account=7"] * 1001): "at most 1000 accounts",
    "&".join(["account=7"] * 10_000): "at most 1000 accounts",
    "&" * 20_000: "at most 1000 accounts",
}


@pytest.mark.parametrize("query", BAD, ids=range(len(BAD)))
async def test_bad_questions_are_refused_on_every_way(tracked: Tracker, query: str) -> None:
    async with tracked.wire() as wire:
        for accept in (*KINDS, "application/json"):
            answer = await wire.ask(STREAM % (query.encode(), accept.encode()))
            assert answer.status == 400
            assert BAD[query] in answer.problem["detail"]
    if query:
        async with tracked.wire() as wire:
            refused = await wire.ask(UPGRADE % f"/events?{query}".encode())
            assert refused.status == 400
            assert BAD[query] in refused.problem["detail"]
    assert tracked.accounts.asked == []


async def test_refusals_of_one_way(tracked: Tracker) -> None:
    for limit in ("0", "1001", "x", "-1", "", "1.0", "9" * 5000, "%D9%A1"):
        assert (await tracked.get(f"account=7&limit={limit}")).status_code == 400
    for accept in KINDS:
        assert "limit" in (await tracked.get("account=7&limit=10", accept)).json()["detail"]
    for bad in ("now", "all", "10m", f"{EPOCH}-1-1", f"{EPOCH}-0-1x", "9" * 5000):
        answer = await tracked.get("account=7&since=all", "text/event-stream", **{"Last-Event-ID": bad})
        assert (answer.status_code, "no Position" in answer.json()["detail"]) == (400, True)
    answer = await tracked.get("account=7", "text/html")
    assert (answer.status_code, answer.json()["title"]) == (406, "Not Acceptable")
    async with tracked.wire() as wire:
        refused = await wire.ask(UPGRADE % b"/events?account=2001")
        assert (refused.status, refused.problem["title"]) == (404, "Not Found")


# What a WebSocket's client may say


async def test_following_changes(tracked: Tracker) -> None:
    async with tracked.websocket("") as client:
        assert await client.frames(1) == [{"Frame": "ready", "Position": "start-0-0"}]
        [follower] = tracked.feed.followers
        await client.say(Follow=[4, 5, 2001])
        assert sorted(await client.frames(2), key=lambda frame: frame["Frame"]) == [
            {"Frame": "error", "ID": 2001, "Detail": "There is no account 2001."},
            {"Frame": "ready", "Position": "start-0-0"},
        ]
        assert follower.accounts == {4, 5}
        await client.say(Unfollow=[4, 9], Follow=[6])
        await client.frames(1)
        assert follower.accounts == {5, 6}
        tracked.feed.publish(event(1, 4), event(2, 5), event(3, 6))
        assert [frame["Seq"] for frame in await client.frames(2)] == [2, 3]


NO_WISH = {
    "": "Not understood",
    "hello": "Not understood",
    "{}": "no account in it",
    "[]": "Not understood",
    '{"Follow":[]}': "no account in it",
    '{"Follow":[0]}': "0 is no account ID",
    '{"Unfollow":[-1]}': "-1 is no account ID",
    '{"Follow":["4"]}': "Not understood",
    '{"Follow":"all"}': "Not understood",
    '{"Follow":[4],"Data":"x"}': "Not understood",
    '{"Follow":[4]}{"Follow":[5]}': "Not understood",
    "[" * 50_000: "Not understood",
    '{"Follow":[4.5]}': "Not understood",
    '{"Follow":[true]}': "Not understood",
    "\U0001f600": "Not understood",
    json.dumps({"Follow": list(range(1, 1001))}): "1001 accounts",
}


async def test_what_is_not_understood_is_said_and_the_stream_goes_on(
    tracked: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "PACE", 0.0)
    async with tracked.websocket("account=2000") as client:
        await client.frames(1)
        for message, said in NO_WISH.items():
            await client.client.send_message(message)
            [error] = await client.frames(1)
            assert (error["Frame"], set(error)) == ("error", {"Frame", "Detail"})
            assert said in error["Detail"]
        for binary in (b"x", b"", b'{"Follow":[4]}'):
            await client.client.send_message(binary)
            [error] = await client.frames(1)
            assert "binary" in error["Detail"]
        await client.say(Follow=[10**30])
        assert {"error", "ready"} >= {frame["Frame"] for frame in await client.frames(1)}
        tracked.feed.publish(event(1, 2000))
        while (await client.frames(1))[0].get("Seq") != 1:
            pass
        assert [follower.accounts for follower in tracked.feed.followers] == [{2000}]
    async with tracked.websocket("account=all") as client:
        await client.frames(1)
        await client.say(Follow=[4])
        [error] = await client.frames(1)
        assert "all accounts" in error["Detail"]


async def test_a_flood_of_messages_is_taken_slowly(tracked: Tracker) -> None:
    async with tracked.websocket("account=7") as flood, tracked.websocket("account=7") as other:
        await flood.frames(1)
        await other.frames(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(say_often, flood)
            with trio.move_on_after(1.0):
                while True:
                    tracked.feed.publish(event(1))
                    await other.frames(1)
            nursery.cancel_scope.cancel()
        assert 20 <= len(tracked.accounts.asked) <= 40


async def say_often(client: Socket) -> None:
    number = 0
    while True:
        number += 1
        await client.say(Follow=[8 + number % 1000])
        await trio.sleep(0.002)


async def test_a_message_that_is_too_large_ends_the_websocket(tracked: Tracker) -> None:
    for whole in (True, False):
        async with tracked.websocket("account=7") as client:
            await client.frames(1)
            if whole:
                await client.client.send_message("x" * (server.MAX_MESSAGE + 1))
                assert await client.closed() == ([], 1009)
    # One who does not answer the close is gone all the same.
    async with tracked.wire() as wire:
        assert (await wire.ask(UPGRADE % b"/events?account=7")).status == 101
        await tracked.feed.has(1)
        await wire.send(b"\x81\xff" + (server.MAX_MESSAGE + 1).to_bytes(8, "big") + bytes(4) + b"x" * 70_000)
        await tracked.feed.has(0)


async def test_no_websocket_is_compressed(tracked: Tracker) -> None:
    async with tracked.wire() as wire:
        offer = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
        answer = await wire.ask((UPGRADE % b"/events?account=7")[:-2] + offer)
        assert answer.status == 101
        assert "sec-websocket-extensions" not in answer.headers


# Whose pages


def upgrade(query: str = "account=7", **headers: str) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return (UPGRADE % f"/events?{query}".encode())[:-2] + lines.encode() + b"\r\n"


@pytest.mark.parametrize("origin", ["http://t", "https://t", "http://T:80"])
async def test_pages_of_the_same_host_may_follow(tracked: Tracker, origin: str) -> None:
    async with tracked.wire() as wire:
        assert (await wire.ask(upgrade(Origin=origin))).status == 101
    async with tracked.stream("account=7", "text/event-stream", Origin=origin) as stream:
        assert stream.status == 200
        assert "access-control-allow-origin" not in stream.headers


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://t:8080", "garbage", "", "http://t/x"])
async def test_pages_of_other_hosts_may_not(tracked: Tracker, origin: str) -> None:
    async with tracked.wire() as wire:
        for accept in (*KINDS, "application/json"):
            request = STREAM % (b"account=7", accept.encode())
            answer = await wire.ask(request[:-2] + f"Origin: {origin}\r\n\r\n".encode())
            assert (answer.status, answer.problem["title"]) == (403, "Forbidden")
            assert "access-control-allow-origin" not in answer.headers
        answer = await wire.ask(upgrade(Origin=origin))
        assert (answer.status, answer.problem["title"]) == (403, "Forbidden")


async def test_pages_that_are_allowed_may_read_the_answers() -> None:
    page = "https://app.example"
    async with tracker(allow_origin=f"{page}, http://localhost:3000") as served:
        for accept in KINDS:
            async with served.stream("account=7", accept, Origin=page) as stream:
                assert stream.headers["access-control-allow-origin"] == page
                assert stream.headers["vary"] == "Origin"
        for query in ("account=7", "account=x"):
            answer = await served.get(query, Origin=page)
            assert answer.headers["Access-Control-Allow-Origin"] == page
        assert (await served.get("account=7")).headers["Vary"] == "Origin"
        answer = await served.get("account=7", Origin="null")
        assert (answer.status_code, "Access-Control-Allow-Origin" in answer.headers) == (403, False)
        async with served.wire() as wire:
            assert (await wire.ask(upgrade(Origin=page))).status == 101
        async with served.wire() as wire:
            await wire.send(f"OPTIONS /events HTTP/1.1\r\nHost: t\r\nOrigin: {page}\r\n\r\n".encode())
            answer = await wire.answer()
            assert answer.headers["access-control-allow-headers"] == "Last-Event-ID"
    async with tracker(allow_origin="*") as served:
        for origin in ("null", "http://evil.example"):
            assert (await served.get("account=7", Origin=origin)).headers["Access-Control-Allow-Origin"] == origin


# Ends


@pytest.mark.parametrize("accept", KINDS)
async def test_streams_end_when_the_tracker_stops(tracked: Tracker, accept: str) -> None:
    async with tracked.stream("account=7", accept) as stream, tracked.stream("account=7", accept) as waiting:
        await stream.frames(1)
        tracked.feed.publish(event(1))
        tracked.app.stopping.set()
        assert [frame.get("Frame", frame.get("Seq")) for frame in await stream.rest()] == [1, "bye"]
        assert (await waiting.rest())[-1] == {"Frame": "bye", "Reason": "shutdown", "Retry": True}
    with trio.fail_after(5):
        await tracked.finished.wait()


async def test_a_websocket_is_told_why_when_the_tracker_stops(tracked: Tracker) -> None:
    tracked.feed.gate = trio.Event()
    async with tracked.websocket("account=8") as waiting:
        tracked.feed.gate.set()
        async with tracked.websocket("account=7") as client:
            await client.frames(1)
            tracked.app.stopping.set()
            assert await client.closed() == ([{"Frame": "bye", "Reason": "shutdown", "Retry": True}], 1001)
        assert (await waiting.closed())[1] == 1001


async def test_stopping_does_not_wait_for_followers_that_do_not_read(
    tracked: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (endings, sessions, test_http_server.server, app_module):
        monkeypatch.setattr(module, "LAST_WORDS", 0.2, raising=False)
    async with AsyncExitStack() as stack:
        for request in (*[STREAM % (b"account=7", accept.encode()) for accept in KINDS], upgrade()):
            wire = await stack.enter_async_context(tracked.wire(receive_buffer=4096))
            await wire.send(request)
        await tracked.feed.has(3)
        tracked.feed.publish(*[event(number, data=b'"%b"' % (b"x" * 60_000)) for number in range(200)])
        await tracked.well()
        tracked.app.stopping.set()
        with trio.fail_after(5):
            await tracked.finished.wait()


@pytest.mark.parametrize("accept", KINDS)
@pytest.mark.parametrize("when", ["entering", "following"])
async def test_a_fault_ends_one_stream_and_is_logged(tracked: Tracker, accept: str, when: str) -> None:
    with structlog.testing.capture_logs() as logged:
        if when == "entering":
            tracked.feed.fault = ZeroDivisionError("hidden")
        async with tracked.stream("account=7", accept) as stream:
            if when == "following":
                await stream.frames(1)
                break_down(tracked)
            assert await stream.rest() == [{"Frame": "bye", "Reason": "fault", "Retry": True}]
            assert b"hidden" not in stream.raw
    assert [entry["event"] for entry in logged if entry["log_level"] == "error"] == ["stream failed"]


async def test_a_fault_ends_a_websocket(tracked: Tracker) -> None:
    with structlog.testing.capture_logs() as logged:
        async with tracked.websocket("account=7") as client:
            await client.frames(1)
            break_down(tracked)
            assert await client.closed() == ([{"Frame": "bye", "Reason": "fault", "Retry": True}], 1011)
    assert [entry["event"] for entry in logged if entry["log_level"] == "error"] == ["request failed"]


def break_down(tracked: Tracker) -> None:
    frame: Any = object()
    for follower in tracked.feed.followers:
        follower.put(frame)


async def test_what_the_feed_refuses(tracked: Tracker) -> None:
    tracked.feed.fault = Refused("no such place")
    for accept in KINDS:
        async with tracked.stream("account=7", accept) as stream:
            assert await stream.rest() == [
                {"Frame": "error", "Detail": "no such place"},
                {"Frame": "bye", "Reason": "refused", "Retry": False},
            ]
    async with tracked.websocket("account=7") as client:
        assert await client.closed() == ([{"Frame": "bye", "Reason": "refused", "Retry": False}], 1008)


async def test_there_is_a_bound_for_followers() -> None:
    async with tracker(max_followers=2) as served:
        async with served.websocket("account=7") as first, served.stream("account=7", KINDS[0]) as second:
            await first.frames(1)
            await second.frames(1)
            for accept in KINDS:
                answer = await served.get("account=7", accept)
                assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
                assert answer.headers["Content-Type"] == "application/problem+json"
            assert (await served.get("account=7")).status_code == 200
            async with served.websocket("account=7") as refused:
                assert await refused.closed() == ([{"Frame": "bye", "Reason": "overloaded", "Retry": True}], 1013)
        await served.feed.has(0)
        async with served.websocket("account=7") as client:
            await client.frames(1)


# Clients that leave, stall or break


@pytest.mark.parametrize("request_", [*[STREAM % (b"account=7", a.encode()) for a in KINDS], upgrade()], ids=range(3))
@pytest.mark.parametrize("how", ["reset", "end", "half", "away"])
async def test_a_client_that_leaves_leaves_no_follower(
    tracked: Tracker, request_: bytes, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SEND_TIMEOUT", 3.0)
    if how == "away":
        tracked.feed.gate = trio.Event()
    async with tracked.wire() as wire:
        await wire.send(request_)
        if how == "away":
            await trio.testing.wait_all_tasks_blocked(0.05)
            tracked.feed.gate.set()
        await tracked.feed.has(1)
        if how == "reset":
            hard_close(wire.stream)
        elif how == "half":
            await wire.stream.send_eof()
            await tracked.feed.has(0)
            await wire.ended()
    await tracked.feed.has(0)


MASK = bytes(4)
NO_WEBSOCKET = {
    "random": random.Random(1).randbytes(4000),
    "no-mask": b"\x81\x05hello",
    "reserved-opcode": b"\x83\x80" + MASK,
    "reserved-bit": b"\xc1\x80" + MASK,
    "fragmented-ping": b"\x09\x80" + MASK,
    "long-ping": b"\x89\xfe\x00\x7e" + MASK + b"x" * 126,
    "continues-nothing": b"\x80\x81" + MASK + b"x",
    "no-utf-8": b"\x81\x82" + MASK + b"\xff\xfe",
    "half-a-character": b"\x01\x81" + MASK + b"\xc3" + b"\x80\x81" + MASK + b"x",
    "close-1": b"\x88\x81" + MASK + b"x",
    "close-with-no-code": b"\x88\x82" + MASK + b"\x00\x01",
    "close-twice": (b"\x88\x82" + MASK + b"\x03\xe8") * 2,
    "close-and-more": b"\x88\x80" + MASK + b"\x81\x81" + MASK + b"x",
    "length-of-2-to-63": b"\x81\xff\x7f" + b"\xff" * 7 + MASK + b"x" * 70_000,
}


@pytest.mark.parametrize("sent", NO_WEBSOCKET.values(), ids=NO_WEBSOCKET)
async def test_bytes_that_are_no_websocket_end_that_one_alone(tracked: Tracker, sent: bytes) -> None:
    with structlog.testing.capture_logs() as logged:
        async with tracked.websocket("account=7") as other:
            await other.frames(1)
            async with tracked.wire() as wire:
                assert (await wire.ask(upgrade())).status == 101
                await tracked.feed.has(2)
                await wire.send(sent)
                await tracked.feed.has(1)
                await wire.ended()
            tracked.feed.publish(event(1))
            assert [frame["Seq"] for frame in await other.frames(1)] == [1]
    assert [entry for entry in logged if entry["log_level"] != "debug"] == []


async def test_a_flood_ends_with_its_client(tracked: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PING_EVERY", 0.05)
    async with tracker() as served:
        for how in ("reset", "end"):
            async with served.wire() as wire:
                assert (await wire.ask(upgrade())).status == 101
                await served.feed.has(1)
                message = b'{"Follow":[4]}'
                await wire.send((b"\x81" + bytes([0x80 | len(message)]) + MASK + message) * 3000)
                if how == "reset":
                    hard_close(wire.stream)
            await served.feed.has(0)


async def test_a_client_whose_connection_is_stuck_is_noticed_by_the_next_write(
    tracked: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "KEEPALIVE", 0.05)
    for accept in KINDS:
        async with tracked.wire() as wire:
            # What came early is not read while the stream lasts, and so is not the end behind it.
            await wire.send(STREAM % (b"account=7", accept.encode()) + test_http_server.GOOD * 5000)
            await tracked.feed.has(1)
        await tracked.feed.has(0)


async def test_a_client_that_the_network_lost_is_given_up(tracked: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(socket, "TCP_USER_TIMEOUT"):
        pytest.skip("this system has no TCP_USER_TIMEOUT")
    # One that no longer takes anything looks the same to the system, as far as that goes.
    monkeypatch.setattr(limits, "VANISHED", 0.5)
    async with tracked.wire(receive_buffer=4096) as wire:
        await wire.send(STREAM % (b"account=7", b"application/x-ndjson"))
        await tracked.feed.has(1)
        tracked.feed.publish(*[event(number, data=b'"%b"' % (b"x" * 60_000)) for number in range(200)])
        await tracked.feed.has(0)


async def test_no_follower_delays_another(tracked: Tracker) -> None:
    number = 300
    large = b'"%b"' % (b"x" * 60_000)
    done: list[list[int]] = []

    async def read(kind: int) -> None:
        seqs: list[int] = []
        if kind == 2:
            async with tracked.websocket("account=7") as client:
                while len(seqs) < number:
                    seqs += [frame["Seq"] for frame in await client.frames(1) if "Seq" in frame]
        else:
            async with tracked.stream("account=7", KINDS[kind]) as stream:
                while len(seqs) < number:
                    found: list[dict[str, Any]] = []
                    await stream._take(found)
                    seqs += [frame["Seq"] for frame in found if "Seq" in frame]
        done.append(seqs)

    with trio.fail_after(90):
        async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
            for place in range(20):
                wire = await stack.enter_async_context(tracked.wire(receive_buffer=4096))
                request = upgrade("account=8") if place % 3 == 2 else STREAM % (b"account=8", KINDS[place % 3].encode())
                await wire.send(request)
            for place in range(180):
                nursery.start_soon(read, place % 3)
            await tracked.feed.has(200)
            for seq in range(1, number + 1):
                tracked.feed.publish(event(seq), event(seq, 8, large))
                if seq % 10 == 0:
                    await trio.sleep(0.01)
            while len(done) < 180:
                await trio.sleep(0.05)
            assert all(follower.waiting for follower in tracked.feed.followers if follower.accounts == {8})
    assert done == [list(range(1, number + 1))] * 180
