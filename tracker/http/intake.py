"""From what a client sent to an event's data: pure functions over bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import parse_qsl, unquote_to_bytes

from shared import events
from shared.errors import Refused

_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
FORMS = "as ?data=… in the URL, or as a body of type text/plain or application/json"


def event_data(query: bytes, content_type: str, body: bytes, limit: int) -> bytes:
    """Return an event's data as JSON, from the query string or else from the body.

    `content_type` is the header's value or ''; a body without a type counts as text/plain. Raises Refused, and
    DataTooLarge beyond `limit` bytes of JSON.
    """
    given = _from_query(query)
    if len(given) + bool(body) > 1:
        raise Refused(f"The data was given more than once; send it once, {FORMS}.")
    if given:
        if not given[0]:
            raise Refused(f"The data is empty; send some, {FORMS}.")
        return events.encode_text(given[0], limit)
    if not body:
        raise Refused(f"There is no data; send it {FORMS}.")
    mime = content_type.partition(";")[0].strip().lower()
    if mime == "application/json":
        return events.encode_json(body, limit)
    if mime in ("text/plain", ""):
        try:
            return events.encode_text(body.decode(), limit)
        except UnicodeDecodeError as error:
            raise Refused(f"The body is not UTF-8: {error.reason} at byte {error.start}.") from None
    raise Refused(f"A body of type {mime[:100]!r} is no data for an event; send it {FORMS}.")


def idempotency_key(values: Sequence[str]) -> str:
    """Return the key in the header Idempotency-Key, given all its values; '' without one. Raises Refused."""
    if not values:
        return ""
    if len(values) == 1 and _KEY.fullmatch(values[0]):
        return values[0]
    raise Refused("The Idempotency-Key can't be used: expected one, of 1 to 255 visible ASCII characters.")


def _from_query(query: bytes) -> list[str]:
    if not query:
        return []
    try:
        text = query.decode("ascii")
        if text.startswith("data=") and "&" not in text:  # what nearly all are, at a third of the time
            return [unquote_to_bytes(text[5:].replace("+", " ")).decode()]
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise Refused("The data in the URL is not percent-encoded UTF-8.") from None
    return [value for key, value in pairs if key == "data"]
