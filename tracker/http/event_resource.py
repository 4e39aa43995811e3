"""`PUT /<id>`: an event for an account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

from quart import Blueprint, Response, request

from shared.appending import Appended
from shared.errors import TrackerError
from shared.events import account_id
from tracker import metrics
from tracker.http.documentation import ID, IDEMPOTENCY_KEY, POSITION, answer, content, describe, query
from tracker.http.intake import event_data, idempotency_key
from tracker.tracking import Tracking

ROUTE = "/<id>"


class PutEvent(Protocol):
    """What becomes of a request, whoever read it: from its parts to where its event stands in the log."""

    async def __call__(
        self, id_text: str, query: bytes, content_type: str, body: bytes, keys: Sequence[str], /
    ) -> Appended:
        """`content_type` is the header's value or '', `keys` all values of Idempotency-Key. Raises TrackerError."""


def put_event(tracking: Tracking, max_data: int) -> PutEvent:
    """The resource without its HTTP; an event's data may take `max_data` bytes as JSON."""

    async def put(id_text: str, query: bytes, content_type: str, body: bytes, keys: Sequence[str], /) -> Appended:
        try:
            account = account_id(id_text)
            data = event_data(query, content_type, body, max_data)
            return await tracking.accept(account, data, idempotency_key(keys))
        except TrackerError as error:
            metrics.refused(error)
            raise

    return put


def blueprint(put_event: PutEvent) -> Blueprint:
    """The resource for hypercorn; most requests for it go by the lane, see `tracker.http.lane`."""
    routes = Blueprint("event", __name__)

    @routes.put(ROUTE)
    @describe(
        "events",
        {202: answer("It is in the log, on disk.", headers={"Event-Position": ("Where it stands there.", POSITION)})},
        refused=[400, 404, 408, 413, 503, 504],
        parameters=[
            ID,
            query("data", "The data, if it is no body.", {"type": "string", "minLength": 1}, "hello"),
            IDEMPOTENCY_KEY,
        ],
        body={
            **content("text/plain", {"type": "string", "minLength": 1}, "hello"),
            **content("application/json", {}, {"amount": 7}),
        },
        body_required=False,
    )
    async def put(id: str) -> Response:
        """Send an event for an account.

        Its data is `data=` in the query, or the body; at most 64 KiB as JSON (a setting). The account must be active.
        """
        body = cast(bytes, await request.get_data(cache=False))  # before any refusal: else the connection must close
        headers = request.headers
        keys = headers.getlist("Idempotency-Key")
        appended = await put_event(id, request.query_string, headers.get("Content-Type", ""), body, keys)
        return Response(b"", 202, {"Event-Position": appended.position})

    return routes
