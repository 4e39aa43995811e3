"""Frames on the wire."""

from __future__ import annotations

import pytest

from shared.frames import Bye, Error, EventFrame, Frame, Gap, Lagging, NoFrame, Ready, decode, decode_event, encode

EVENT = b'{"ID":7,"Timestamp":"2021-02-06T17:35:30.000123Z","Data":{"Frame":"bye"},"Host":"h","Position":"p","Seq":3}'


@pytest.mark.parametrize(
    ("frame", "line"),
    [
        (Ready("p"), b'{"Frame":"ready","Position":"p"}'),
        (
            Gap(account_id=7, from_seq=12, to_seq=19, reason="expired"),
            b'{"Frame":"gap","ID":7,"FromSeq":12,"ToSeq":19,"Reason":"expired"}',
        ),
        (Gap(reason="epoch"), b'{"Frame":"gap","Reason":"epoch"}'),
        (Lagging(5321), b'{"Frame":"lagging","Behind":5321}'),
        (Error(account_id=9, detail="no"), b'{"Frame":"error","ID":9,"Detail":"no"}'),
        (Error(detail="no"), b'{"Frame":"error","Detail":"no"}'),
        (Bye("shutdown", True), b'{"Frame":"bye","Reason":"shutdown","Retry":true}'),
        (EventFrame(7, 3, "p", EVENT), EVENT),
    ],
)
def test_there_and_back(frame: Frame, line: bytes) -> None:
    assert encode(frame) == line
    assert decode(line) == frame


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"x",
        b"[]",
        b"{}",
        b"\xff",
        b'{"Frame":"unknown"}',
        b'{"Frame":"gap"}',
        b'{"ID":"7","Position":"p","Seq":3}',
        b'{"ID":7,"Position":"p"}',
        b'{"ID":7,"Position":"p","Seq":1.5}',
        b'{"ID":7,"Position":"p","Seq":3',
        b'{"ID":7,"Position":"p","Seq":3,"Data":' + b"[" * 100_000,
    ],
)
def test_what_is_no_frame(line: bytes) -> None:
    with pytest.raises(NoFrame):
        decode(line)


def test_a_control_frame_is_no_event() -> None:
    with pytest.raises(NoFrame):
        decode_event(b'{"Frame":"ready","Position":"p"}')
