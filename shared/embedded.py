"""PostgreSQL and Redis as children in the nursery."""

from __future__ import annotations

from pathlib import Path

import platformdirs


def default_data_dir() -> Path:
    """Where tracker and listener look for the embedded servers unless told otherwise."""
    return Path(platformdirs.user_data_dir("trio-tracker"))


def redis_url(data_dir: Path) -> str:
    """The URL of the embedded Redis of a data directory."""
    return f"unix://{data_dir / 'redis.sock'}"
