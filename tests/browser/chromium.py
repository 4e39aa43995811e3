"""The browser of these tests: one that is installed, or Playwright's own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Playwright

VARIABLE = "TRACKER_TEST_BROWSER"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
HOW_TO_GET_ONE = (
    "Install it (Debian: apt-get install chromium; elsewhere: playwright install chromium), "
    f"or name the program of a Chromium by {VARIABLE}."
)
ARGUMENTS = ["--disable-dev-shm-usage"]
"""Beside what Playwright gives it: in a container, /dev/shm has 64 MiB. Without a sandbox, for root, Playwright runs it
anyway."""


class NoBrowser(Exception):
    """There is no Chromium. The text says where it was looked for, and what to do."""


def find_browser(playwright: Playwright) -> str:
    """The program of a Chromium: that of TRACKER_TEST_BROWSER, of PATH, or Playwright's own. Raises NoBrowser."""
    if named := os.environ.get(VARIABLE):
        if found := shutil.which(named):
            return found
        raise NoBrowser(f"{VARIABLE}={named} is no program. {HOW_TO_GET_ONE}")
    for program in PROGRAMS:
        if found := shutil.which(program):
            return found
    own = playwright.chromium.executable_path
    if Path(own).exists():
        return own
    raise NoBrowser(f"There is no {', '.join(PROGRAMS)} on PATH, nor {own}. {HOW_TO_GET_ONE}")


def browser_program_or_skip(playwright: Playwright) -> str:
    """A Chromium for a test. Without one the test is skipped, and fails where nothing may be missing."""
    try:
        return find_browser(playwright)
    except NoBrowser as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
