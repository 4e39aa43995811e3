"""`POST /events`: many events at once, as a JSON array or as lines of JSON, in a stream that needs no end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import msgspec
import trio
from quart import Blueprint, Response, current_app, request
from werkzeug.exceptions import ServiceUnavailable, UnsupportedMediaType

from shared.errors import OutcomeUnknown, Refused, Unavailable
from shared.events import DataTooLarge
from tracker.http import limits, problems
from tracker.http.bulk import Bulk, result
from tracker.http.bulk_items import Array, Parsed
from tracker.http.bulk_stream import OVERLOADED, Answers, Incoming
from tracker.http.documentation import IDEMPOTENCY_KEY, POSITION, answer, content, describe
from tracker.http.intake import idempotency_key
from tracker.http.sessions import KEEPALIVE
from tracker.http.stream_resource import STREAM_HEADERS
from tracker.tracking import Tracking

ROUTE = "/events"
MAX_ITEMS = 10_000
"""The most items of an array."""
MAX_BYTES = 8 << 20
"""The largest body that is an array."""
ARRAYS = 16
"""How many arrays are in memory at once; others wait, unread. One takes four times its size."""
STREAMS = 256
"""How many streams there may be at once. One takes up to 4 MiB, if its client sends faster than the log takes."""
LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")
_FORMS = f"expected application/json for an array of items, or {LINES[0]} for an item a line"
_STEP = 500
_ITEM = {"description": 'An object with "ID", an account, and "Data". Any other item has a problem as its result.'}
_RESULT = {
    "description": "Where the event stands in the log, or why it is not there.",
    "oneOf": [
        {
            "type": "object",
            "properties": {"Position": POSITION, "Seq": {"type": "integer", "minimum": 1}},
            "required": ["Position", "Seq"],
            "additionalProperties": False,
        },
        {"$ref": "#/components/schemas/Problem"},
    ],
}
_LINE = {"type": "string", "description": "JSON, an object on each line."}
_IN, _OUT = {"ID": 1, "Data": "a"}, {"Position": "6b9522b15de7-0-41", "Seq": 42}


def blueprint(tracking: Tracking, max_data: int) -> Blueprint:
    """The resource; an event's data may take `max_data` bytes as JSON."""
    routes = Blueprint("bulk", __name__)
    arrays, streams = trio.Semaphore(ARRAYS), trio.Semaphore(STREAMS)

    @routes.post(ROUTE)
    @describe(
        "events",
        {
            200: answer(
                "A result for each item, in order.",
                content("application/json", {"type": "array", "items": _RESULT}, [_OUT]),
                content(LINES[0], _LINE, msgspec.json.encode(_OUT).decode() + "\n"),
            )
        },
        refused=[400, 408, 413, 415, 503, 504],
        parameters=[IDEMPOTENCY_KEY],
        body={
            **content("application/json", {"type": "array", "items": _ITEM, "maxItems": MAX_ITEMS}, [_IN]),
            **content(LINES[0], {"description": "An item on each line."}, msgspec.json.encode(_IN).decode() + "\n"),
        },
    )
    async def post() -> Response:
        """Send many events at once.

        An array is answered as a whole; lines are committed and answered as they come, in a stream that needs no end.
        An item that is refused spoils no other. Of a body that breaks off in the middle, the items before that count.
        """
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise UnsupportedMediaType("The body has a Content-Encoding: expected none.")
        bulk = Bulk(tracking, idempotency_key(request.headers.getlist("Idempotency-Key")))
        if request.mimetype == "application/json":
            return await _array(bulk, arrays, max_data)
        if request.mimetype in LINES:
            return await _lines(bulk, streams, max_data)
        given = f"of type {request.mimetype[:100]!r}" if request.mimetype else "of no type"
        raise UnsupportedMediaType(f"The body is {given}: {_FORMS}.")

    return routes


