"""The page for people, as the tracker serves it. What it does in a browser is tested in tests/browser."""

from __future__ import annotations

import re
from importlib.resources import files

import httpx
import pytest

CHROMIUM = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
FILES = sorted(entry.name for entry in files("tracker").joinpath("page").iterdir())


@pytest.mark.parametrize("accept", [CHROMIUM, FIREFOX, "text/html", "text/*", "application/json;q=0.5, text/html"])
async def test_browsers_get_the_page(client: httpx.AsyncClient, accept: str) -> None:
    answer = await client.get("/?account=1&account=2", headers={"Accept": accept})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers["Vary"] == "Accept"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy.pop("default-src") == policy.pop("base-uri") == policy.pop("form-action") == "'none'"
    assert policy.pop("frame-ancestors") == "'none'"
    assert set(policy.values()) == {"'self'"}
    assert answer.text.startswith("<!doctype html>")


@pytest.mark.parametrize(
    "accept", ["*/*", "", "application/json", "application/*", "text/html;q=0.5, application/json", "image/png"]
)
async def test_programs_get_the_rate(client: httpx.AsyncClient, accept: str) -> None:
    answer = await client.get("/", headers={"Accept": accept})
    assert (answer.json(), answer.headers["Vary"]) == ({"Rate": 0}, "Accept")


@pytest.mark.parametrize("name", FILES)
async def test_each_file_is_served_and_asked_for_once(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get(f"/page/{name}")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    again = await client.get(f"/page/{name}", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    changed = await client.get(f"/page/{name}", headers={"If-None-Match": '"another"'})
    assert changed.status_code == 200


async def test_all_that_the_page_refers_to_is_there(client: httpx.AsyncClient) -> None:
    pages = [(await client.get(path, headers={"Accept": CHROMIUM})).text for path in ("/", "/docs")]
    referred = {name for page in pages for name in re.findall(r'(?:href|src)="/page/([^"]+)"', page)}
    for name in FILES:
        if name.endswith(".js"):
            referred |= set(re.findall(r'from "\./([^"]+)"', (await client.get(f"/page/{name}")).text))
    assert referred <= set(FILES)
    assert set(FILES) - referred == {"index.html", "docs.html"}


async def test_nothing_else_is_served(client: httpx.AsyncClient) -> None:
    for path in ("/page/other.js", "/page/..%2Fconfig.py", "/page/__init__.py"):
        answer = await client.get(path)
        assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")
    assert (await client.get("/page/events.js")).headers["Access-Control-Allow-Origin"] == "*"
