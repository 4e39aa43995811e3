"""A run as people and programs read it: `benchmark.md`, `benchmark.json`, and a plot."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from shared.programs import postgresql_programs, redis_program
from tests.benchmarks.samples import UNITS, Form, Key, Samples, Spread
from tests.benchmarks.targets import TARGETS, Target

ROOT = Path(__file__).parents[2]
PACKAGES = ("trio", "hypercorn", "quart", "quart-trio", "trio-asyncio", "asyncpg", "redis", "hiredis", "httptools")
NOTE = (
    "Figures are medians over the rounds, with the least and the most in brackets. A ratio is that of two figures of "
    "the same round. The load generators run on the same machine; `client` is how much of a core they took."
)
BUSY = 90
"""% of a core, from which on a load generator counts as the bottleneck."""


def describe(form: Form, command: str) -> dict[str, Any]:
    """Where, when and how. To be asked before the run: it says how busy the machine was by others."""
    return {
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": {
            "cores": os.cpu_count(),
            "cpu": _cpu(),
            "kernel": f"{platform.system()} {platform.release()}",
            "load before": round(os.getloadavg()[0], 2),
        },
        "versions": {
            "Python": platform.python_version(),
            **{package: version(package) for package in PACKAGES},
            "PostgreSQL": _said([str(postgresql_programs(Path("/nonexistent")) / "postgres"), "--version"]).split()[-1],
            "Redis": _said([str(redis_program(Path("/nonexistent"))), "--version"]).split("v=")[-1].split()[0],
            "wrk": _said([shutil.which("wrk") or "", "--version"]).split()[1],
        },
        "rounds": form.rounds,
        "seconds": form.seconds,
    }


def markdown(samples: Samples, circumstances: dict[str, Any]) -> str:
    machine, versions = circumstances["machine"], circumstances["versions"]
    where = f"{machine['cores']} cores ({machine['cpu']}), {machine['kernel']}, load before {machine['load before']}"
    parts = [
        "# Benchmark",
        f"`{circumstances['command']}`, {circumstances['date']}, commit {circumstances['commit']}; "
        f"{circumstances['rounds']} rounds of {circumstances['seconds']} s for each figure; {where}; "
        + ", ".join(f"{name} {found}" for name, found in versions.items())
        + ".",
        NOTE,
        "## Targets",
        _table(("measure", "target", "median", "spread", "reached"), (_verdict(target, samples) for target in TARGETS)),
        "## Figures",
    ]
    for measure in dict.fromkeys([*(key.measure for key in samples.values), *samples.notes]):
        parts.append(f"### {measure}")
        if rows := _rows(measure, samples):
            parts.append(_table(*rows))
        parts += _held_back(measure, samples)
        parts += samples.notes.get(measure, [])
    return "\n\n".join(parts) + "\n"


def as_json(samples: Samples, circumstances: dict[str, Any]) -> dict[str, Any]:
    return {
        **circumstances,
        "targets": [_target_as_json(target, samples) for target in TARGETS],
        "figures": [
            {**key._asdict(), "unit": UNITS[key.quantity], **Spread.of(values)._asdict(), "rounds": values}
            for key, values in samples.values.items()
        ],
        "notes": samples.notes,
    }


def write(samples: Samples, circumstances: dict[str, Any], directory: Path) -> str:
    """Write the report and return it as people read it."""
    from tests.benchmarks import plot  # matplotlib is slow to import

    directory.mkdir(parents=True, exist_ok=True)
    text = markdown(samples, circumstances)
    (directory / "benchmark.md").write_text(text)
    (directory / "benchmark.json").write_text(json.dumps(as_json(samples, circumstances), indent=1) + "\n")
    plot.draw(samples, directory / "put.png")
    return text


def _verdict(target: Target, samples: Samples) -> Sequence[str]:
    wanted = f"{target.better} {number(target.bound)}{target.unit}"
    measured = target.measured(samples)
    if measured is None:
        return target.title, wanted, "not measured", "", ""
    median, low, high = map(number, measured)
    said = "yes" if target.reached(measured) else "**no**"
    return target.title, wanted, f"{median}{target.unit}", f"{low} to {high}", said


def _target_as_json(target: Target, samples: Samples) -> dict[str, Any]:
    measured = target.measured(samples)
    return {
        "title": target.title,
        "better": target.better,
        "bound": target.bound,
        "unit": target.unit.strip(),
        "measured": measured and measured._asdict(),
        "reached": measured and target.reached(measured),
    }


def _rows(measure: str, samples: Samples) -> tuple[Sequence[str], list[Sequence[str]]] | None:
    """A line for each case and side, a column for each quantity."""
    keys = [key for key in samples.values if key.measure == measure]
    if not keys:
        return None
    quantities = list(dict.fromkeys(key.quantity for key in keys))
    cases = list(dict.fromkeys(key.case for key in keys))
    lines = []
    for side, case in sorted({(key.side, key.case): None for key in keys}, key=lambda row: cases.index(row[1])):
        cells = (samples.spread(Key(measure, side, case, quantity)) for quantity in quantities)
        lines.append([case, side, *("" if cell is None else _spread(cell) for cell in cells)])
    return ["case", "side", *(f"{quantity}, {UNITS[quantity]}" for quantity in quantities)], lines


def _held_back(measure: str, samples: Samples) -> list[str]:
    """What the load generator could not give more to."""
    held_back = [
        f"{key.side}, {key.case}"
        for key, shares in samples.values.items()
        if key.measure == measure and key.quantity == "client" and Spread.of(shares).median > BUSY
    ]
    return [f"The load generator was the bottleneck of: {'; '.join(held_back)}."] if held_back else []


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _spread(spread: Spread) -> str:
    median, low, high = map(number, spread)
    return median if low == high else f"{median} ({low} to {high})"


def number(value: float) -> str:
    """With three digits, or more before the point."""
    for limit, digits in ((100, 0), (10, 1), (1, 2)):
        if abs(value) >= limit:
            return f"{value:,.{digits}f}"
    return f"{value:.3f}" if value else "0"


def _commit() -> str:
    commit = _said(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]).strip() or "?"
    return f"{commit} with changes" if _said(["git", "-C", str(ROOT), "status", "--porcelain"]).strip() else commit


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())


def _said(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError:
        return "? ?"
