"""From a PUT to the follower's screen."""

from __future__ import annotations

from tests.benchmarks import load
from tests.benchmarks.samples import Form, Samples
from tests.benchmarks.servers import Stage

CONNECTIONS = 32


async def end_to_end(stage: Stage, form: Form, samples: Samples) -> None:
    """The time from when an event is to be put until its frame is there, over WebSocket, at each rate.

    Plain only at the lowest, which is all that it is sure to keep up with.
    """
    async with stage.tracker(accounts=form.few) as tracker, stage.plain(accounts=form.few) as plain:
        await load.warm_up(stage, tracker, plain, seconds=form.warm_up, accounts=form.few)
        lowest = min(form.event_rates)
        for rate, side in form.turns([*((rate, tracker) for rate in form.event_rates), (lowest, plain)]):
            found = await load.paced(
                stage,
                side,
                connections=CONNECTIONS,
                rate=rate,
                seconds=form.seconds,
                accounts=1,
                until="ready frame" if side.is_tracker else "frame",
            )
            samples.add("end-to-end", side.name, f"{rate:,} events/s", found)
