"""`listener events … --state FILE`: killed at any moment, it goes on without a hole."""

from __future__ import annotations

import os
import re
import signal
from itertools import pairwise
from pathlib import Path

import pytest
import trio

from tests.integration.listeners import append, event, listener

NUMBER = re.compile(r"\[1\]: (\d+) \[h\]")


def numbers(lines: list[str]) -> list[int]:
    return [int(found[1]) for line in lines if (found := NUMBER.search(line))]


async def test_killed_and_started_again(redis_url: str, tmp_path: Path) -> None:
    state = tmp_path / "state"
    arguments = ["events", "1", "--from", redis_url, "--state", str(state)]
    seen: list[list[int]] = []
    total = 3000
    async with trio.open_nursery() as nursery:
        for life in range(4):
            async with listener(*arguments) as program:
                if life == 0:
                    await program.err.wait_for("listening")
                    nursery.start_soon(slowly, redis_url, total)
                for _ in range(total // 5):
                    await program.out.next()
                program.process.send_signal(signal.SIGKILL)
                await program.out.rest()
                seen.append(numbers(program.out.seen))
        async with listener(*arguments) as program:
            await program.out.wait_for(f" {total - 1} ")
            program.process.send_signal(signal.SIGTERM)
            await program.out.rest()
            seen.append(numbers(program.out.seen))
    for life in seen:
        assert life == list(range(life[0], life[0] + len(life)))
    for before, after in pairwise(seen):
        assert after[0] <= before[-1] + 1, "a hole"
    assert seen[0][0] == 0
    assert seen[-1][-1] == total - 1


async def slowly(url: str, total: int) -> None:
    for start in range(0, total, 100):
        await append(url, *(event(number) for number in range(start, start + 100)))
        await trio.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_told_to_end_it_knows_exactly(redis_url: str, tmp_path: Path, number: int) -> None:
    state = tmp_path / "state"
    arguments = ["events", "1", "--from", redis_url, "--state", str(state), "--since", "all"]
    async with listener(*arguments) as program:
        await program.err.wait_for("listening")
        where = await append(redis_url, *(event(number) for number in range(3)))
        for _ in where:
            await program.out.next()
        program.process.send_signal(number)
        assert await program.ends() == 0
    assert state.read_text() == f"{where[-1].position}\n"
    assert sorted(os.listdir(tmp_path)) == ["state", "state.lock"]
    await append(redis_url, event(3))
    async with listener(*arguments) as program:  # the file beats --since
        assert numbers([await program.out.next()]) == [3]


async def test_only_what_was_written_counts(redis_url: str, tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with listener("events", "1", "--from", redis_url, "--state", str(state)) as program:
        await program.err.wait_for("listening")
        with trio.fail_after(5):
            while not state.exists():
                await trio.sleep(0.02)
        where = await append(redis_url, *[event("x" * 60_000)] * 20)
        await trio.sleep(1)  # nobody reads: the pipe takes one event, and the write of another does not return
        assert state.read_text().rstrip() in ("start-0-0", where[0].position)


async def test_two_listeners_do_not_share_a_file(redis_url: str, tmp_path: Path) -> None:
    arguments = ["events", "1", "--from", redis_url, "--state", str(tmp_path / "state")]
    async with listener(*arguments) as first:
        await first.err.wait_for("listening")
        await append(redis_url, event(1))
        await first.out.next()
        await trio.sleep(0.5)  # the file is another one by now
        async with listener(*arguments) as second:
            await second.err.wait_for("belongs to another listener")
            assert await second.ends() == 2


@pytest.mark.parametrize("content", [b"", b"all\n", b"10m", b"a-0-1\nb-0-2\n", b"\xff", b"x" * 5000])
async def test_a_foreign_file_is_refused(redis_url: str, tmp_path: Path, content: bytes) -> None:
    state = tmp_path / "state"
    state.write_bytes(content)
    async with listener("events", "1", "--from", redis_url, "--state", str(state)) as program:
        await program.err.wait_for("holds no Position")
        assert await program.ends() == 2
    assert state.read_bytes() == content


async def test_places_that_cannot_be_used(redis_url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("link")
    for place in (tmp_path, tmp_path / "none" / "state", tmp_path / "file" / "state", tmp_path / "link", "/dev/null"):
        async with listener("events", "1", "--from", redis_url, "--state", str(place)) as program:
            await program.err.wait_for("--state")
            assert await program.ends() == 2


async def test_a_link_stays_a_link(redis_url: str, tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    link.symlink_to(real)
    async with listener("events", "1", "--from", redis_url, "--state", str(link)) as program:
        await program.err.wait_for("listening")
    assert link.is_symlink()
    assert real.read_text()


async def test_a_disk_that_fills_is_told_and_does_not_end_it(redis_url: str, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        # root writes anywhere, so the place of the new file is taken by a directory instead
        def obstruct() -> None:
            (tmp_path / "state.new").mkdir()

        def clear() -> None:
            (tmp_path / "state.new").rmdir()
    else:

        def obstruct() -> None:
            tmp_path.chmod(0o500)

        def clear() -> None:
            tmp_path.chmod(0o700)

    async with listener("events", "1", "--from", redis_url, "--state", str(tmp_path / "state")) as program:
        await program.err.wait_for("listening")
        with trio.fail_after(5):
            while not (tmp_path / "state").exists():
                await trio.sleep(0.02)
        await trio.sleep(0.3)
        obstruct()
        await append(redis_url, event(1))
        await program.out.next()
        assert "can't be saved" in await program.err.next()
        clear()
        assert "is up to date again" in await program.err.next()
        [where] = await append(redis_url, event(2))
        await program.out.next()
        program.process.send_signal(signal.SIGTERM)
        assert await program.ends() == 0
    assert (tmp_path / "state").read_text() == f"{where.position}\n"
