"""How a tracker grows with its accounts."""

from __future__ import annotations

from tests.benchmarks import load
from tests.benchmarks.samples import Form, Samples
from tests.benchmarks.servers import Server, Stage

CONNECTIONS = 32
WARM_UP = 3
"""How many times longer than elsewhere it takes until a tracker knows a million accounts, by neighbours of 1024."""
SMALL_CACHE = 100_000
FEW, MANY, MANY_SMALL = "few accounts", "many accounts", "many accounts, small cache"
FULL, END = f"{MANY_SMALL}: once it was full", f"{MANY_SMALL}: at the end"


async def accounts(stage: Stage, form: Form, samples: Samples) -> None:
    """PUTs to random accounts, few or many, and the memory that the tracker has after them; and when it starts."""
    async with (
        stage.tracker(accounts=form.few) as few,
        stage.tracker(accounts=form.many) as many,
        stage.tracker("--cache-size", str(SMALL_CACHE), accounts=form.many) as many_small,
    ):
        sides = ((FEW, few, form.few), (MANY, many, form.many), (MANY_SMALL, many_small, form.many))
        for case, server, _ in sides:
            samples.add("accounts", "tracker", case, {"start": server.seconds})
        for _, server, number in sides:
            await load.warm_up(stage, server, seconds=WARM_UP * form.warm_up, accounts=number)
        samples.add("accounts", "tracker", FULL, {"resident": _resident(many_small)})
        for case, server, number in form.turns(sides):
            found = await load.put(stage, server, CONNECTIONS, form.seconds, accounts=number)
            samples.add("accounts", "tracker", case, found | {"resident": _resident(server)})
        samples.add("accounts", "tracker", END, {"resident": _resident(many_small)})
        samples.note("accounts", f"Few: {form.few:,}. Many: {form.many:,}. Small cache: --cache-size {SMALL_CACHE}.")


def _resident(server: Server) -> float:
    """In MiB."""
    return server.memory / (1 << 20)
