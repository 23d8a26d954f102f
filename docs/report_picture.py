"""Write the picture of the committed report: from its top to its first figure.

python docs/report_picture.py  # needs Debian's chromium
"""

import io
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

STUDY = Path(__file__).parent / "results" / "eurosat-study" / "random"
WIDTH, SCALE = 1040, 1.5  # CSS pixels, and pixels of the picture for each


def take_picture(report: Path, picture: Path) -> None:
    """Write the page from its top to the end of its first figure as PNG."""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 1000}, device_scale_factor=SCALE)
        page.goto(report.resolve().as_uri())
        end = page.locator("figure").first.evaluate("figure => figure.getBoundingClientRect().bottom")
        data = page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": WIDTH, "height": end})
        browser.close()
    Image.open(io.BytesIO(data)).convert("RGB").quantize(128).save(picture, optimize=True)


if __name__ == "__main__":
    take_picture(STUDY / "report.html", STUDY / "report.png")
