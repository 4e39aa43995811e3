"""The lane for `PUT /<id>` and the route behind hypercorn: nothing may tell the two apart but speed.

Each conversation is held with a server that has the lane and with one that has not. After what it sends comes one more
request, the last one, so an answer to that shows that the connection was open still.
"""

from __future__ import annotations

import string
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import hypothesis
import pytest
import structlog.testing
import trio
import trio.testing
from hypothesis import strategies

from shared.appending import Appended
from shared.errors import AccountNotActive, Misconfigured, NoSuchAccount, OutcomeUnknown, Unavailable
from tests.integration.test_http_server import Answer, Services, Wire
from tracker.http import lane, limits, server
from tracker.http.app import TrackerApp, create_app

MAX_DATA = 100
LAST = b"PUT /7?data=last HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
HEADERS = ("content-type", "content-length", "event-position", "retry-after", "allow", "connection", "date")

Parts = tuple[bytes, ...]


class Events(Services):
    """Takes events for accounts up to 7; others each have a fault of their own."""

    faults: ClassVar[dict[int, Exception]] = {
        9: AccountNotActive(9),
        10: Unavailable("log", "away"),
        11: OutcomeUnknown("log", "no answer"),
        12: ZeroDivisionError("hidden"),
        13: ExceptionGroup("one", [Unavailable("log", "away")]),
        14: ExceptionGroup("mixed", [Unavailable("log", "away"), ZeroDivisionError("hidden")]),
        15: Misconfigured("hidden"),
    }

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[tuple[int, bytes, str]] = []

    async def accept(self, account: int, data: bytes, key: str = "") -> Appended:
        await trio.lowlevel.checkpoint()
        if account > 7:
            raise self.faults.get(account, NoSuchAccount(account))
        self.taken.append((account, data, key))
        return Appended(f"e-0-{len(self.taken)}", len(self.taken))


class Side:
    """One of the two servers."""

    def __init__(self, lane: bool) -> None:
        self.lane = lane
        self.services = Events()
        anything: Any = self.services
        self.app: TrackerApp = create_app(
            anything, anything, anything, anything, [], anything, anything, max_data=MAX_DATA, max_followers=10
        )
        self.port = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        self.app.stopping = trio.Event()
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as nursery:

            async def serve(*, task_status: trio.TaskStatus[None]) -> None:
                await server.serve(self.app, listeners, lane=self.lane, task_status=task_status)

            await nursery.start(serve)
            yield
            self.app.stopping.set()

    async def hear(self, parts: Parts) -> tuple[list[Answer], list[tuple[int, bytes, str]]]:
        """What is answered to these bytes, each part sent when all is quiet after the one before; and the events."""
        self.services.taken.clear()
        async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
            for part in (*parts, LAST):
                await stream.send_all(part)
                if part is not LAST:
                    await trio.testing.wait_all_tasks_blocked()
            await stream.send_eof()
            said = await Wire(stream).ended()
        return answers(said), list(self.services.taken)


def answers(said: bytes) -> list[Answer]:
    """Taken apart, with the headers that matter. Dates are there or not."""
    result = []
    while said:
        head, _, said = said.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        assert len(headers) == len(lines)
        length = int(headers.get("content-length", 0))
        status = int(first.removeprefix("HTTP/1.1 ")[:3])
        assert first.removeprefix(f"HTTP/1.1 {status} ").strip(), "no reason"
        headers["date"] = "there" if "date" in headers else ""
        result.append(Answer(status, {name: headers.get(name, "") for name in HEADERS}, said[:length]))
        said = said[length:]
    return result


@pytest.fixture(scope="module")
def sides() -> tuple[Side, Side]:
    return Side(lane=True), Side(lane=False)


