"""Bulks without a tracker: what a line is, where a chunk ends, how far it is shown to be."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from listener.bulk_file import CHUNK_BYTES, CHUNK_LINES, LONGEST_LINE, BulkReader, Chunk, NoItem, Shorter, parse
from listener.bulk_progress import Counts, Progress
from listener.bulk_sending import _unordered
from listener.sending import REMEMBERED, Result
from shared.appending import REMEMBER


@contextmanager
def opened(content: bytes) -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        yield file.fileno()


def cut(content: bytes, at: int = 0, line: int = 0) -> list[Chunk]:
    with opened(content) as descriptor:
        reader = BulkReader(descriptor, at, line, len(content))
        return list(iter(reader.cut, None))


def test_keys_are_remembered_as_long_as_the_log_does() -> None:
    assert REMEMBERED == REMEMBER


@pytest.mark.parametrize(
    ("line", "item"),
    [
        (b'{"ID":1,"Data":"a"}', b'{"ID":1,"Data":"a"}'),
        (b' { "Data" : 1.50 , "ID" : 7 }\r\n', b'{"ID":7,"Data":1.50}'),
        (b'{"ID":1,"Timestamp":"t","Data":{"x":[]},"Host":"h","Position":"p","Seq":4,"Error":"e"}', None),
        (b'{"ID":1,"Data":123456789012345678901234567890.10}', None),
        (b'{"ID":99999999999999999999,"Data":null}', None),
    ],
)
def test_items(line: bytes, item: bytes | None) -> None:
    parsed = parse(line)
    assert parsed is not None
    if item is not None:
        assert parsed[1] == item
    assert parsed[1].startswith(b'{"ID":%d,"Data":' % parsed[0])
    assert parse(parsed[1]) == parsed


def test_digits_are_kept() -> None:
    assert parse(b'{"Seq":1,"ID":1,"Data":{"a":1.500e3}}') == (1, b'{"ID":1,"Data":{"a":1.500e3}}')


@pytest.mark.parametrize(
    "line", [b'{"Frame":"ready","Position":"p"}', b'{"Frame":"gap","ID":7,"FromSeq":1,"ToSeq":2,"Reason":"trimmed"}']
)
def test_control_frames_are_none(line: bytes) -> None:
    assert parse(line) is None


@pytest.mark.parametrize(
    "line",
    [
        b"junk",
        b"[]",
        b'{"ID":"1","Data":1}',
        b'{"ID":0,"Data":1}',
        b'{"ID":1}',
        b'{"ID":1,"Data":}',
        b'{"ID":1,"Data":1} {}',
        b'{"ID":1,"Data":"\x00"}',
        b"[" * 100_000,
        b'{"ID":1,"Data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"Frame":1}',
        b'{"\xff":1}',
    ],
)
def test_other_lines_are_refused(line: bytes) -> None:
    with pytest.raises(NoItem, match=r"[Ee]xpected"):
        parse(line)


def test_line_numbers_ends_and_a_byte_order_mark() -> None:
    [chunk] = cut(b'\xef\xbb\xbf{"ID":1,"Data":1}\r\n\r\n \njunk\n{"Frame":"bye"}\n{"ID":2,"Data":2}')
    assert (chunk.lines, chunk.accounts) == ([1, 6], [1, 2])
    assert [line for line, _ in chunk.refused] == [4]
    assert (chunk.frames, chunk.last_line, chunk.begin) == (1, 6, 0)


def test_chunks_are_bounded() -> None:
    line = b'{"ID":1,"Data":1}\n'
    assert [len(chunk.items) for chunk in cut(line * (2 * CHUNK_LINES + 1))] == [CHUNK_LINES, CHUNK_LINES, 1]
    long = b'{"ID":1,"Data":"%b"}\n' % (b"x" * 60_000)
    assert all(chunk.end - chunk.begin <= CHUNK_BYTES for chunk in cut(long * 30))
    empty = cut(b"\n" * (CHUNK_BYTES + 1))
    assert [chunk.last_line for chunk in empty] == [CHUNK_BYTES, CHUNK_BYTES + 1]


@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_line_that_is_too_long_is_not_kept(end: bytes) -> None:
    content = b'{"ID":1,"Data":1}\n' + b"x" * (5 * LONGEST_LINE) + end
    chunks = cut(content + (b'{"ID":1,"Data":2}' if end else b""))
    assert [line for chunk in chunks for line in chunk.lines] == ([1, 3] if end else [1])
    [(line, why)] = [each for chunk in chunks for each in chunk.refused]
    assert line == 2
    assert str(5 * LONGEST_LINE + len(end)) in why


_LINES = st.sampled_from(
    [
        b"",
        b" ",
        b"junk",
        b'{"ID":1,"Data":1}',
        b'{"ID":1,"Data":"%b"}' % (b"x" * 9000),
        b'{"ID":1,"Data":"%b"}' % (b"x" * 300_000),
        b'{"ID":2,"Data":2}\n' * 700,
    ]
)


@settings(max_examples=60)
@given(st.lists(_LINES, max_size=40), st.booleans())
def test_chunks_follow_from_where_they_begin(lines: list[bytes], end: bool) -> None:
    content = b"\n".join(lines) + (b"\n" if end else b"")
    chunks = cut(content)
    assert [chunk.begin for chunk in chunks] == [0, *(chunk.end for chunk in chunks)][: len(chunks)]
    assert (chunks[-1].end if chunks else 0) == len(content)
    for number, chunk in enumerate(chunks):
        assert cut(content, chunk.end, chunk.last_line) == chunks[number + 1 :]


def test_a_file_that_becomes_shorter() -> None:
    with opened(b'{"ID":1,"Data":1}\n') as descriptor, pytest.raises(Shorter):
        BulkReader(descriptor, 0, 0, 100).cut()


def test_a_pipe_is_cut_where_nothing_more_came() -> None:
    reading, writing = os.pipe()
    try:
        reader = BulkReader(reading)
        os.write(writing, b'{"ID":1,"Data":1}\n{"ID":1,"Data":2}\n{"ID"')
        first = reader.cut()
        os.write(writing, b':3,"Data":3}')
        os.close(writing)
        second = reader.cut()
        assert first is not None
        assert second is not None
        assert (first.lines, second.lines, second.accounts) == ([1, 2], [3], [3])
        assert reader.cut() is None
    finally:
        os.close(reading)


def test_order_is_by_account() -> None:
    def results(*seqs: int) -> list[Result]:
        return [Result(position="p", seq=seq) if seq else Result(status=404) for seq in seqs]

    assert _unordered([1, 2, 1, 2], results(5, 1, 6, 2)) == set()
    assert _unordered([1, 2, 1, 1, 2], results(5, 9, 0, 4, 8)) == {1, 2}
    assert _unordered([1, 1], results(5, 5)) == set()


async def test_progress(autojump_clock: trio.testing.MockClock) -> None:
    counts = Counts()
    progress = Progress(counts, 1000, 100)
    assert "0/s | -:-- left" in progress.text(100)
    await trio.sleep(2)
    counts.sent, counts.refused, counts.bytes = 2000, 1, 400
    bar = progress.text(100)
    assert bar.startswith("█" * 12 + "░" * 12)
    assert bar.endswith(" 50% | sent 2,000 | refused 1 | 1,000/s | 0:02 left")
    assert progress.text(10) == "█" * 9 + "…"
    assert Progress(counts, None).text(100).startswith("sent 2,000 | refused 1 | ")
    assert Counts(1, 0, 1, 0, 9).summary(2) == "sent 1 event, refused 0, of 1 line in 2.0 s (0/s)"
