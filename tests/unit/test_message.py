"""Messages as frames of a WebSocket, read by another implementation."""

from __future__ import annotations

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage

from tracker.http.message import Message


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 200_000])
def test_a_frame_of_any_size(size: int) -> None:
    message = Message(b"\xc3\xa4" * (size // 2) + b"x" * (size % 2))
    assert len(message) == size
    for parts in ([message.frame], [message.frame[:1], message.frame[1:3], message.frame[3:]]):
        client = Connection(ConnectionType.CLIENT)
        found = []
        for part in parts:
            client.receive_data(part)
            found += list(client.events())
        assert all(isinstance(event, TextMessage) for event in found)
        assert "".join(event.data for event in found) == message.text
        assert found[-1].message_finished
    assert len(message.frame) == size + (2 if size < 126 else 4 if size < 65_536 else 10)


def test_a_frame_is_made_once() -> None:
    message = Message(b"x")
    assert message.frame is message.frame
