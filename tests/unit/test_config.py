"""The command line, the environment and the file, and what is said of bad ones."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from shared.errors import Misconfigured
from tracker import __main__ as command_line
from tracker.config import Config


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `tracker ARGUMENTS` and return click's result and the settings it would have served with."""
    seen: list[Config] = []

    async def serve(config: Config, **kwargs: Any) -> None:
        seen.append(config)
        kwargs["task_status"].started(["http://somewhere"])

    monkeypatch.setattr(command_line, "service_of", lambda config: nullcontext(serve))

    def run(*arguments: str, **environment: str) -> tuple[Result, Config | None]:
        seen.clear()
        result = CliRunner().invoke(command_line.cli, arguments, env=environment)
        return result, seen[0] if seen else None

    return run


def test_ready_line_and_defaults(run: Any) -> None:
    for arguments in ([], ["serve"]):
        result, config = run(*arguments)
        assert (result.exit_code, result.stderr) == (0, "Tracking on http://somewhere\n")
        assert config.bind == "127.0.0.1:8080"
        assert config.database is config.redis is None


def test_flag_beats_environment_beats_file_beats_default(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "tracker.toml"
    file.write_text('host = "file"\nkeep-events = 5\nredis = "redis://file"\n')
    _, config = run("--config", str(file), "--host", "flag", TRACKER_HOST="variable", REDIS_URL="redis://variable")
    assert (config.host, config.redis, config.keep_events, config.max_data) == ("flag", "redis://variable", 5, 65536)


def test_every_setting_is_in_the_help(run: Any) -> None:
    result, _ = run("--help")
    for field in dataclasses.fields(Config):
        assert f"--{field.name.replace('_', '-')}" in result.output
        assert f"TRACKER_{field.name.upper()}" in result.output
    assert "DATABASE_URL" in result.output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no = toml = file", "is not a TOML file"),
        ("bindd = 'x'", "has settings that tracker does not know: ['bindd']"),
        ("keep-events = 0", "0 is not in the range x>=1"),
    ],
)
def test_bad_files(run: Any, tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "tracker.toml"
    file.write_text(text)
    result, _ = run(TRACKER_CONFIG=str(file))
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize("bind", ["8080", "127.0.0.1", "host:port", "127.0.0.1:99999", "::1:80", "x@y:80", ""])
def test_bad_addresses(run: Any, bind: str) -> None:
    result, config = run("--bind", bind)
    assert (result.exit_code, config) == (1, None)
    assert "expected HOST:PORT" in result.stderr


@pytest.mark.parametrize(
    ("bind", "address"),
    [("[::1]:80", ("::1", 80)), (":8080", (None, 8080)), ("localhost:0", ("localhost", 0))],
)
def test_addresses(bind: str, address: tuple[str | None, int]) -> None:
    assert Config(bind=bind).address == address


@pytest.mark.parametrize(
    "settings",
    [
        {"database": "mysql://x"},
        {"database": "db.internal"},
        {"redis": "http://x"},
        {"redis": "redis://x:port"},
        {"redis": "redis://x/?foo=1"},
    ],
)
def test_bad_urls(settings: dict[str, str]) -> None:
    with pytest.raises(Misconfigured, match="Expected"):
        Config(**settings)


@pytest.mark.parametrize("nested", [False, True])
def test_a_failure_ends_with_a_traceback_and_a_status(
    run: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], nested: bool
) -> None:
    async def serve(config: Config, **kwargs: Any) -> None:
        error = ZeroDivisionError("a bug")
        raise ExceptionGroup("nested", [error]) if nested else error

    monkeypatch.setattr(command_line, "service_of", lambda config: nullcontext(serve))
    result, _ = run()
    assert result.exit_code == 1
    assert "ZeroDivisionError: a bug" in result.stderr + capfd.readouterr().err
