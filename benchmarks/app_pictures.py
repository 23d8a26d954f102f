"""Take the pictures of the app that the documentation shows.

    orbitune serve land-cover runs/mine --port 7899
    python benchmarks/app_pictures.py http://127.0.0.1:7899 docs/images [--scene SCENE.tif]

The first model has an OOD detector (`orbitune bundle`), and a later one is a run whose data lies on this
machine: its validation tiles are the examples. With a scene the page of maps is taken too. Needs playwright,
and Chromium at /usr/bin/chromium.
"""

import argparse
import io
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

WIDTHS = {1280: 900, 768: 1024, 390: 844}
_COLOURS = 256  # of a picture, to keep the repository small


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scene", type=Path)
    asked = parser.parse_args()
    with sync_playwright() as play:
        options: dict[str, Any] = {"executable_path": "/usr/bin/chromium", "args": ["--no-sandbox"]}
        with play.chromium.launch(**options) as browser:
            for scheme in ("light", "dark"):
                context = browser.new_context(color_scheme=scheme, reduced_motion="reduce")
                page = context.new_page()
                page.goto(asked.address)
                classify_examples(page)
                for width in WIDTHS:
                    save(page, width, asked.folder / f"app-tiles-{scheme}-{width}.png")
                for width in WIDTHS if asked.scene else ():
                    make_map(page, width, asked.scene)
                    save(page, width, asked.folder / f"app-map-{scheme}-{width}.png")
                context.close()


def classify_examples(page: Page) -> None:
    """Classify all examples, with the attribution and the comparison of one of them."""
    examples = page.locator("#examples button")
    examples.first.wait_for()
    for number in range(examples.count()):
        examples.nth(number).click()
        page.wait_for_selector(f"#rows tr:nth-child({number + 1})[aria-current]")
        page.wait_for_selector("#verdict[data-state='done']")
    examples.nth(min(3, examples.count() - 1)).click()
    page.click("#show-layer")
    page.wait_for_selector("#layer:not([hidden])", timeout=120_000)
    if page.is_visible("#compare"):
        page.click("#compare summary")
        page.wait_for_selector("#compare tbody:nth-of-type(2)")


def make_map(page: Page, width: int, scene: Path) -> None:
    """Map a scene in a new page, so that the map fits the width."""
    page.set_viewport_size({"width": width, "height": WIDTHS[width]})
    page.reload()
    page.click("[data-view='map']")
    page.set_input_files("#scene-file", str(scene))
    page.click("#make-map")
    page.wait_for_selector("#map-result:not([hidden])", timeout=600_000)
    page.locator("#viewer iframe").scroll_into_view_if_needed()
    page.frame_locator("#viewer iframe").locator("img.leaflet-tile-loaded").first.wait_for()
    page.wait_for_timeout(2000)  # tiles fade in


def save(page: Page, width: int, path: Path) -> None:
    """Save the page at a width."""
    page.set_viewport_size({"width": width, "height": WIDTHS[width]})
    page.mouse.move(1, 1)  # the wheel would zoom a map
    page.mouse.wheel(0, 5000)  # pictures below are loaded when they come near
    page.wait_for_timeout(1000)
    page.mouse.wheel(0, -5000)
    page.wait_for_timeout(600)
    picture = Image.open(io.BytesIO(page.screenshot(full_page=True)))
    picture.convert("RGB").quantize(_COLOURS, method=Image.Quantize.MEDIANCUT).save(path, optimize=True)


if __name__ == "__main__":
    main()
