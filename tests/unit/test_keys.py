"""Keys from bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.keys import Key, keys


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (b"q", [Key.QUIT]),
        (b"mf?", [Key.MINUTE, Key.FIVE_MINUTES, Key.HELP]),
        (b"\x1b[A\x1bOB", [Key.UP, Key.DOWN]),
        (b"\x1b[5~\x1b[6~", [Key.PAGE_UP, Key.PAGE_DOWN]),
        (b"\x1b[H\x1bOF", [Key.HOME, Key.END]),
        (b"\x04", [Key.QUIT]),
        (b"", []),
        (b"\x1bq", []),  # Alt+q
        (b"\x1b[1;5A\x1b[200~x\x1b", []),  # Ctrl+Up, the beginning of a paste, a bare Escape
        ("ü€q".encode(), [Key.QUIT]),
    ],
)
def test_keys(typed: bytes, expected: list[Key]) -> None:
    assert keys(typed) == expected


@given(st.binary(max_size=100))
def test_any_bytes(typed: bytes) -> None:
    assert len(keys(typed)) <= len(typed)
