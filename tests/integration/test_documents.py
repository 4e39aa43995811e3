"""What the API says of itself, held against what it does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

import httpx
import jsonschema
import openapi_spec_validator
import pytest
import trio

from tests.integration.conftest import StartTracker
from tests.integration.test_process import tracker
from tests.integration.websockets import websocket

HERE = Path(__file__).parent


async def document(client: httpx.AsyncClient, name: str) -> dict[str, Any]:
    answer = await client.get(f"/{name}.json")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    return cast(dict[str, Any], answer.json())


def check(schema: dict[str, Any], components: dict[str, Any], value: Any) -> None:
    jsonschema.Draft202012Validator({**schema, "components": components}).validate(value)


async def test_openapi_is_valid_and_has_every_route(client: httpx.AsyncClient) -> None:
    found = await document(client, "openapi")
    assert found["openapi"].startswith("3.1.")
    openapi_spec_validator.validate(found)
    methods = {path: sorted(operations) for path, operations in found["paths"].items()}
    assert methods == {
        "/": ["get", "post"],
        "/accounts": ["get"],
        "/asyncapi.json": ["get"],
        "/docs": ["get"],
        "/events": ["get", "post"],
        "/livez": ["get"],
        "/metrics": ["get"],
        "/openapi.json": ["get"],
        "/rates": ["get"],
        "/readyz": ["get"],
        "/{id}": ["get", "patch", "put"],
    }
    operations = [operation for path in found["paths"].values() for operation in path.values()]
    assert all(operation["summary"] and operation["tags"] for operation in operations)
    assert len({operation["operationId"] for operation in operations}) == len(operations)


async def test_examples_are_as_the_schemas_say(client: httpx.AsyncClient) -> None:
    found = await document(client, "openapi")
    checked = 0

    def look(value: Any) -> None:
        nonlocal checked
        if isinstance(value, list):
            for inner in value:
                look(inner)
        elif isinstance(value, dict):
            if "schema" in value and "example" in value:
                check(value["schema"], found["components"], value["example"])
                checked += 1
            for inner in value.values():
                look(inner)

    look(found)
    assert checked > 20


async def test_asyncapi_describes_the_frames_that_flow(start_tracker: StartTracker) -> None:
    async with start_tracker(keep_events=2) as client:
        found = await document(client, "asyncapi")
        assert found["asyncapi"] == "3.0.0"
        components = found["components"]
        for message in components["messages"].values():
            for example in message["examples"]:
                check(message["payload"], components, example["payload"])
        for number in range(200):
            await client.put("/7", json={"number": number})
        seen = set()
        url = str(client.base_url).rstrip("/").replace("http:", "ws:") + "/events?account=7&account=99999&since=all"
        async with websocket(url) as stream:
            await stream.send_message("no wish")
            while seen < {"Event", "Ready", "Gap", "Error"}:
                with trio.fail_after(20):
                    lines = (await stream.get_message()).split("\n")
                for frame in map(json.loads, lines):
                    name = frame.get("Frame", "event").capitalize()
                    check(components["messages"][name]["payload"], components, frame)
                    seen.add(name)


async def test_the_documentation_for_people(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    for url in re.findall(r'(?:href|src)="([^"]+)"', page.text):
        assert url.startswith("/")
        assert (await client.get(url)).status_code == 200
    for path in ("/docs/index.css", "/docs/..%2Fpage"):
        assert (await client.get(path)).status_code == 404


@pytest.mark.timeout(300)
async def test_schemathesis_finds_no_difference() -> None:
    with tempfile.TemporaryDirectory(prefix="tt-", dir="/tmp") as data_dir:
        async with tracker("--data-dir", data_dir) as running:
            command = [
                Path(sys.executable).with_name("schemathesis"), "--config-file", HERE / "schemathesis.toml",
                "run", f"{await running.url()}/openapi.json",
                "--checks", "all", "--phases", "examples,coverage,fuzzing", "--max-examples", "30",
                "--generation-deterministic", "--suppress-health-check", "all", "--no-color",
            ]  # fmt: skip
            environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.integration.schemathesis_hooks"}
            found = await trio.run_process(
                command,
                check=False,
                capture_stdout=True,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=HERE.parent.parent,
            )
            assert found.returncode == 0, found.stdout.decode()
            assert b"Tested: 14" in found.stdout
            assert "request failed" not in running.said.decode()
