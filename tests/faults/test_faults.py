"""Every fault, shortly. `nox -s faults` is the long form."""

from __future__ import annotations

import pytest

from tests.faults import report
from tests.faults.faults import FAULTS, Fault
from tests.faults.harness import SHORT, run
from tests.nginx import nginx_program_or_skip


# httpx 0.28 leaves the generator of a request's body to the garbage collector when the connection breaks.
@pytest.mark.filterwarnings("ignore:Async generator 'http(x|core):ResourceWarning")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_nothing_is_lost(fault: Fault) -> None:
    nginx_program_or_skip()
    row = await run(fault, SHORT)
    assert row.verdict.clean, "\n".join(report.details(row))
    assert row.accepted >= 100