def put(target: bytes = b"/7?data=x", *fields: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    lines = [b"PUT %b HTTP/%b" % (target, version), b"Host: t", *fields]
    return b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def sized(body: bytes, *fields: bytes, target: bytes = b"/7") -> bytes:
    return put(target, b"Content-Length: %d" % len(body), *fields, body=body)


JSON = b"Content-Type: application/json"
CHUNKED = b"Transfer-Encoding: chunked"
EXPECT = b"Expect: 100-continue"
KEY = b"Idempotency-Key: k"

IN_LANE: dict[str, Parts] = {
    "query": (put(),),
    "query-escaped": (put(b"/7?data=%22%C3%A4+%26&other=1"),),
    "query-odd": (put(b"/7?;&&=&data=x&?/#%zz"),),
    "query-twice": (put(b"/7?data=x&data=y"),),
    "query-empty": (put(b"/7?data="),),
    "query-other": (put(b"/7?date=x"),),
    "query-mark-only": (put(b"/7?"),),
    "query-not-utf-8": (put(b"/7?data=%FF"),),
    "query-nul": (put(b"/7?data=%00"),),
    "query-too-large": (put(b"/7?data=" + b"a" * 99),),
    "query-just-fits": (put(b"/7?data=" + b"a" * 98),),
    "query-long": (put(b"/7?a=%b&data=x" % (b"a" * 100_000)),),
    "nothing": (put(b"/7"),),
    "zero": (put(b"/0?data=x"),),
    "zeros": (put(b"/007?data=x"),),
    "no-account": (put(b"/8?data=x"),),
    "not-active": (put(b"/9?data=x"),),
    "unavailable": (put(b"/10?data=x"),),
    "unknown": (put(b"/11?data=x"),),
    "fault": (put(b"/12?data=x"),),
    "fault-group-of-one": (put(b"/13?data=x"),),
    "fault-group-mixed": (put(b"/14?data=x"),),
    "fault-not-for-clients": (put(b"/15?data=x"),),
    "huge-id": (put(b"/%b?data=x" % (b"9" * 400)),),
    "body-text": (sized(b"abc", b"Content-Type: text/plain; charset=utf-8"),),
    "body-no-type": (sized(b"abc"),),
    "body-json": (sized(b' {"a": [1, 2.50]} ', JSON),),
    "body-bad-json": (sized(b"{", JSON),),
    "body-of-no-type-known": (sized(b"abc", b"Content-Type: text/html"),),
    "body-type-of-no-ascii": (sized(b"abc", b"Content-Type: \xe9"),),
    "body-type-empty": (sized(b"abc", b"Content-Type:"),),
    "body-type-spaces": (sized(b"1", b"Content-Type: \t application/json \t "),),
    "body-not-utf-8": (sized(b"\xff"),),
    "body-empty": (sized(b""),),
    "body-and-query": (sized(b"abc", target=b"/7?data=x"),),
    "body-too-large-as-json": (sized(b'"' * 60),),
    "body-spaces": (sized(b" " * 400, JSON),),
    "body-looks-like-a-request": (sized(put()),),
    "body-in-parts": (sized(b"abcdef")[:-4], b"cd", b"ef"),
    "body-with-the-next-request": (sized(b"abcdef")[:-4], b"cdef" + put(b"/6?data=y")),
    "head-in-parts": (put()[:1], put()[1:5], put()[5:9], put()[9:30], put()[30:-1], put()[-1:]),
    "length-with-zeros": (put(b"/7", b"Content-Length: 0003", body=b"abc"),),
    "length-with-spaces": (put(b"/7", b"Content-Length: \t3 \t", body=b"abc"),),
    "names-in-any-case": (
        put(b"/7", b"CONTENT-LENGTH: 3", b"cOnTeNt-TyPe: application/json", b"IDEMPOTENCY-KEY: k", body=b"123"),
    ),
    "key": (put(b"/7?data=x", KEY),),
    "key-spaces": (put(b"/7?data=x", b"Idempotency-Key: \t k k \t"),),
    "key-empty": (put(b"/7?data=x", b"Idempotency-Key:"),),
    "key-long": (put(b"/7?data=x", b"Idempotency-Key: " + b"k" * 256),),
    "key-of-no-ascii": (put(b"/7?data=x", b"Idempotency-Key: \xe9"),),
    "keep-alive": (put(b"/7?data=x", b"Connection: keep-alive"),),
    "connection-unknown": (put(b"/7?data=x", b"Connection: te, x"),),
    "close": (put(b"/7?data=x", b"Connection: close"),),
    "close-in-any-case": (put(b"/7?data=x", b"CONNECTION: CLOSE"),),
    "close-in-a-list": (put(b"/7?data=x", b"Connection: keep-alive ,close"),),
    "close-with-a-refusal": (put(b"/8?data=x", b"Connection: close"),),
    "connection-upgrade-to-nothing": (put(b"/7?data=x", b"Connection: upgrade"),),
    "expect": (sized(b"", EXPECT).replace(b": 0", b": 3"), b"abc"),
    "expect-and-did-not-wait": (sized(b"abc", EXPECT),),
    "expect-and-did-not-quite-wait": (sized(b"abc", EXPECT)[:-1], b"c"),
    "expect-in-any-case": (sized(b"", b"expect: 100-Continue").replace(b": 0", b": 3"), b"abc"),
    "expect-without-body": (put(b"/7?data=x", EXPECT),),
    "expect-empty-body": (sized(b"", EXPECT, target=b"/7?data=x"),),
    "expect-something-else": (sized(b"abc", b"Expect: magic"),),
    "expect-and-be-refused": (put(b"/8", b"Content-Length: 3", EXPECT), b"abc"),
    "expect-in-parts": (put(b"/7", b"Content-Length: 3", EXPECT)[:-2], b"\r\n", b"a", b"bc"),
    "pipelined": (put() * 20,),
    "pipelined-bodies": (sized(b"abc") + sized(b"", target=b"/7?data=y") + sized(b"1", JSON),),
    "pipelined-refusals": ((put(b"/8?data=x") + put()) * 5,),
    "pipelined-after-close": (put(b"/7?data=x", b"Connection: close") + put(),),
    "host-empty": (put().replace(b"Host: t", b"Host:"),),
    "host-odd": (put().replace(b"Host: t", b"Host: [::1"),),
    "value-obs-text": (put(b"/7?data=x", b"A: \xe9\x80\xff"),),
    "value-tab": (put(b"/7?data=x", b"A: a\tb"),),
    "value-none": (put(b"/7?data=x", b"A:"),),
    "name-odd": (put(b"/7?data=x", b"!#$%&'*+-.^_`|~0: a"),),
    "fields-100": (put(b"/7?data=x", *[b"A: a"] * 99),),
    "te": (put(b"/7?data=x", b"TE: trailers"),),
    "method-override": (put(b"/7?data=x", b"X-HTTP-Method-Override: GET"),),
    "remote-addr": (put(b"/7?data=x", b"Remote-Addr: 1.2.3.4", b"Forwarded: for=x", b"X-Forwarded-For: y"),),
    "half-closed-in-a-body": (put(b"/7", b"Content-Length: 300"),),
}

HANDED_ON: dict[str, Parts] = {
    "none": (),
    "get": (b"GET /livez HTTP/1.1\r\nHost: t\r\n\r\n",),
    "get-then-put": (b"GET /livez HTTP/1.1\r\nHost: t\r\n\r\n" + put(),),
    "put-then-get": (put() + b"GET /livez HTTP/1.1\r\nHost: t\r\n\r\n" + put(),),
    "put-then-half-a-get": (put() + b"GET /li", b"vez HTTP/1.1\r\nHost: t\r\n\r\n" + put()),
    "head": (b"HEAD /8 HTTP/1.0\r\n\r\n",),
    "put-no-id": (put(b"/abc?data=x"),),
    "put-id-and-more": (put(b"/7a?data=x"),),
    "put-slash-behind": (put(b"/7/?data=x"),),
    "put-root": (put(b"/?data=x"),),
    "put-livez": (put(b"/livez"),),
    "put-escaped-digit": (put(b"/%37?data=x"),),
    "put-escaped-query": (put(b"/7%3Fdata=x"),),
    "put-fragment": (put(b"/7#data"),),
    "put-digits-of-elsewhere": (put(b"/%D9%A1?data=x"),),
    "put-absolute": (put(b"http://t/7?data=x"),),
    "put-star": (put(b"*"),),
    "put-longest-id": (put(b"/%b?data=x" % (b"9" * 401)),),
    "put-in-lower-case": (put().lower(),),
    "put-two-spaces": (put().replace(b"PUT ", b"PUT  "),),
    "put-tab": (put().replace(b"PUT ", b"PUT\t"),),
    "put-space-in-query": (put(b"/7?data=x y"),),
    "put-query-not-ascii": (put(b"/7?data=\xe4"),),
    "put-query-nul": (put(b"/7?data=\x00"),),
    "space-behind-version": (put(version=b"1.1 "),),
    "http-1.0": (put(version=b"1.0"),),
    "http-1.0-keep-alive": (put(b"/7?data=x", b"Connection: keep-alive", version=b"1.0"),),
    "http-1.0-chunked": (put(b"/7", CHUNKED, version=b"1.0", body=b"1\r\na\r\n0\r\n\r\n"),),
    "http-1.2": (put(version=b"1.2"),),
    "http-2.0": (put(version=b"2.0"),),
    "http-in-lower-case": (put().replace(b"HTTP", b"http"),),
    "preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",),
    "empty-line-first": (b"\r\n" + put(),),
    "empty-line-between": (put() + b"\r\n" + put(),),
    "body-longer-than-said": (put(b"/7", b"Content-Length: 3", body=b"abcd"),),
    "body-shorter-than-said": (put(b"/7", b"Content-Length: 300", body=b"abc"), put() * 5),
    "chunked": (put(b"/7", CHUNKED, body=b"3\r\nabc\r\n0\r\n\r\n"),),
    "chunked-with-all-there-is": (put(b"/7", CHUNKED, body=b"3;a=b\r\na\rb\r\n1\r\n\n\r\n0\r\nA: b\r\nC: d\r\n\r\n"),),
    "chunked-in-parts": (put(b"/7", CHUNKED, body=b"3;a"), b"\r", b"\na", b"bc\r", b"\n0\r\nA: b", b"\r\n\r", b"\n"),
    "chunked-then-lane": (put(b"/7", CHUNKED, body=b"3\r\nabc\r\n0\r\n\r\n") + put(),),
    "chunked-expected": (put(b"/7", CHUNKED, EXPECT), b"3\r\nabc\r\n0\r\n\r\n"),
    "gzip": (put(b"/7", b"Transfer-Encoding: gzip"),),
    "gzip-chunked": (put(b"/7", b"Transfer-Encoding: gzip, chunked"),),
    "chunked-twice": (put(b"/7", CHUNKED, CHUNKED),),
    "upgrade": (put(b"/7?data=x", b"Connection: upgrade", b"Upgrade: h2c"),),
    "upgrade-websocket": (put(b"/7?data=x", b"Connection: upgrade", b"Upgrade: websocket"),),
    "no-host": (put().replace(b"Host: t\r\n", b""),),
    "two-hosts": (put(b"/7?data=x", b"Host: t"),),
    "two-types": (sized(b"1", JSON, b"Content-Type: text/html"),),
    "two-keys": (put(b"/7?data=x", KEY, KEY),),
    "two-connections": (put(b"/7?data=x", b"Connection: keep-alive", b"Connection: close"),),
    "two-expects": (put(b"/7", b"Content-Length: 3", EXPECT, EXPECT), b"abc"),
    "too-large": (sized(b"a" * 401),),
    "too-large-and-waits": (put(b"/7", b"Content-Length: 401", EXPECT),),
    "far-too-large": (put(b"/7", b"Content-Length: 99999999999999999999", EXPECT),),
    "chunked-too-large": (put(b"/7", CHUNKED, body=b"191\r\n" + b"a" * 401 + b"\r\n0\r\n\r\n"),),
    "too-large-head": (put(b"/7?data=" + b"a" * limits.MAX_HEAD),),
    "fields-101": (put(b"/7?data=x", *[b"A: a"] * 100),),
    "value-control": (put(b"/7?data=x", b"A: a\x01b"),),
    "value-del": (put(b"/7?data=x", b"A: a\x7fb"),),
}

