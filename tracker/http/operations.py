"""`GET /livez`, `GET /readyz` and `GET /metrics`: for whoever runs the tracker."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import trio
from quart import Blueprint, Response, request

from shared.supervision import Health
from tracker import metrics
from tracker.board import Seat
from tracker.http import problems
from tracker.http.documentation import answer, content, describe

_STATUS = {"type": "object", "properties": {"Status": {"type": "string"}}, "required": ["Status"]}


def blueprint(healths: Sequence[Health], seat: Seat | None = None) -> Blueprint:
    """The probes and the metrics. Ready is a tracker whose parts are all up.

    Of several workers each says the same, at most board.NOTE_EVERY late. A load balancer wants to know whether its
    next request will be served, and nobody knows by which worker: so the tracker is ready if no worker that takes
    connections lacks a part. One that is dead or starting takes none, and costs no request; how many are ready stands
    in the answer, for people.
    """
    routes = Blueprint("operations", __name__)

    @routes.get("/livez")
    @describe("operations", {200: answer("It is.", content("application/json", _STATUS, {"Status": "alive"}))})
    async def livez() -> Response:
        """Tell that the process serves."""
        return Response(b'{"Status":"alive"}', content_type="application/json")

    @routes.get("/readyz")
    @describe(
        "operations",
        {200: answer("All parts are there.", content("application/json", _STATUS, {"Status": "ready"}))},
        refused=[503],
    )
    async def readyz() -> Response:
        """Tell whether all parts are there: database, log, feed."""
        workers: dict[str, dict[str, int]] = {}
        if seat is None:
            away = [health.part for health in healths if not health.up]
        else:
            away, ready = seat.away()
            workers["Workers"] = {"Ready": ready, "Of": seat.workers}
        if away:
            some = f" {ready} of {seat.workers} workers are." if seat else ""
            problem = problems.problem(503, f"Not ready: {' and '.join(away)}.{some}")
            return Response(problem.body(), problem.status, problem.headers())
        return Response(msgspec.json.encode({"Status": "ready", **workers}), content_type="application/json")

    @routes.get("/metrics")
    @describe(
        "operations",
        {
            200: answer(
                "As text for Prometheus, or OpenMetrics if Accept asks for it.",
                content("text/plain", {"type": "string"}),
                content("application/openmetrics-text", {"type": "string"}),
            )
        },
    )
    async def get_metrics() -> Response:
        """Return the metrics."""
        # In a thread: those of several workers are read from files.
        body, content_type = await trio.to_thread.run_sync(metrics.exposed, request.headers.get("Accept", ""))
        return Response(body, content_type=content_type)

    return routes
