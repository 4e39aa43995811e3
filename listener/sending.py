"""An event on its way to a tracker."""

from __future__ import annotations

from listener.tracker import Tracker


async def send_event(tracker: Tracker, account: int, data: bytes, key: str) -> str:
    """Send an event once: `data` is text, in UTF-8. Returns its Position, or nothing if the tracker gave none.

    `key` is its Idempotency-Key: after an outcome that is not known it can be sent again with the same one, without
    harm. Raises as `Tracker.request`.
    """
    headers = {"Content-Type": "text/plain; charset=utf-8", "Idempotency-Key": key}
    response = await tracker.request("PUT", f"/{account}", content=data, headers=headers)
    return str(response.headers.get("Event-Position", ""))