UNSAFE: dict[str, Parts] = {
    "two-lengths": (put(b"/7", b"Content-Length: 3", b"Content-Length: 4", body=b"abcd"),),
    "two-equal-lengths": (put(b"/7", b"Content-Length: 3", b"Content-Length: 3", body=b"abc"),),
    "list-of-lengths": (put(b"/7", b"Content-Length: 3, 3", body=b"abc"),),
    "list-of-different-lengths": (put(b"/7", b"Content-Length: 3, 4", body=b"abc"),),
    "length-and-chunks": (put(b"/7", b"Content-Length: 3", CHUNKED, body=b"3\r\nabc\r\n0\r\n\r\n"),),
    "chunks-and-length": (put(b"/7", CHUNKED, b"Content-Length: 3", body=b"3\r\nabc\r\n0\r\n\r\n"),),
    "length-and-unknown-encoding": (put(b"/7", b"Content-Length: 3", b"Transfer-Encoding: x", body=b"abc"),),
    "chunks-of-http-1.0": (put(b"/7", CHUNKED, version=b"1.0", body=b"0\r\n\r\n"),),
    "bare-cr-in-a-chunk-extension": (put(b"/7", CHUNKED, body=b"3;a\rb\r\nabc\r\n0\r\n\r\n"),),
    "bare-lf-in-a-chunk-extension": (put(b"/7", CHUNKED, body=b"3;a\nb\r\nabc\r\n0\r\n\r\n"),),
    "bare-lf-behind-a-size": (put(b"/7", CHUNKED, body=b"3\nabc\r\n0\r\n\r\n"),),
    "bare-lf-behind-a-chunk": (put(b"/7", CHUNKED, body=b"3\r\nabc\n0\r\n\r\n"),),
    "bare-lf-in-trailers": (put(b"/7", CHUNKED, body=b"3\r\nabc\r\n0\r\nA: b\n\r\n"),),
    "bare-lf-behind-trailers": (put(b"/7", CHUNKED, body=b"3\r\nabc\r\n0\r\nA: b\r\n\n"),),
    "bare-cr-in-trailers": (put(b"/7", CHUNKED, body=b"3\r\nabc\r\n0\r\nA: b\rc\r\n\r\n"),),
    "folded-trailer": (put(b"/7", CHUNKED, body=b"3\r\nabc\r\n0\r\nA: b\r\n c\r\n\r\n"),),
    "chunk-of-another-size": (put(b"/7", CHUNKED, body=b"2\r\nabc\r\n0\r\n\r\n"),),
    "length-signed": (put(b"/7", b"Content-Length: +3", body=b"abc"),),
    "length-negative": (put(b"/7", b"Content-Length: -3", body=b"abc"),),
    "length-hexadecimal": (put(b"/7", b"Content-Length: 0x3", body=b"abc"),),
    "length-underscore": (put(b"/7", b"Content-Length: 0_3", body=b"abc"),),
    "length-two-numbers": (put(b"/7", b"Content-Length: 1 2", body=b"abc"),),
    "length-empty": (put(b"/7", b"Content-Length:", body=b"abc"),),
    "length-space-before-colon": (put(b"/7", b"Content-Length : 3", body=b"abc"),),
    "length-folded": (put(b"/7", b"Content-Length:\r\n 3", body=b"abc"),),
    "folded": (put(b"/7?data=x", b"A: a\r\n b"),),
    "folded-by-tab": (put(b"/7?data=x", b"A: a\r\n\tb"),),
    "folded-first": (put().replace(b"\r\nHost", b"\r\n A: b\r\nHost"),),
    "folded-blank": (put(b"/7?data=x", b"A: a", b" "),),
    "bare-lf": (put().replace(b"\r\n", b"\n"),),
    "bare-lf-behind-the-first-line": (put().replace(b"1.1\r\n", b"1.1\n"),),
    "bare-lf-behind-a-field": (put(b"/7?data=x", b"A: b\nContent-Length: 3"),),
    "bare-lf-at-the-end": (put()[:-2] + b"\n",),
    "bare-cr-in-value": (put(b"/7?data=x", b"A: b\rContent-Length: 3"),),
    "bare-cr-before-crlf": (put(b"/7?data=x", b"A: b\r"),),
    "bare-cr-behind-the-first-line": (put().replace(b"1.1\r\n", b"1.1\r"),),
    "nul-in-value": (put(b"/7?data=x", b"A: b\x00c"),),
    "nul-in-name": (put(b"/7?data=x", b"A\x00: b"),),
    "space-in-name": (put(b"/7?data=x", b"A b: c"),),
    "space-before-colon": (put(b"/7?data=x", b"A : c"),),
    "no-colon": (put(b"/7?data=x", b"abc"),),
    "no-name": (put(b"/7?data=x", b": abc"),),
    "no-host": (put().replace(b"Host: t\r\n", b""),),
    "two-hosts": (put(b"/7?data=x", b"Host: t"),),
}

