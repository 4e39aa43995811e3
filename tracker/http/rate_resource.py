"""`GET /`: the event rate."""

from __future__ import annotations

import msgspec
from quart import Blueprint, Response

from tracker.rates import Rates


def blueprint(rates: Rates) -> Blueprint:
    """The resource, over a running `Rates`."""
    routes = Blueprint("rate", __name__)

    @routes.get("/")
    async def rate() -> Response:
        body = msgspec.json.encode({"Rate": await rates.per_second()})
        return Response(body, content_type="application/json")

    return routes
