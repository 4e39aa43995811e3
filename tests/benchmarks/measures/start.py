"""How long tracker and listener take until they do what they are for."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import trio

from tests.benchmarks.samples import Form, Samples
from tests.benchmarks.servers import Stage
from tests.faults.world import ROOT, environment

_LISTENING = re.compile("listening for events from")


async def start(stage: Stage, form: Form, samples: Samples) -> None:
    """The tracker with servers of its own, new ones and old ones, and on those that run; the listener beside it."""
    for number in range(form.starts):
        directory = str(stage.directory / f"own-{number}")
        tracker = ["tracker", "--bind", "127.0.0.1:0", "--data-dir", directory]
        async with stage.run("tracker", tracker) as server:
            samples.add("start", "tracker", "own servers, the first time", {"start": server.seconds})
        async with stage.run("tracker", tracker) as server:
            samples.add("start", "tracker", "own servers, again", {"start": server.seconds})
            listener = ["listener", "events", "1", "--data-dir", directory]
            async with stage.run("listener", listener, _LISTENING) as listening:
                samples.add("start", "listener", "until it listens", {"start": listening.seconds})
            seconds = await trio.to_thread.run_sync(_until_said, ["listener", "--data-dir", directory], b"options:")
            samples.add("start", "listener", "until its prompt", {"start": seconds})
        async with stage.tracker(accounts=form.accounts) as server:
            samples.add("start", "tracker", "on running servers", {"start": server.seconds})
        for name in ("tracker", "listener"):
            seconds = await trio.to_thread.run_sync(_until_said, [name, "--help"], b"Options:")
            samples.add("start", name, "--help", {"start": seconds})


def _until_said(command: list[str], text: bytes) -> float:
    """How long `python -m command` takes until it says this."""
    started = time.monotonic()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen([sys.executable, "-m", *command], cwd=ROOT, env=environment(), **pipes) as process:
        said = next((line for line in process.stdout if text in line), None)
        seconds = time.monotonic() - started
        process.kill()
    if said is None:
        raise RuntimeError(f"{command} did not say {text!r}.")
    return seconds