ALL = {**IN_LANE, **HANDED_ON, **{f"unsafe-{name}": parts for name, parts in UNSAFE.items()}}
assert len(ALL) == len(IN_LANE) + len(HANDED_ON) + len(UNSAFE)


async def compare(sides: tuple[Side, Side], parts: Parts) -> list[Answer]:
    """Raises unless both servers say the same."""
    heard = []
    for side in sides:
        async with side.serving():
            heard.append(await side.hear(parts))
    assert heard[0] == heard[1]
    return heard[0][0]


@pytest.mark.parametrize("parts", ALL.values(), ids=ALL)
async def test_lane_and_route_say_the_same(sides: tuple[Side, Side], parts: Parts) -> None:
    answered = await compare(sides, parts)
    assert answered or b"Content-Length: 300" in parts[0]


# The statuses, of the last request too; without it, the connection was closed before.
STATUSES = {
    "query": (202, 202),
    "query-too-large": (413, 202),
    "zero": (400, 202),
    "no-account": (404, 202),
    "not-active": (400, 202),
    "unavailable": (503, 202),
    "unknown": (504, 202),
    "fault": (500, 202),
    "fault-group-of-one": (503, 202),
    "fault-group-mixed": (500, 202),
    "key-empty": (400, 202),
    "two-keys": (400, 202),
    "close": (202,),
    "close-in-a-list": (202,),
    "close-with-a-refusal": (404,),
    "pipelined-after-close": (202,),
    "half-closed-in-a-body": (),
    "expect": (100, 202, 202),
    "expect-and-did-not-wait": (202, 202),
    "expect-and-did-not-quite-wait": (202, 202),
    "expect-without-body": (202, 202),
    "expect-and-be-refused": (100, 404, 202),
    "chunked-expected": (100, 202, 202),
    "too-large": (413, 202),
    "too-large-and-waits": (413,),
    "far-too-large": (413,),
    "too-large-head": (431,),
    "fields-100": (202, 202),
    "fields-101": (431,),
    "http-1.0": (202,),
    "http-2.0": (505,),
    "gzip": (501,),
    "empty-line-first": (400,),
    "put-livez": (405, 202),
    "put-slash-behind": (404, 202),
}


