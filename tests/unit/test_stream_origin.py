"""Whose pages may follow events."""

from __future__ import annotations

import pytest
from werkzeug.exceptions import Forbidden

from shared.errors import Misconfigured
from tracker.config import Config
from tracker.http.origin import Origins


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://a", "a"),
        ("https://a", "a"),
        ("https://a:443", "a"),
        ("https://a", "a:443"),
        ("http://A.Example:80", "a.example"),
        ("http://[::1]:8080", "[::1]:8080"),
        ("https://a:8443", "a:8443"),
    ],
)
def test_pages_of_the_host_itself(origin: str, host: str) -> None:
    assert Origins().check([origin], host) is None


@pytest.mark.parametrize(
    ("given", "host"),
    [
        (["http://b"], "a"),
        (["http://a:8080"], "a"),
        (["http://a"], "a:8080"),
        (["http://a.example"], "a"),
        (["null"], "null"),
        (["null"], ""),
        ([""], ""),
        (["http://"], ""),
        (["http://a/"], "a"),
        (["http://a\n"], "a"),
        (["http://x@a"], "a"),
        (["http://a", "http://a"], "a"),
        (["http://a:999999"], "a:999999"),
        (["é" * 1000], "a"),
    ],
)
def test_other_pages(given: list[str], host: str) -> None:
    with pytest.raises(Forbidden, match="--allow-origin"):
        Origins("https://app.example").check(given, host)


def test_who_is_no_browser_needs_no_origin() -> None:
    assert Origins().check([], "a") is None


def test_pages_that_are_named() -> None:
    origins = Origins("https://app.example, HTTP://localhost:3000,")
    for origin in ("https://app.example", "https://app.example:443", "http://localhost:3000"):
        assert origins.check([origin], "a") == origin
    with pytest.raises(Forbidden):
        origins.check(["http://app.example"], "a")
    assert Origins("*").check(["null"], "a") == "null"
    assert [Origins(text).matter for text in ("", "*", "https://a")] == [False, True, True]


@pytest.mark.parametrize(
    "text", ["app.example", "https://a/", "https://a/x", "null", "https://*.a", "*,https://a", "//a"]
)
def test_a_setting_that_names_no_origin(text: str) -> None:
    with pytest.raises(Misconfigured, match="expected origins"):
        Config(allow_origin=text)
