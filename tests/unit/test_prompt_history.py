"""The file of what was typed: cut in time, nobody else's, and never in the way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from listener.__main__ import cli
from listener.prompt_history import KEPT, LONGEST, HistoryFile
from listener.settings import default_history


def test_each_question_has_its_own(tmp_path: Path) -> None:
    path = tmp_path / "history"
    first = HistoryFile(path)
    first.of(">").append_string("accounts")
    first.of("accounts >").append_string("1 >2")
    first.of(">").append_string("events")
    again = HistoryFile(path)
    assert again.answers(">") == ["accounts", "events"]
    assert list(again.of("accounts >").load_history_strings()) == ["1 >2"]
    assert again.trouble is None


def test_none() -> None:
    file = HistoryFile(None)
    file.append(">", "events")
    assert (file.answers(">"), file.trouble) == ([], None)


def test_it_is_cut_when_it_is_long(tmp_path: Path) -> None:
    path, link = tmp_path / "history", tmp_path / "link"
    link.symlink_to(path)
    path.write_text("".join(f">{number}\n" for number in range(2 * KEPT)))
    assert len(HistoryFile(link).answers(">")) == 2 * KEPT
    HistoryFile(link).append(">", "last")
    kept = [*(str(number) for number in range(KEPT + 1, 2 * KEPT)), "last"]
    assert HistoryFile(link).answers(">") == kept
    assert path.read_text() == "".join(f">{one}\n" for one in kept)
    assert link.is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["history", "link"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_of_a_huge_file_the_end_counts(tmp_path: Path) -> None:
    path = tmp_path / "history"
    with path.open("wb") as file:
        file.write(b">first\n")
        file.truncate(1 << 30)
        file.seek(0, os.SEEK_END)
        file.write(b"\n>last\n")
    assert HistoryFile(path).answers(">") == ["last"]
    assert path.read_text() == ">last\n"


@pytest.mark.parametrize("content", [b"events\naccounts\n", b"\x00\xff\xfe\n", b"#!/bin/sh\n" * 5000])
def test_what_is_another_programs_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "history"
    path.write_bytes(content)
    file = HistoryFile(path)
    file.append(">", "events")
    assert "another program's" in str(file.trouble)
    assert path.read_bytes() == content


def test_damage_is_passed_by(tmp_path: Path) -> None:
    path = tmp_path / "history"
    path.write_bytes(b"\xff\x00\x1b\n\n>events\n>acc\xffounts\n>cut")
    assert HistoryFile(path).answers(">") == ["events", "acc\ufffdounts"]


def test_odd_lines(tmp_path: Path) -> None:
    path = tmp_path / "history"
    file = HistoryFile(path)
    for answer in ("x" * (LONGEST + 1), "a\nb\r\nc", "\udcff"):
        file.append(">", answer)
    assert HistoryFile(path).answers(">") == ["a b c", "?"]


@pytest.mark.parametrize("kind", ["directory", "pipe", "parent is a file", "unreadable"])
def test_what_can_not_be_used_is_told(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "history"
    match kind:
        case "directory":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "parent is a file":
            path.write_bytes(b"")
            path /= "history"
        case "unreadable":
            if os.geteuid() == 0:
                pytest.skip("root may read everything")
            path.touch(mode=0o200)
    file = HistoryFile(path)
    file.append(">", "events")
    assert "can't be used" in str(file.trouble)


def test_dev_null_is_a_way_to_keep_none() -> None:
    file = HistoryFile(Path("/dev/null"))
    file.append(">", "events")
    assert file.trouble is None


@pytest.mark.parametrize(
    ("variable", "arguments", "expected"),
    [
        (None, [], default_history()),
        (None, ["--config"], None),
        ("", [], None),
        ("/variable", [], Path("/variable")),
        ("", ["--history", "/flag"], Path("/flag")),
        ("/variable", ["--history", ""], None),
        ("/variable", ["--config"], Path("/variable")),
    ],
)
def test_which_file_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str | None, arguments: list[str], expected: Path | None
) -> None:
    monkeypatch.delenv("LISTENER_HISTORY", raising=False)
    if variable is not None:
        monkeypatch.setenv("LISTENER_HISTORY", variable)
    if arguments == ["--config"]:
        file = tmp_path / "listener.toml"
        file.write_text('history = ""\n')
        arguments = ["--config", str(file)]
    assert cli.make_context("listener", arguments).params["history"] == expected
