"""Write the pictures of the page of `orbitune export --to web`.

    python benchmarks/web_page_pictures.py PAGE TILES SCENE  # needs Debian's chromium

PAGE is the exported folder, TILES a folder of pictures to classify, SCENE a GeoTIFF to map, whose first bands
are blue, green and red. The pictures are as wide as a desktop, a tablet and a phone, light and dark; of
the map there is one.
"""

import io
import sys
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from web_page import served
from web_scene import open_scene

IMAGES = Path(__file__).parent.parent / "docs" / "images"
SIZES = {1280: 800, 768: 1000, 390: 844}  # CSS pixels
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
BANDS = (3, 2, 1)  # red, green and blue of the scene
PATIENCE = 300_000  # milliseconds, on a machine that does other things


def take_pictures(
    browser: Browser,
    address: str,
    tiles: list[Path],
    scene: Path,
    *,
    width: int,
    scheme: Literal["light", "dark"],
) -> tuple[Image.Image, Image.Image]:
    """Return the page with a tile and its attribution, and with the map of a scene."""
    page = browser.new_page(
        viewport={"width": width, "height": SIZES[width]}, color_scheme=scheme, reduced_motion="reduce"
    )
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.set_input_files("#files", tiles)
    page.wait_for_selector("#session:not([hidden]) #batch[hidden]", state="attached")
    page.click("#explain")
    page.wait_for_selector("#explained:not(:empty)")
    page.evaluate("scrollTo(0, 0)")
    tile = page.screenshot()
    page.click("#clear")
    open_scene(page, scene, BANDS)
    if page.get_attribute("#scene-reading", "open") is not None:
        page.click("#scene-reading summary")
    page.select_option("#scene-stride", index=1)
    page.click("#scene-map")
    page.wait_for_selector("#scene-done:not(:empty)")
    # On a phone the map lies below what is chosen.
    shown = "#scene" if width > min(SIZES) else "#scene-result"
    page.evaluate(f"document.querySelector('{shown}').scrollIntoView({{block: 'start'}})")
    mapped = page.screenshot()
    page.close()
    return tuple(Image.open(io.BytesIO(each)).convert("RGB") for each in (tile, mapped))  # type: ignore[return-value]


def save(picture: Image.Image, name: str) -> None:
    """Write a picture with all its colours: a legend tells no classes apart by others."""
    path = IMAGES / name
    picture.save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Take all pictures of the page that the command line names."""
    folder, tiles, scene = map(Path, sys.argv[1:])
    files = sorted(file for file in tiles.iterdir() if file.is_file())
    with served(folder) as address, sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        for scheme in SCHEMES:
            for width in SIZES:
                tile, mapped = take_pictures(browser, address, files, scene, width=width, scheme=scheme)
                save(tile, f"web-page-{width}-{scheme}.png")
                if (width, scheme) == (max(SIZES), "light"):
                    save(mapped, "web-page-scene.png")
        browser.close()


if __name__ == "__main__":
    main()
