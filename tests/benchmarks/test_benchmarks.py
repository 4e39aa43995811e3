"""That the benchmark runs and writes what it should. No test here asks how fast anything is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.benchmarks import load, report
from tests.benchmarks.clients.paced import Frames
from tests.benchmarks.clients.wire import Needle
from tests.benchmarks.load import Wrong
from tests.benchmarks.measures import MEASURES
from tests.benchmarks.samples import Form, Key, Samples, Spread
from tests.benchmarks.servers import open_stage
from tests.benchmarks.targets import TARGETS, Target
from tests.faults.world import ROOT, environment

GREATER_THAN_NOTHING = {"rate", "deliveries", "p50", "p99", "start", "work", "resident"}
needs_wrk = pytest.mark.skipif(
    shutil.which("wrk") is None and "CI" not in os.environ, reason="needs wrk: apt-get install wrk"
)


@needs_wrk
def test_the_shortest_run_measures_everything(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.benchmarks", "--quick", "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "benchmark.json").read_text())
    missing = {name for name, notes in found["notes"].items() if notes[0].startswith("Not measured")}
    assert {figure["measure"] for figure in found["figures"]} == set(MEASURES) - missing
    assert all(figure["low"] > 0 for figure in found["figures"] if figure["quantity"] in GREATER_THAN_NOTHING)
    assert len(found["targets"]) == len(TARGETS)
    assert done.stdout.rstrip("\n") == (tmp_path / "benchmark.md").read_text().rstrip("\n")
    assert (tmp_path / "put.png").read_bytes().startswith(b"\x89PNG")


@needs_wrk
async def test_nothing_is_measured_that_is_not_in_the_log() -> None:
    async with open_stage() as stage, stage.bare() as bare:
        with pytest.raises(Wrong, match=r"accepted \d+ events, and 0 came to the log"):
            await load.put(stage, replace(bare, is_tracker=True), 1, 1, accounts=1)


@needs_wrk
async def test_nothing_is_measured_of_wrong_answers() -> None:
    async with open_stage() as stage, stage.tracker(accounts=1) as tracker:
        with pytest.raises(Wrong, match=r"'status': [1-9]"):
            await load.put(stage, tracker, 1, 1, accounts=2)
        with pytest.raises(Wrong, match="404"):
            await load.paced(stage, tracker, connections=1, rate=10, seconds=1, accounts=2, until="answer")


def test_a_text_is_counted_once_wherever_reads_divide_it() -> None:
    text = b"..abc...abc.abcabc."
    for place in range(len(text)):
        for end in range(place, len(text)):
            needle = Needle(b"abc")
            assert needle.look(text[:place]) + needle.look(text[place:end]) + needle.look(text[end:]) == 4


def test_a_frame_is_found_once_wherever_reads_divide_it() -> None:
    text = b'.."Data":"123","Host".."Data":"456"..'
    for place in range(len(text)):
        for end in range(place, len(text)):
            frames = Frames()
            found = [*frames.look(text[:place]), *frames.look(text[place:end]), *frames.look(text[end:])]
            assert found == [123, 456]


def samples_of(**sides: list[float]) -> Samples:
    samples = Samples()
    for side, values in sides.items():
        for value in values:
            samples.add("m", side, "c", {"rate": value})
    return samples


ONE, OTHER = Key("m", "one", "c", "rate"), Key("m", "other", "c", "rate")


def test_a_ratio_is_that_of_the_same_round() -> None:
    samples = samples_of(one=[100, 10, 60], other=[50, 10, 20])
    assert samples.ratio(ONE, OTHER) == Spread(2, 1, 3)
    assert samples.spread(ONE) == Spread(60, 10, 100)


@pytest.mark.parametrize(
    ("better", "median", "reached"),
    [("at least", 2, True), ("at least", 1.9, False), ("below", 2, False), ("below", 1.9, True), ("at most", 2, True)],
)
def test_a_target_is_reached_by_the_median(better: str, median: float, reached: bool) -> None:
    target = Target("t", ONE, 2, better)  # type: ignore[arg-type]
    assert target.reached(Spread(median, 0, 100)) is reached


def test_what_was_not_measured_is_called_so() -> None:
    samples = samples_of(one=[1])
    assert Target("t", ONE, 2, against=OTHER).measured(samples) is None
    text = report.markdown(samples, report.describe(Form(rounds=1, seconds=1), "command"))
    assert text.count("not measured") == len(TARGETS)


def test_a_busy_client_is_named() -> None:
    samples = samples_of(one=[1], other=[1])
    samples.add("m", "one", "c", {"client": 97})
    samples.add("m", "other", "c", {"client": 20})
    text = report.markdown(samples, report.describe(Form(rounds=1, seconds=1), "command"))
    assert "bottleneck of: one, c.\n" in text


@pytest.mark.parametrize(("value", "said"), [(1234.5, "1,234"), (99.51, "99.5"), (1.234, "1.23"), (0.1234, "0.123")])
def test_figures_have_three_digits(value: float, said: str) -> None:
    assert report.number(value) == said
