"""Single PUTs, over so many connections."""

from __future__ import annotations

from tests.benchmarks import wrk
from tests.benchmarks.samples import Form, Samples
from tests.benchmarks.servers import Stage


async def single_put(stage: Stage, form: Form, samples: Samples) -> None:
    """Throughput and latency of tracker, plain and bare, at each number of connections."""
    accounts = form.accounts
    async with (
        stage.tracker(accounts=accounts) as tracker,
        stage.plain(accounts=accounts) as plain,
        stage.bare() as bare,
    ):
        sides = (tracker, plain, bare)
        for side in sides:
            await wrk.put(side.url, max(form.connections), form.warm_up, accounts=accounts)
        cases = [(connections, side) for connections in form.connections for side in sides]
        for connections, side in form.turns(cases):
            found = await wrk.put(side.url, connections, form.seconds, accounts=accounts)
            samples.add("put", side.name, f"{connections} connections", found)
