"""Open pages in Debian's chromium; tests skip if it is not installed."""

from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = Path("/usr/bin/chromium")
PATIENCE = 120_000  # milliseconds, on a machine that does other things
AXE = Path(__file__).parent.parent / "web" / "node_modules" / "axe-core" / "axe.min.js"


@contextmanager
def open_browser(width: int, height: int, *, service_workers: str = "allow"):
    """Yield an empty page with a viewport in CSS pixels; with "block" no request passes its routes by."""
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as play:
        options = {"executable_path": str(CHROMIUM), "args": ["--no-sandbox", "--disable-gpu"]}
        with play.chromium.launch(**options) as browser:
            viewport = {"width": width, "height": height}
            page = browser.new_page(viewport=viewport, service_workers=service_workers)
            page.set_default_timeout(PATIENCE)
            yield page


def accessibility_faults(page) -> list[tuple[str, str]]:
    """Return what axe finds wrong with a page, with how much it matters; the test skips without axe."""
    if not AXE.exists():
        pytest.skip("needs axe-core: npm ci in web/")
    page.evaluate(AXE.read_text())
    return [(each["id"], each["impact"]) for each in page.evaluate("axe.run()")["violations"]]
