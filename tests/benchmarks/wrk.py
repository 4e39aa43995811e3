"""wrk: PUTs as fast as they are answered, over so many connections.

It is no bottleneck: against an nginx that answers 202 it sends 200,000 a second, where `bare` answers 58,000 (over 32
connections, both on the same two cores).
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import trio

SCRIPT = Path(__file__).with_name("put.lua")
TIMEOUT = 20
"""After how many seconds a request counts as not answered."""


async def put(
    url: str, connections: int, seconds: int, *, accounts: int, sequence: bool = False, first: int = 1
) -> dict[str, float]:
    """Send events to random accounts from 1 to `accounts`, or to one after the other from `first` on.

    Returns `rate` (answered with 202, a second), `p50` and `p99` (ms; of answered requests, each timed from when it was
    sent: a connection sends its next one when it has the answer) and `errors` (other answers, and connections lost).
    """
    # One thread: more would take the servers' core.
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", f"--timeout={TIMEOUT}s"]
    command += ["-s", str(SCRIPT), url, "--", str(accounts), "sequence" if sequence else "random", str(first)]
    done = await trio.run_process(command, capture_stdout=True, stderr=subprocess.STDOUT)
    said = json.loads(done.stdout.splitlines()[-1])
    errors = said["status"] + said["broken"] + said["timeout"]
    return {
        "rate": max(said["requests"] - said["status"], 0) / said["microseconds"] * 1e6,
        "p50": said["p50"] / 1000,
        "p99": said["p99"] / 1000,
        "errors": errors,
    }
