"""Errors as clients see them: application/problem+json (RFC 9457), one mapping from our exceptions to statuses."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from shared.errors import AccountNotActive, NoSuchAccount, OutcomeUnknown, Refused, TrackerError, Unavailable
from shared.events import DataTooLarge
from tracker.http import limits

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER = "2"
"""Seconds, as the header Retry-After has them."""

_STATUSES: tuple[tuple[type[TrackerError], HTTPStatus], ...] = (
    (DataTooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (NoSuchAccount, HTTPStatus.NOT_FOUND),
    (AccountNotActive, HTTPStatus.BAD_REQUEST),
    (Refused, HTTPStatus.BAD_REQUEST),
    (Unavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (OutcomeUnknown, HTTPStatus.GATEWAY_TIMEOUT),
)


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A problem document. `type` stays about:blank: title and status say which kind it is."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str

    def body(self) -> bytes:
        return msgspec.json.encode(self)

    def headers(self) -> dict[str, str]:
        headers = {"Content-Type": CONTENT_TYPE}
        if self.status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers["Retry-After"] = RETRY_AFTER
        return headers


def phrase(status: int) -> str:
    """The words of RFC 9110 for a status, which Python took over with 3.13."""
    return "Content Too Large" if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else HTTPStatus(status).phrase


def problem(status: int, detail: str) -> Problem:
    """The problem document of a status."""
    return Problem(title=phrase(status), status=status, detail=detail)


def body_too_large(limit: int) -> Problem:
    return problem(413, f"The body is larger than {limit} bytes, which is the most.")


def too_slow(within: float = limits.REQUEST_TIMEOUT) -> Problem:
    return problem(408, f"The request did not arrive within {within:g} seconds.")


def of_error(error: TrackerError) -> Problem:
    """The problem document of one of our exceptions. Raises the exception itself if clients should never see it."""
    for kind, status in _STATUSES:
        if isinstance(error, kind):
            return problem(status, _detail(error))
    raise error


def _detail(error: TrackerError) -> str:
    # What a server of ours said of its troubles is for the log, not for the client.
    if isinstance(error, Unavailable):
        return f"The {error.part} is not available right now. Nothing was done; try again."
    if isinstance(error, OutcomeUnknown):
        return (
            f"The {error.part} gave no answer. It may have been done or not. An event can be sent again without "
            "doing it twice if both requests carry the same Idempotency-Key."
        )
    return str(error)


def as_http1(problem: Problem, date: str, close: str) -> bytes:
    """A whole answer in HTTP/1.1. `close` is the header that ends the connection, with its line end, or nothing."""
    body = problem.body()
    fields = "".join(f"{name.lower()}: {value}\r\n" for name, value in problem.headers().items())
    return (
        f"HTTP/1.1 {problem.status} {phrase(problem.status)}\r\n{fields}content-length: {len(body)}\r\n"
        f"date: {date}\r\n{close}\r\n"
    ).encode() + body
