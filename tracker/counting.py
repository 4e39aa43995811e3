"""How the processes of one tracker count together, in files that prometheus-client maps into memory."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from prometheus_client import multiprocess, values

PARENT = 0


def count_together(directory: Path, number: int) -> None:
    """Count from here on in files of this directory: the parent as number 0, the workers from 1.

    To be called before `tracker.metrics` is imported, which makes the counters. The number names the files, where
    prometheus-client would take the process ID: a worker that is started again goes on counting where the last one of
    its number ended, so no total falls, and there are never more files than workers.
    """
    if "tracker.metrics" in sys.modules:
        raise RuntimeError("the counters are made already")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
    values.ValueClass = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]


def forget(number: int) -> None:
    """Forget what was a state of a worker that has gone, such as its open connections; what it counted stays."""
    multiprocess.mark_process_dead(number)  # type: ignore[no-untyped-call]
