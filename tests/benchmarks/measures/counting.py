"""What the counts of /metrics cost a PUT."""

from __future__ import annotations

from tests.benchmarks import load
from tests.benchmarks.samples import Form, Samples
from tests.benchmarks.servers import Server, Stage

CONNECTIONS = 32


async def counting(stage: Stage, form: Form, samples: Samples) -> None:
    """Single PUTs to a tracker as it is, and to one that doesn't count: how many, and the CPU time that each takes."""
    accounts = form.accounts
    uncounted = "tests.benchmarks.uncounted"
    async with (
        stage.tracker(accounts=accounts, name="counting") as counts,
        stage.tracker(accounts=accounts, name="not counting", module=uncounted) as counts_not,
    ):
        await load.warm_up(stage, counts, counts_not, seconds=form.warm_up, accounts=accounts)
        for side in form.turns((counts, counts_not)):
            samples.add("counting", side.name, f"{CONNECTIONS} connections", await _measured(stage, side, form))


async def _measured(stage: Stage, side: Server, form: Form) -> load.Figures:
    before = side.cpu
    found = await load.put(stage, side, CONNECTIONS, form.seconds, accounts=form.accounts)
    return found | {"work": (side.cpu - before) / (found["rate"] * form.seconds) * 1e6}
