"""Events by POST /events, as many as go."""

from __future__ import annotations

from tests.benchmarks import load
from tests.benchmarks.samples import Form, Samples
from tests.benchmarks.servers import Stage

CONNECTIONS = 4
PUT_CONNECTIONS = 32


async def bulk(stage: Stage, form: Form, samples: Samples) -> None:
    """Events a second in both forms of POST /events, beside plain's PUTs, which has nothing else."""
    accounts = form.accounts
    async with stage.tracker(accounts=accounts) as tracker, stage.plain(accounts=accounts) as plain:
        await load.warm_up(stage, tracker, plain, seconds=form.warm_up, accounts=accounts)
        for case in form.turns(("NDJSON", "JSON", "PUT")):
            if case == "PUT":
                found = await load.put(stage, plain, PUT_CONNECTIONS, form.seconds, accounts=accounts)
                samples.add("bulk", "plain", case, found)
            else:
                found = await load.bulk(
                    stage, tracker, case, connections=CONNECTIONS, seconds=form.seconds, accounts=accounts
                )
                samples.add("bulk", "tracker", case, found)
