"""A message to a client of a WebSocket, in the forms in which it can be sent."""

from __future__ import annotations

from functools import cached_property

_TEXT = 0x81
"""The first byte of a frame that is a whole message of text (RFC 6455, 5.2)."""


class Message:
    """Text, given as UTF-8. Each form is made once, for all to whom the message goes."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload

    def __len__(self) -> int:
        return len(self.payload)

    @cached_property
    def text(self) -> str:
        """For a WebSocket of ASGI."""
        return self.payload.decode()

    @cached_property
    def frame(self) -> bytes:
        """For the connection itself: a server's frame, which is not masked (RFC 6455, 5.2)."""
        size = len(self.payload)
        if size < 126:
            return bytes((_TEXT, size)) + self.payload
        if size < 1 << 16:
            return bytes((_TEXT, 126)) + size.to_bytes(2, "big") + self.payload
        return bytes((_TEXT, 127)) + size.to_bytes(8, "big") + self.payload
