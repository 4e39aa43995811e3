"""One account's events to many followers."""

from __future__ import annotations

from tests.benchmarks import load
from tests.benchmarks.samples import Form, Samples
from tests.benchmarks.servers import Stage


async def fan_out(stage: Stage, form: Form, samples: Samples) -> None:
    """Deliveries a second over WebSocket, by tracker and plain.

    The events are put one by one to another tracker, for both sides. So the process with the followers does nothing but
    serve them: plain has no PUTs of its own to answer, which would make it slower. It has to keep up with the channel
    that the log publishes on, as the tracker has.
    """
    accounts = form.few
    async with (
        stage.tracker(accounts=accounts, name="source") as source,
        stage.tracker(accounts=accounts) as tracker,
        stage.plain(accounts=accounts) as plain,
    ):
        await load.warm_up(stage, source, seconds=form.warm_up, accounts=accounts)
        cases = [(followers, side) for followers in form.followers for side in (tracker, plain)]
        for followers, side in form.turns(cases):
            found = await load.fan_out(stage, source, side, followers=followers, seconds=form.seconds)
            samples.add("fan-out", side.name, f"{followers} followers", found)
