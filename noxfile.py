"""What is checked, and how: `nox -s tests`, `nox -s lint`, `nox -s types`; and `nox -s faults`, which takes minutes."""

import nox

nox.options.sessions = ["tests", "lint", "types"]
nox.options.reuse_existing_virtualenvs = True


@nox.session
def tests(session: nox.Session) -> None:
    """All tests with coverage; arguments go to pytest (then without the coverage floor)."""
    session.install("-e", ".[dev]")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report", *(["--fail-under=0"] if session.posargs else []))


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
