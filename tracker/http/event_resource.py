"""`PUT /<id>`: an event for an account."""

from __future__ import annotations

from typing import cast

from quart import Blueprint, Response, request

from shared.events import account_id
from tracker.http.intake import event_data, idempotency_key
from tracker.tracking import Tracking


def blueprint(tracking: Tracking, max_data: int) -> Blueprint:
    """The resource; an event's data may take `max_data` bytes as JSON."""
    routes = Blueprint("event", __name__)

    @routes.put("/<id>")
    async def put(id: str) -> Response:
        body = cast(bytes, await request.get_data(cache=False))  # before any refusal: else the connection must close
        account = account_id(id)
        data = event_data(request.query_string, request.headers.get("Content-Type", ""), body, max_data)
        key = idempotency_key(request.headers.getlist("Idempotency-Key"))
        appended = await tracking.accept(account, data, key)
        return Response(b"", 202, {"Event-Position": appended.position})

    return routes
