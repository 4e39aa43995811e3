"""Our exceptions, as clients see them."""

from __future__ import annotations

import pytest

from shared.errors import (
    AccountNotActive,
    Misconfigured,
    NoSuchAccount,
    OutcomeUnknown,
    Refused,
    TrackerError,
    Unavailable,
)
from shared.events import DataTooLarge
from tracker.http import problems


@pytest.mark.parametrize(
    ("error", "status", "title"),
    [
        (Refused("no"), 400, "Bad Request"),
        (AccountNotActive(7), 400, "Bad Request"),
        (NoSuchAccount(7), 404, "Not Found"),
        (DataTooLarge("no"), 413, "Content Too Large"),
        (Unavailable("log", "x"), 503, "Service Unavailable"),
        (OutcomeUnknown("log", "x"), 504, "Gateway Timeout"),
    ],
)
def test_statuses(error: TrackerError, status: int, title: str) -> None:
    problem = problems.of_error(error)
    assert (problem.status, problem.title, problem.type) == (status, title, "about:blank")
    assert ("Retry-After" in problem.headers()) == (status == 503)


def test_the_body_has_its_keys_in_order() -> None:
    body = problems.of_error(NoSuchAccount(7)).body()
    assert body == b'{"type":"about:blank","title":"Not Found","status":404,"detail":"There is no account 7."}'


def test_an_unknown_outcome_says_how_to_be_safe() -> None:
    assert "same Idempotency-Key" in problems.of_error(OutcomeUnknown("log", "x")).detail


def test_what_clients_should_never_see_is_raised() -> None:
    error = Misconfigured("the password is x")
    with pytest.raises(Misconfigured) as raised:
        problems.of_error(error)
    assert raised.value is error
