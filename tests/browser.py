"""Open pages in Debian's chromium; tests skip if it is not installed."""

from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = Path("/usr/bin/chromium")


@contextmanager
def open_browser(width: int, height: int):
    """Yield an empty page with a viewport in CSS pixels."""
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as play:
        options = {"executable_path": str(CHROMIUM), "args": ["--no-sandbox", "--disable-gpu"]}
        with play.chromium.launch(**options) as browser:
            yield browser.new_page(viewport={"width": width, "height": height})
