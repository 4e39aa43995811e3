"""`GET /livez`, `GET /readyz` and `GET /metrics`: for whoever runs the tracker."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import trio
from quart import Blueprint, Response, request

from shared.supervision import Health
from tracker import metrics
from tracker.http import problems


def blueprint(healths: Sequence[Health]) -> Blueprint:
    """The probes and the metrics. Ready is a tracker whose parts are all up."""
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

    @routes.get("/metrics")
    async def get_metrics() -> Response:
        # In a thread: those of several workers are read from files.
        body, content_type = await trio.to_thread.run_sync(metrics.exposed, request.headers.get("Accept", ""))
        return Response(body, content_type=content_type)

    return routes
