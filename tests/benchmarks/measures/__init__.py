"""Every measure, by name. Each adds its figures to the samples, and starts and stops the servers that it needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tests.benchmarks.measures.accounts import accounts
from tests.benchmarks.measures.bulk import bulk
from tests.benchmarks.measures.counting import counting
from tests.benchmarks.measures.end_to_end import end_to_end
from tests.benchmarks.measures.fan_out import fan_out
from tests.benchmarks.measures.memory import memory
from tests.benchmarks.measures.put import same_rate, single_put
from tests.benchmarks.measures.start import start
from tests.benchmarks.measures.workers import workers
from tests.benchmarks.samples import Form, Samples
from tests.benchmarks.servers import Stage

Measure = Callable[[Stage, Form, Samples], Awaitable[None]]

MEASURES: dict[str, Measure] = {
    "put": single_put,
    "same-rate": same_rate,
    "bulk": bulk,
    "fan-out": fan_out,
    "end-to-end": end_to_end,
    "memory": memory,
    "start": start,
    "workers": workers,
    "accounts": accounts,
    "counting": counting,
}
