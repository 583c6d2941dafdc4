"""A browser without a window: the system's Chromium, driven by Playwright."""

import contextlib
import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

IS_REQUIRED = bool(os.environ.get("QURATING_REQUIRE_BROWSER"))
PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

if IS_REQUIRED:
    assert PROGRAM, "QURATING_REQUIRE_BROWSER is set, and there is no chromium"

expect.set_options(timeout=120_000)  # milliseconds: a busy machine is no failure

needs_browser = pytest.mark.skipif(PROGRAM is None, reason="needs Chromium: no chromium on the path (CI installs it)")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium; its sandbox does not work for root, which CI is."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox"])
        yield browser
        browser.close()
