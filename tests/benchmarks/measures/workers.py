"""A tracker of one process, and one of two."""

from __future__ import annotations

from tests.benchmarks import load
from tests.benchmarks.samples import Form, Samples
from tests.benchmarks.servers import Stage

CONNECTIONS = (32, 128)


async def workers(stage: Stage, form: Form, samples: Samples) -> None:
    """Single PUTs. The load generator, Redis and PostgreSQL are on the same cores."""
    accounts = form.accounts
    async with (
        stage.tracker("--workers", "1", accounts=accounts, name="one worker") as one,
        stage.tracker("--workers", "2", accounts=accounts, name="two workers") as two,
    ):
        sides = (one, two)
        await load.warm_up(stage, *sides, seconds=form.warm_up, accounts=accounts)
        cases = [
            (connections, side) for connections in form.connections if connections in CONNECTIONS for side in sides
        ]
        for connections, side in form.turns(cases):
            found = await load.put(stage, side, connections, form.seconds, accounts=accounts)
            samples.add("workers", side.name, f"{connections} connections", found)
