"""What a request for events asks for."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import pytest
from werkzeug.exceptions import NotAcceptable

from shared.errors import Refused
from tracker.http.stream_query import Kind, negotiate, parse, to_query

NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", Kind.PAGE),
        (" ", Kind.PAGE),
        ("*/*", Kind.PAGE),
        ("application/*", Kind.PAGE),
        ("text/*", Kind.SSE),
        ("text/html, */*;q=0.1", Kind.PAGE),
        ("text/event-stream", Kind.SSE),
        ("Text/Event-Stream; charset=utf-8", Kind.SSE),
        ("text/event-stream, */*", Kind.SSE),
        ("*/*, application/x-ndjson", Kind.NDJSON),
        ("application/jsonl", Kind.NDJSON),
        ("application/json;q=0.5, application/ndjson", Kind.NDJSON),
        ("application/json, application/ndjson;q=0.9", Kind.PAGE),
        ("application/json;q=0, */*", Kind.SSE),
        ("text/event-stream;q=0.1", Kind.SSE),
    ],
)
def test_negotiation(accept: str, kind: Kind) -> None:
    assert negotiate(accept)[0] is kind


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "*/*;q=0", "garbage", ",", "text/html;q=x"])
def test_nothing_that_there_is(accept: str) -> None:
    with pytest.raises(NotAcceptable):
        negotiate(accept)


def test_the_next_page_is_asked_for_as_the_first_was() -> None:
    query = to_query({5, 3}, "6b9522b15de7-0-7", 10)
    again = parse(query.encode(), Kind.PAGE, NOW)
    assert (again.accounts, str(again.since), again.limit) == ({3, 5}, "6b9522b15de7-0-7", 10)
    assert parse(to_query(None, "start-0-0", 1).encode(), Kind.PAGE, NOW).accounts is None


def test_ten_thousand_accounts_cost_next_to_nothing() -> None:
    query = "&".join(f"account={account}" for account in range(1, 10_001)).encode()
    started = time.process_time()
    for _ in range(100):
        with pytest.raises(Refused, match="at most 1000"):
            parse(query, Kind.SSE, NOW)
    assert time.process_time() - started < 1


def test_a_page_back() -> None:
    query = parse(b"account=7&before=end&limit=5", Kind.PAGE, NOW)
    assert (query.accounts, query.before, query.limit) == ({7}, "end", 5)
    assert str(parse(b"account=7&before=6b9522b15de7-0-41", Kind.PAGE, NOW).before) == "6b9522b15de7-0-41"
    assert parse(b"account=7", Kind.PAGE, NOW).before is None


@pytest.mark.parametrize(
    ("query", "kind", "detail"),
    [
        (b"account=7&before=end", Kind.SSE, "A stream goes forward"),
        (b"account=7&before=end", Kind.WEBSOCKET, "A stream goes forward"),
        (b"account=7&account=8&before=end", Kind.PAGE, "of one account"),
        (b"account=all&before=end", Kind.PAGE, "of one account"),
        (b"account=7&before=end&since=all", Kind.PAGE, "only one of them"),
        (b"account=7&before=10m", Kind.PAGE, "before='10m' is no Position: expected one as events carry it, or end"),
        (b"account=7&before=", Kind.PAGE, "is no Position"),
        (b"account=7&before=end&before=end", Kind.PAGE, "2 times"),
    ],
)
def test_bad_pages_back(query: bytes, kind: Kind, detail: str) -> None:
    with pytest.raises(Refused, match=re.escape(detail)):
        parse(query, kind, NOW)
