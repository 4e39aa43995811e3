"""A WebSocket client for tests."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import trio
from trio_websocket import WebSocketConnection, wrap_client_stream

from shared.errors import first_leaf


@asynccontextmanager
async def websocket(
    url: str, ssl_context: ssl.SSLContext | None = None, **options: Any
) -> AsyncIterator[WebSocketConnection]:
    """Connect on a stream of our own: that of trio-websocket (0.12) stays open if the server closes first or refuses.

    Any exception comes out of its groups.
    """
    parts = urlsplit(url)
    stream: Any = await trio.open_tcp_stream(parts.hostname or "", parts.port or 0)
    if ssl_context:
        stream = trio.SSLStream(stream, ssl_context, server_hostname=parts.hostname, https_compatible=True)
    resource = f"{parts.path}?{parts.query}" if parts.query else parts.path
    try:
        async with trio.open_nursery() as nursery:
            yield await wrap_client_stream(nursery, stream, parts.netloc, resource, **options)
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise first_leaf(group) from None
    finally:
        await trio.aclose_forcefully(stream)
