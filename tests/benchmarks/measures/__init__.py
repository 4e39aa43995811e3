"""Every measure, by name. Each adds its numbers to the samples."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tests.benchmarks.measures.put import single_put
from tests.benchmarks.samples import Form, Samples
from tests.benchmarks.servers import Stage

Measure = Callable[[Stage, Form, Samples], Awaitable[None]]

MEASURES: dict[str, Measure] = {
    "put": single_put,
}
