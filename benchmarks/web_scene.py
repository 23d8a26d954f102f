"""Compare the maps of the page of `orbitune export --to web` with those of `orbitune map`.

    python benchmarks/web_scene.py BUNDLE FOLDER SCENE...

BUNDLE and FOLDER, the exported page, are of one run. The page is opened in headless Chromium, and maps the
largest window in the centre of each scene, with a label for every half tile; `orbitune map --mode tiles` maps
the whole scene with the same stride. Writes docs/results/web-scene.json and .md. Needs Debian's chromium and
playwright.
"""

import json
import os
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page, sync_playwright
from web_page import served

from orbitune.integrity import read_json
from orbitune.mapping.grid import NODATA, NOT_SURE
from orbitune.mapping.pipeline import map_scene
from orbitune.resources import processor_name

RESULTS = Path(__file__).parent.parent / "docs" / "results" / "web-scene.json"
READ = """() => {
  const canvas = document.getElementById("labels");
  const { width, height } = canvas;
  return [height, width, ...canvas.getContext("2d").getImageData(0, 0, width, height).data];
}"""


def main() -> None:
    """Measure the scenes that the command line names."""
    bundle, folder, *scenes = map(Path, sys.argv[1:])
    described = read_json(folder / "model.json")
    with served(folder) as address, sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("body[data-offline]")
        page.reload()  # isolated from now on, with threads
        page.wait_for_selector("body[data-ready]")
        found = [measure(page, scene, bundle, described) for scene in scenes]
        measured = {
            "orbitune": version("orbitune"),
            "backbone": described["about"]["Backbone"],
            "tile": described["tile"]["width"],
            "processor": processor_name(),
            "cores": os.cpu_count(),
            "chromium": browser.version,
            "scenes": found,
        }
        browser.close()
    RESULTS.write_text(json.dumps(measured, indent=1) + "\n")
    RESULTS.with_suffix(".md").write_text(describe(measured))
    print(RESULTS.with_suffix(".md").read_text())


def measure(page: Page, scene: Path, bundle: Path, described: dict[str, Any]) -> dict[str, Any]:
    """Map a scene in the page and in Python; return how the labels compare."""
    page.set_input_files("#files", scene)
    page.wait_for_selector("#scene-map:enabled", timeout=120_000)
    page.fill("#scene-side", "32")
    page.dispatch_event("#scene-side", "change")
    page.select_option("#scene-stride", index=1)
    stride = int(page.input_value("#scene-stride"))
    left, top = (
        int(page.input_value(f"#scene-{edge}")) * described["tile"]["width"] // stride
        for edge in ("left", "top")
    )
    start = time.perf_counter()
    page.click("#scene-map")
    page.wait_for_selector("#scene-done:not(:empty)", timeout=600_000)
    seconds = time.perf_counter() - start
    codes = painted_codes(page, described["scene"])
    wanted = python_codes(scene, bundle, stride=stride)
    wanted = wanted[top : top + codes.shape[0], left : left + codes.shape[1]]
    data = wanted != NODATA
    return {
        "scene": scene.name,
        "scaling": page.inner_text("#scene-status"),
        "stride": stride,
        "labels": codes.size,
        "seconds": seconds,
        "same": float((codes == wanted)[data].mean()),
        "not_sure": [float((each == NOT_SURE)[data].mean()) for each in (codes, wanted)],
    }


def painted_codes(page: Page, settings: dict[str, Any]) -> np.ndarray:
    """Return the codes that the page paints, uint8 (rows, columns)."""
    height, width, *values = page.evaluate(READ)
    table = {tuple(colour): code for code, colour in enumerate(settings["colours"], 1)}
    table[tuple(settings["not_sure"])] = NOT_SURE
    pixels = np.array(values).reshape(height * width, 4).tolist()
    codes = [table[tuple(pixel[:3])] if pixel[3] else NODATA for pixel in pixels]
    return np.array(codes, np.uint8).reshape(height, width)


def python_codes(scene: Path, bundle: Path, *, stride: int) -> np.ndarray:
    """Return the codes of `orbitune map --mode tiles --grid cells`, uint8 (rows, columns)."""
    import rasterio

    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "map.tif"
        map_scene(bundle, scene, outputs=out, stride=stride, mode="tiles", grid="cells", progress=False)
        with rasterio.open(out) as file:
            codes: np.ndarray = file.read(1)
        return codes


def describe(found: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    rows = [
        f"| `{each['scene']}` | {each['labels']:,} | {each['seconds']:.0f} s | "
        f"{1000 * each['seconds'] / each['labels']:.0f} ms | {each['same']:.1%} | "
        f"{each['not_sure'][0]:.1%}, {each['not_sure'][1]:.1%} |"
        for each in found["scenes"]
    ]
    table = "\n".join(rows)
    return f"""# Maps in the browser

Written by `python benchmarks/web_scene.py` with version {found["orbitune"]}: {found["backbone"]}, tiles of \
{found["tile"]} pixels, exported with `--to web`,
in headless Chromium {found["chromium"]} on {found["cores"]} cores ({found["processor"]}), which other \
programs used too. The window has a label for every half tile.

| scene | labels | time | a label | same as `orbitune map --mode tiles` | *not sure*: page, `orbitune map` |
| --- | ---: | ---: | ---: | ---: | ---: |
{table}
"""


if __name__ == "__main__":
    main()