async def _array(bulk: Bulk, places: trio.Semaphore, max_data: int) -> Response:
    if (request.content_length or 0) > MAX_BYTES:
        raise _too_large()
    begun = False
    with trio.move_on_after(limits.BULK_TIMEOUT) as waiting:
        await places.acquire()
        begun = True
    if not begun:
        raise ServiceUnavailable("This tracker has as many bulks of events as it can take. Try again.")
    try:
        with trio.CancelScope(deadline=waiting.deadline) as coming:
            body = await _whole(_body())
        if coming.cancelled_caught:
            slow = problems.too_slow(limits.BULK_TIMEOUT)
            return Response(slow.body(), slow.status, slow.headers())
        parsed = await _parsed(body, max_data)
        del body
        return await _committed(bulk, parsed)
    finally:
        places.release()


async def _whole(body: AsyncIterator[bytes]) -> bytes:
    """Raises DataTooLarge if it has more bytes than an array may have."""
    whole = bytearray()
    async for data in body:
        whole += data
        if len(whole) > MAX_BYTES:
            raise _too_large()
    return bytes(whole)


async def _parsed(body: bytes, max_data: int) -> list[Parsed]:
    """The items of an array; of a broken one those before the fault, and then that. Raises Refused if there are none
    before it, and DataTooLarge if there are too many."""
    if not body.strip():
        raise Refused('The body is empty: expected an array of items, [{"ID":1,"Data":…}, …].')
    array = Array(body, max_data)
    parsed: list[Parsed] = []
    while not array.over:
        parsed += array.take(_STEP)
        if len(parsed) > MAX_ITEMS:
            raise DataTooLarge(
                f"The array has more than {MAX_ITEMS} items, which is the most. None of them was accepted."
            )
        await trio.lowlevel.checkpoint()
    if array.fault:
        fault = f"The body is no JSON array: {array.fault}."
        if not parsed:
            raise Refused(fault)
        rest = f"The items before it, {len(parsed)}, are answered; nothing from there on was accepted."
        parsed.append(Refused(f"{fault} {rest}"))
    return parsed


async def _committed(bulk: Bulk, parsed: list[Parsed]) -> Response:
    """Answer when it is known what became of each item."""
    outcomes = await bulk.commit_all(parsed)
    first = outcomes[0] if outcomes else None
    if isinstance(first, (Unavailable, OutcomeUnknown)) and all(isinstance(each, type(first)) for each in outcomes):
        raise first
    return Response(b"[%b]" % b",".join(map(result, outcomes)), content_type="application/json")


async def _lines(bulk: Bulk, places: trio.Semaphore, max_data: int) -> Response:
    if places.value == 0:
        raise ServiceUnavailable(OVERLOADED)
    stopping = cast(Any, current_app).stopping
    incoming = Incoming(_body(), max_data)
    await _begin(incoming, stopping)
    if incoming.ended and incoming.empty:
        raise Refused('The body is empty: expected items, {"ID":1,"Data":…}, a line each.')
    answers = Answers(bulk, incoming, places, stopping)
    response = Response(answers, 200, STREAM_HEADERS, content_type=LINES[0])
    response.timeout = None
    return response


async def _begin(incoming: Incoming, stopping: trio.Event) -> None:
    """Wait a little, for what the answer's status depends on."""
    async with trio.open_nursery() as nursery:
        nursery.cancel_scope.deadline = trio.current_time() + KEEPALIVE

        async def end_when(wait: Any) -> None:
            await wait()
            nursery.cancel_scope.cancel()

        nursery.start_soon(incoming.gather)
        nursery.start_soon(end_when, stopping.wait)
        nursery.start_soon(end_when, incoming.news)


def _body() -> AsyncIterator[bytes]:
    return cast("AsyncIterator[bytes]", request.body)


def _too_large() -> DataTooLarge:
    return DataTooLarge(f"The array takes more than {MAX_BYTES} bytes, which is the most. None of it was accepted.")
