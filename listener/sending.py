"""Events on their way to a tracker, alone or many at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec
import trio

from listener.output import escape
from listener.tracker import RefusedBy, Tracker
from shared.errors import OutcomeUnknown, Refused, Unavailable

T = TypeVar("T")

Begun = Callable[[], object]
"""Called when the first byte of a request goes out."""

REMEMBERED = 600.0
"""For how many seconds the log knows an Idempotency-Key again. What is sent again later may come twice."""

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"


class Result(msgspec.Struct, frozen=True):
    """What became of an item: a Position and the account's Seq, or a problem."""

    position: str = msgspec.field(name="Position", default="")
    seq: int = msgspec.field(name="Seq", default=0)
    status: int = 0
    title: str = ""
    detail: str = ""

    @property
    def said(self) -> str:
        """The problem, safe to show."""
        return escape(f"{(self.detail or self.title)[:500].rstrip('.')} ({self.status})")


class Attempts:
    """To send something until it is known what became of it."""

    def __init__(self) -> None:
        self._unknown_since: float | None = None

    @property
    def uncertain(self) -> bool:
        """Whether it may have been accepted."""
        return self._unknown_since is not None

    @property
    def too_late(self) -> bool:
        """Whether it may have been accepted so long ago that the log does not know its key any more."""
        return self._unknown_since is not None and trio.current_time() - self._unknown_since > REMEMBERED

    async def make(self, action: Callable[[Begun], Awaitable[T]]) -> T:
        """Try it once; `action` calls what it is given when the first byte goes out. Raises what `action` does."""
        before = self._unknown_since

        def begun() -> None:
            if self._unknown_since is None:
                self._unknown_since = trio.current_time()

        try:
            return await action(begun)
        except (Unavailable, Refused):
            self._unknown_since = before
            raise


async def send_event(
    tracker: Tracker, account: int, data: bytes, key: str, content_type: str = TEXT, begun: Begun | None = None
) -> str:
    """Send an event once: `data` is text, in UTF-8, or JSON. Returns its Position, or nothing if the tracker gave none.

    `key` is its Idempotency-Key: after an outcome that is not known it can be sent again with the same one, without
    harm. Raises as `Tracker.request`.
    """
    headers = {"Content-Type": content_type, "Idempotency-Key": key}
    response = await tracker.request("PUT", f"/{account}", content=data, headers=headers, begun=begun)
    return str(response.headers.get("Event-Position", ""))


async def send_items(tracker: Tracker, items: Sequence[bytes], key: str, begun: Begun | None = None) -> list[Result]:
    """Send items, `{"ID":1,"Data":…}`, once. Returns what became of each: accepted, or refused.

    `key` as for `send_event`. Raises as `Tracker.request`; OutcomeUnknown, too, if some of them were not accepted now,
    but may be when all are sent again.
    """
    headers = {"Content-Type": JSON, "Idempotency-Key": key}
    content = b"[%b]" % b",".join(items)
    response = await tracker.request("POST", "/events", content=content, headers=headers, begun=begun)
    results = tracker.decoded(response, list[Result])
    if len(results) != len(items) or not all(result.position or result.status for result in results):
        raise RefusedBy(response.status_code, f"{tracker.part} answers as no tracker does: expected a result an item.")
    for result in results:
        if result.status >= 500:
            raise OutcomeUnknown(tracker.part, result.said)
    return results
