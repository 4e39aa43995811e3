"""`GET /`: the event rate, in browsers the page. `GET /rates`: how it was over the last minutes, and whose events."""

from __future__ import annotations

import msgspec
from quart import Blueprint, Response, request

from tracker.http import page_resource
from tracker.http.documentation import answer, content, describe
from tracker.rates import Rates
from tracker.tallies import Recent, Tallies

_RATE = {
    "type": "object",
    "properties": {"Rate": {"type": "integer", "minimum": 0, "description": "Events in the last second."}},
    "required": ["Rate"],
}


def blueprint(rates: Rates, tallies: Tallies) -> Blueprint:
    """The resource, over a running `Rates` and `Tallies`."""
    routes = Blueprint("rate", __name__)

    @routes.get("/")
    @describe(
        "rate",
        {
            200: answer(
                "The rate; for browsers, which ask for text/html, the page.",
                content("application/json", _RATE, {"Rate": 997}),
                content("text/html", {"type": "string"}),
                headers={"Vary": ("Accept", {"type": "string"})},
            )
        },
        refused=[503],
    )
    async def rate() -> Response:
        """Return how many events all trackers together accepted in the last second."""
        if page_resource.wanted(request.headers.get("Accept", "")):
            response = page_resource.page()
        else:
            body = msgspec.json.encode({"Rate": await rates.per_second()})
            response = Response(body, content_type="application/json")
        response.vary.add("Accept")
        return response

    @routes.get("/rates")
    @describe(
        "rate",
        {200: answer("The last five minutes.", content("application/json", {"allOf": [_RATE, {"$model": Recent}]}))},
        refused=[503],
    )
    async def get_rates() -> Response:
        """Return how it was over the last minutes, by second and tracker, and the busiest accounts.

        Rates are events a second. Which accounts are the busiest is an estimate: each tracker names the hundred busiest
        of each second.
        """
        recent = msgspec.to_builtins(await tallies.recent())
        body = msgspec.json.encode({"Rate": await rates.per_second(), **recent})
        return Response(body, headers={"Cache-Control": "no-store"}, content_type="application/json")

    return routes
