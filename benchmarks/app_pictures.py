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
                save(page, asked.folder, f"app-tiles-{scheme}")
                if asked.scene:
                    make_map(page, asked.scene)
                    save(page, asked.folder, f"app-map-{scheme}")
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
        page.wait_for_selector("#compare tbody tr:nth-child(2)")


def make_map(page: Page, scene: Path) -> None:
    """Map a scene."""
    page.click("[data-view='map']")
    page.set_input_files("#scene-file", str(scene))
    page.click("#make-map")
    page.wait_for_selector("#map-result:not([hidden])", timeout=600_000)
    frame = page.frame_locator("#viewer iframe")
    frame.locator("body[data-ready]").wait_for()


def save(page: Page, folder: Path, name: str) -> None:
    """Save the page at all widths."""
    for width, height in WIDTHS.items():
        page.set_viewport_size({"width": width, "height": height})
        page.mouse.wheel(0, 5000)  # pictures below are loaded when they come near
        page.wait_for_timeout(1000)
        page.mouse.wheel(0, -5000)
        page.wait_for_timeout(600)
        for frame in page.frames[1:]:  # the viewer of maps loads tiles for the new width
            frame.wait_for_selector(".leaflet-tile-loaded", timeout=60_000)
            loading = ".leaflet-tile:not(.leaflet-tile-loaded)"
            frame.wait_for_selector(loading, state="detached", timeout=60_000)
            page.wait_for_timeout(2000)  # tiles fade in
        picture = Image.open(io.BytesIO(page.screenshot(full_page=True)))
        quantised = picture.convert("RGB").quantize(_COLOURS, method=Image.Quantize.MEDIANCUT)
        quantised.save(folder / f"{name}-{width}.png", optimize=True)


if __name__ == "__main__":
    main()
