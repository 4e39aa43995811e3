"""Numbered SQL migrations, applied in order at start."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files

import asyncpg

_PATIENCE = 60.0
_LOCK = 0x74726163  # any number that all trackers agree on: "trac"


async def apply(connection: asyncpg.Connection) -> list[str]:
    """Bring a database up to date; return the names of the migrations that this took.

    All in one transaction under an advisory lock: trackers that start together wait for the first. Runs on asyncio.
    """
    applied = []
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock($1)", _LOCK, timeout=_PATIENCE)
        await connection.execute(
            "create table if not exists tracker_migration"
            " (name text primary key, applied_at timestamptz not null default now())"
        )
        done = {row["name"] for row in await connection.fetch("select name from tracker_migration")}
        for name, sql in _migrations():
            if name not in done:
                await connection.execute(sql, timeout=_PATIENCE)
                await connection.execute("insert into tracker_migration (name) values ($1)", name)
                applied.append(name)
    return applied


def _migrations() -> Iterator[tuple[str, str]]:
    for file in sorted(files(__name__).iterdir(), key=lambda file: file.name):
        if file.name.endswith(".sql"):
            yield file.name.removesuffix(".sql"), file.read_text()
