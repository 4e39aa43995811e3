"""Ctrl+C and its like as cancellation."""

from __future__ import annotations

from collections.abc import AsyncIterator

import trio


async def cancel_at_signal(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    """Wait for the next signal of a receiver, and cancel `scope`."""
    async for _ in signals:
        scope.cancel()
        return
