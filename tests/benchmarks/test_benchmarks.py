"""That the benchmark runs and writes what it should. No test here asks how fast anything is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import report
from tests.benchmarks.measures import MEASURES
from tests.benchmarks.samples import Form, Key, Samples, Spread
from tests.benchmarks.targets import TARGETS, Target
from tests.faults.world import ROOT, environment


def test_the_shortest_run_measures_everything(tmp_path: Path) -> None:
    if shutil.which("wrk") is None:
        if os.environ.get("CI"):
            pytest.fail("There is no wrk on PATH.")
        pytest.skip("needs wrk: apt-get install wrk")
    command = [sys.executable, "-m", "tests.benchmarks", "--quick", "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "benchmark.json").read_text())
    assert {figure["measure"] for figure in found["figures"]} == set(MEASURES)
    assert not [figure for figure in found["figures"] if figure["quantity"] == "errors" and figure["high"]]
    assert done.stdout.rstrip("\n") == (tmp_path / "benchmark.md").read_text().rstrip("\n")
    assert (tmp_path / "put.png").read_bytes().startswith(b"\x89PNG")


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


def test_only_faults_that_happened_have_a_column() -> None:
    samples = samples_of(one=[1])
    samples.add("m", "one", "c", {"errors": 0})
    circumstances = report.describe(Form(rounds=1, seconds=1), "command")
    assert "errors" not in report.markdown(samples, circumstances)
    samples.add("m", "one", "c", {"errors": 1})
    assert "errors" in report.markdown(samples, circumstances)
