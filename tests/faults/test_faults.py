"""Every fault, shortly. `nox -s faults` is the long form."""

from __future__ import annotations

import pytest

from tests.faults import report
from tests.faults.faults import FAULTS, Fault
from tests.faults.harness import SHORT, run
from tests.nginx import nginx_program_or_skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_nothing_is_lost(fault: Fault) -> None:
    nginx_program_or_skip()
    row = await run(fault, SHORT)
    assert row.verdict.clean, "\n".join(report.details(row))
    assert row.accepted >= 100
