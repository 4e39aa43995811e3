"""What a follower costs who gets nothing."""

from __future__ import annotations

from tests.benchmarks import load
from tests.benchmarks.clients.wire import TRANSPORTS
from tests.benchmarks.samples import Form, Samples
from tests.benchmarks.servers import Stage


async def memory(stage: Stage, form: Form, samples: Samples) -> None:
    """By how much a new tracker grows from no follower to many, divided by their number: with all that is loaded or
    allocated for the first of them."""
    for transport in form.turns(TRANSPORTS):
        async with stage.tracker(accounts=form.accounts) as tracker:
            await load.warm_up(stage, tracker, seconds=form.warm_up, accounts=form.accounts)
            before = tracker.memory
            async with load.idle(tracker, transport, followers=form.idle, accounts=form.accounts):
                found = {"memory": (tracker.memory - before) / form.idle / 1024, "resident": tracker.memory / (1 << 20)}
            samples.add("memory", "tracker", transport, found)
