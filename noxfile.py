"""What is checked, and how: `nox -s tests`, `nox -s browser`, `nox -s lint`, `nox -s types`; and what takes minutes:
`nox -s faults`, `nox -s bench`."""

import shutil
import subprocess
import tempfile

import nox

nox.options.sessions = ["tests", "lint", "types"]
nox.options.reuse_existing_virtualenvs = True

REDIS_TESTS = [f"tests/integration/test_{name}.py" for name in ("redis_wire", "log", "history", "feed", "idempotency")]


@nox.session
def tests(session: nox.Session) -> None:
    """All tests with coverage; arguments go to pytest (then without the coverage floor)."""
    session.install("-e", ".[dev]")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report", *(["--fail-under=0"] if session.posargs else []))


@nox.session
def browser(session: nox.Session) -> None:
    """The page in a real Chromium (Debian: apt-get install chromium). Leaves pictures of it in build/screenshots."""
    session.install("-e", ".[dev]")
    session.run("pytest", *(session.posargs or ["tests/browser"]))


@nox.session
def redis(session: nox.Session) -> None:
    """The log's tests on the Redis of PATH (Debian: apt-get install redis-server) instead of the embedded one."""
    session.install("-e", ".[dev]")
    program = shutil.which("redis-server") or session.error("There is no redis-server on PATH.")
    with tempfile.TemporaryDirectory(prefix="tt-", dir="/tmp") as folder:
        path = f"{folder}/redis.sock"
        command = [program, "--port", "0", "--unixsocket", path, "--save", "", "--dir", folder, "--appendonly", "yes"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
            try:
                session.run("pytest", *REDIS_TESTS, env={"TRACKER_TEST_REDIS_URL": f"unix://{path}"})
            finally:
                server.terminate()


@nox.session
def lint(session: nox.Session) -> None:
    """ruff: the rules and the format."""
    session.install("ruff>=0.17,<0.18")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """mypy --strict over the three packages."""
    session.install("-e", ".[dev]")
    session.run("mypy")


@nox.session
def faults(session: nox.Session) -> None:
    """Break one thing after the other under load, and count what was lost: `nox -s faults -- --help`."""
    session.install("-e", ".[dev]")
    session.run("python", "-m", "tests.faults", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the tracker against what it is to be compared with: `nox -s bench -- --help`."""
    if shutil.which("wrk") is None:
        session.error("There is no wrk on PATH. Install it: apt-get install wrk.")
    session.install("-e", ".[dev]")
    session.run("python", "-m", "tests.benchmarks", *session.posargs)
