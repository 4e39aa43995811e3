"""`GET /livez` and `GET /readyz`: for whoever runs the tracker."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from quart import Blueprint, Response

from shared.supervision import Health
from tracker.http import problems


def blueprint(healths: Sequence[Health]) -> Blueprint:
    """The probes. Ready is a tracker whose parts are all up."""
    routes = Blueprint("operations", __name__)

    @routes.get("/livez")
    async def livez() -> Response:
        return Response(b'{"Status":"alive"}', content_type="application/json")

    @routes.get("/readyz")
    async def readyz() -> Response:
        away = [health for health in healths if not health.up]
        if away:
            names = " and ".join(health.part for health in away)
            problem = problems.problem(503, f"Not ready: {names}.")
            return Response(problem.body(), problem.status, problem.headers())
        return Response(msgspec.json.encode({"Status": "ready"}), content_type="application/json")

    return routes
