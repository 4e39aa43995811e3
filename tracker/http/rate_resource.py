"""`GET /`: the event rate, in browsers the page. `GET /rates`: how it was over the last minutes, and whose events."""

from __future__ import annotations

import msgspec
from quart import Blueprint, Response, request

from tracker.http import page_resource
from tracker.rates import Rates
from tracker.tallies import Tallies


def blueprint(rates: Rates, tallies: Tallies) -> Blueprint:
    """The resource, over a running `Rates` and `Tallies`."""
    routes = Blueprint("rate", __name__)

    @routes.get("/")
    async def rate() -> Response:
        if page_resource.wanted(request.headers.get("Accept", "")):
            response = page_resource.page()
        else:
            body = msgspec.json.encode({"Rate": await rates.per_second()})
            response = Response(body, content_type="application/json")
        response.vary.add("Accept")
        return response

    @routes.get("/rates")
    async def get_rates() -> Response:
        recent = msgspec.to_builtins(await tallies.recent())
        body = msgspec.json.encode({"Rate": await rates.per_second(), **recent})
        return Response(body, headers={"Cache-Control": "no-store"}, content_type="application/json")

    return routes
