"""Single PUTs: as many as go, and as many as plain can take."""

from __future__ import annotations

from tests.benchmarks import load
from tests.benchmarks.samples import Form, Key, Samples
from tests.benchmarks.servers import Stage

CONNECTIONS = 32
SHARE = 0.5
"""Of what plain answers when it gets all it can: it sustains that without a queue that grows."""


async def single_put(stage: Stage, form: Form, samples: Samples) -> None:
    """Throughput and latency of tracker, plain and bare, at each number of connections."""
    accounts = form.accounts
    async with (
        stage.tracker(accounts=accounts) as tracker,
        stage.plain(accounts=accounts) as plain,
        stage.bare() as bare,
    ):
        sides = (tracker, plain, bare)
        await load.warm_up(stage, *sides, seconds=form.warm_up, accounts=accounts)
        cases = [(connections, side) for connections in form.connections for side in sides]
        for connections, side in form.turns(cases):
            found = await load.put(stage, side, connections, form.seconds, accounts=accounts)
            samples.add("put", side.name, f"{connections} connections", found)


async def same_rate(stage: Stage, form: Form, samples: Samples) -> None:
    """Latency of tracker and plain when both get the same: half of what plain can do."""
    accounts = form.accounts
    async with stage.tracker(accounts=accounts) as tracker, stage.plain(accounts=accounts) as plain:
        await load.warm_up(stage, tracker, plain, seconds=form.warm_up, accounts=accounts)
        if known := samples.spread(Key("put", "plain", f"{CONNECTIONS} connections", "rate")):
            most = known.median
        else:
            most = (await load.put(stage, plain, CONNECTIONS, form.seconds, accounts=accounts))["rate"]
        rate = SHARE * most
        samples.note("same-rate", f"{rate:,.0f} PUTs a second, half of what plain answers at most.")
        for side in form.turns((tracker, plain)):
            found = await load.paced(
                stage,
                side,
                connections=CONNECTIONS,
                rate=rate,
                seconds=form.seconds,
                accounts=accounts,
                until="answer",
            )
            samples.add("same-rate", side.name, f"{CONNECTIONS} connections", found)