@pytest.mark.parametrize(("name", "statuses"), STATUSES.items(), ids=STATUSES)
async def test_both_say_what_they_should(sides: tuple[Side, Side], name: str, statuses: tuple[int, ...]) -> None:
    answered = await compare(sides, ALL[name])
    assert tuple(answer.status for answer in answered) == statuses


@pytest.mark.parametrize("parts", IN_LANE.values(), ids=IN_LANE)
async def test_what_is_meant_for_the_lane_stays_in_it(
    sides: tuple[Side, Side], parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(server, "_Connection")
    async with sides[0].serving():
        assert await sides[0].hear(parts) is not None


@pytest.mark.parametrize("before", [b"", put(), b"GET /livez HTTP/1.1\r\nHost: t\r\n\r\n"], ids=["", "put", "get"])
@pytest.mark.parametrize("parts", UNSAFE.values(), ids=UNSAFE)
async def test_what_may_be_read_in_two_ways_is_refused(sides: tuple[Side, Side], parts: Parts, before: bytes) -> None:
    answered = await compare(sides, (before, *parts))
    assert len(answered) == 1 + bool(before)
    assert (answered[-1].status, answered[-1].headers["connection"]) == (400, "close")
    assert all(data == b'"x"' for _, data, _ in sides[0].services.taken)


SPLIT = ("query", "body-json", "expect", "close", "pipelined-bodies", "get-then-put", "two-lengths", "put-no-id")


@pytest.mark.parametrize("name", SPLIT)
async def test_bytes_may_come_in_any_pieces(sides: tuple[Side, Side], name: str) -> None:
    sent = b"".join(ALL.get(name) or UNSAFE[name])
    for side in sides:
        async with side.serving():
            whole = await side.hear((sent,))
            for cut in range(1, len(sent)):
                pieces = await side.hear((sent[:cut], sent[cut:]))
                assert without_100(pieces) == without_100(whole), sent[:cut]
            pieces = await side.hear(tuple(sent[at : at + 1] for at in range(len(sent))))
            assert without_100(pieces) == without_100(whole)


def without_100(heard: tuple[list[Answer], Any]) -> tuple[list[Answer], Any]:
    return [answer for answer in heard[0] if answer.status != 100], heard[1]


# What is the lane's alone


async def test_a_fault_in_the_lane_ends_that_connection_alone(
    sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise ZeroDivisionError

    async with sides[0].serving(), await trio.open_tcp_stream("127.0.0.1", sides[0].port) as stream:
        other = Wire(stream)
        for where in ("on_header", "_understands"):
            assert (await other.ask(put())).status == 202
            with monkeypatch.context() as patched, structlog.testing.capture_logs() as logged:
                patched.setattr(lane._Visit, where, fail)
                assert await sides[0].hear(()) == ([], [])
            assert [entry["event"] for entry in logged] == ["connection failed"]
        assert (await other.ask(put())).status == 202


async def test_requests_are_logged_if_that_is_asked_for(sides: tuple[Side, Side], caplog: Any) -> None:
    async with sides[0].serving():
        with structlog.testing.capture_logs() as logged:
            caplog.set_level("INFO", "tracker.http.lane")
            await sides[0].hear((put(b"/8?data=x"),))
            assert logged == []
            caplog.set_level("DEBUG", "tracker.http.lane")
            await sides[0].hear((put(b"/8?data=x"),))
    for entry, path, status in zip(logged, ("/8", "/7"), (404, 202), strict=True):
        assert entry.pop("ms") >= 0
        expected = {"event": "request", "log_level": "debug", "method": "PUT", "path": path, "status": status}
        assert entry == expected


async def test_the_date_is_the_second_that_it_is(sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch) -> None:
    shared = lane.Lane(sides[0].app)
    for now, date in ((1.5, "00:00:01"), (1.9, "00:00:01"), (2.0, "00:00:02"), (1.0, "00:00:01")):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        assert shared.date() == f"Thu, 01 Jan 1970 {date} GMT"


# Whatever comes to mind


TOKEN = (string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~").encode()
some_bytes = strategies.binary(max_size=8)
names = strategies.sampled_from(
    [b"Content-Length", b"Transfer-Encoding", b"Connection", b"Content-Type", b"Idempotency-Key", b"Expect", b"Host"]
) | strategies.lists(strategies.sampled_from([bytes([byte]) for byte in TOKEN]), min_size=1, max_size=6).map(b"".join)
values = (
    strategies.sampled_from([b"3", b"0", b"chunked", b"close", b"keep-alive", b"100-continue", b"application/json"])
    | strategies.sampled_from([b"3,3", b"00", b"3 3", b"\x0b3", b"\x0c", b"\x85", b"\xa0 3", b"k", b"chunked, x"])
    | some_bytes
)
colons = strategies.sampled_from([b": "] * 8 + [b":", b" : ", b":\t", b"\t:", b"", b"::"])
line_ends = strategies.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\r\n", b"\r\n ", b""])
fields = strategies.builds(lambda *parts: b"".join(parts), names, colons, values, line_ends)
first_lines = strategies.sampled_from(
    [b"PUT /7?data=x HTTP/1.1\r\n"] * 6
    + [b"PUT /7 HTTP/1.1\r\n", b"GET /livez HTTP/1.1\r\n", b"PUT /7 HTTP/1.0\r\n", b"PUT /7?data=x HTTP/1.1\n"]
) | strategies.builds(lambda target: b"PUT /7%b HTTP/1.1\r\n" % target, some_bytes)
bodies = strategies.sampled_from([b"", b"", b"abc", b"123", b"0\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n"]) | some_bytes
requests = strategies.builds(
    lambda first, host, fields, end, body: first + host + b"".join(fields) + end + body,
    first_lines,
    strategies.sampled_from([b"Host: t\r\n"] * 9 + [b""]),
    strategies.lists(fields, max_size=3),
    strategies.sampled_from([b"\r\n"] * 9 + [b"\n", b""]),
    bodies,
)


@hypothesis.settings(max_examples=300)
@hypothesis.given(strategies.lists(requests, min_size=1, max_size=3), strategies.booleans())
def test_lane_and_route_say_the_same_to_anything(sides: tuple[Side, Side], sent: list[bytes], in_parts: bool) -> None:
    trio.run(compare, sides, tuple(sent) if in_parts else (b"".join(sent),))
