"""Compare the maps of the page of `orbitune export --to web` with those of `orbitune map`.

    python benchmarks/web_scene.py BUNDLE FOLDER SCENE[=BANDS]...

BUNDLE and FOLDER, the exported page, are of one run; BANDS are numbers such as 3,2,1, where the scene does
not state red, green and blue. The page, in headless Chromium, maps a window of 16 tiles a side in the centre
of each scene, or the whole of a smaller one, with a label for every half tile; `orbitune map --mode tiles`
maps the whole scene with the same stride, from windows of a whole tile as the page. Writes
docs/results/web-scene.json and .md. Needs Debian's chromium and playwright.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page, sync_playwright
from web_page import served
from web_results import write_results

from orbitune.integrity import read_json
from orbitune.mapping.grid import NODATA, NOT_SURE
from orbitune.mapping.pipeline import map_scene

SIDE = 16  # tiles of the window, 1,024 labels: longer maps tell no more of the agreement
PATIENCE = 120_000  # milliseconds, on a machine that does other things
READ = """() => {
  const canvas = document.getElementById("labels");
  const { width, height } = canvas;
  return [height, width, ...canvas.getContext("2d").getImageData(0, 0, width, height).data];
}"""
Bands = tuple[int, ...]


def main() -> None:
    """Measure the scenes that the command line names."""
    bundle, folder = Path(sys.argv[1]), Path(sys.argv[2])
    scenes = [read_argument(each) for each in sys.argv[3:]]
    described = read_json(folder / "model.json")
    tile = described["tile"]["width"]
    painted, chromium = map_in_page(folder, scenes, described)
    known = [
        python_codes(scene, bundle, bands, tile, found)
        for (scene, bands), (_, found) in zip(scenes, painted, strict=True)
    ]
    measured = {
        "backbone": described["about"]["Backbone"],
        "tile": tile,
        "chromium": chromium,
        "scenes": [
            {"scene": scene.name, **found, **compare(codes, whole, found)}
            for (scene, _), (codes, found), whole in zip(scenes, painted, known, strict=True)
        ],
    }
    named = [each.rpartition("/")[2] for each in sys.argv[3:]]
    write_results("web-scene", measured, arguments=[bundle.name, "FOLDER", *named], describe=describe)


def read_argument(text: str) -> tuple[Path, Bands | None]:
    """Return a scene, and the numbers of its bands; None to leave them to its metadata."""
    name, _, bands = text.partition("=")
    return Path(name), tuple(int(number) for number in bands.split(",")) if bands else None


def map_in_page(
    folder: Path, scenes: list[tuple[Path, Bands | None]], described: dict[str, Any]
) -> tuple[list[tuple[np.ndarray, dict[str, Any]]], str]:
    """Map scenes in the page; return codes and what is known of each map, and the version of the browser."""
    with served(folder) as address, sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.wait_for_selector("body[data-offline]")
        page.reload()  # isolated from now on, with threads
        page.wait_for_selector("body[data-ready]")
        found = [map_window(page, scene, bands, described) for scene, bands in scenes]
        version = browser.version
        browser.close()
    return found, version


def map_window(
    page: Page, scene: Path, bands: Bands | None, described: dict[str, Any]
) -> tuple[np.ndarray, dict[str, Any]]:
    """Map the window of a scene; return its codes, uint8 (rows, columns), and what is known of them."""
    open_scene(page, scene, bands)
    page.fill("#scene-side", str(SIDE))
    page.dispatch_event("#scene-side", "change")
    page.select_option("#scene-stride", index=1)
    stride = int(page.input_value("#scene-stride"))
    corner = [
        int(page.input_value(f"#scene-{edge}")) * described["tile"]["width"] // stride
        for edge in ("top", "left")
    ]
    start = time.perf_counter()
    page.click("#scene-map")
    page.wait_for_selector("#scene-done:not(:empty)")
    seconds = time.perf_counter() - start
    codes = painted_codes(page, described["scene"])
    return codes, {
        "reading": page.inner_text("#scene-status"),
        "stride": stride,
        "corner": corner,
        "labels": codes.size,
        "seconds": seconds,
    }


def open_scene(page: Page, scene: Path, bands: Bands | None) -> None:
    """Open a scene, and read it with red, green and blue of the bands; end where the page refuses it."""
    ready = "#scene-map:enabled, #scene-problem:not([hidden])"
    page.set_input_files("#files", scene)
    page.wait_for_selector(ready)
    if bands:
        if page.get_attribute("#scene-reading", "open") is None:
            page.click("#scene-reading summary")
        for colour, band in zip(("red", "green", "blue"), bands, strict=True):
            page.select_option(f"#scene-{colour}", index=band - 1)
        page.wait_for_selector(f"text=/^Bands {', '.join(map(str, bands))} /")
        page.wait_for_selector(ready)
    if page.is_visible("#scene-problem"):
        raise SystemExit(page.inner_text("#scene-problem"))


def painted_codes(page: Page, settings: dict[str, Any]) -> np.ndarray:
    """Return the codes that the page paints, uint8 (rows, columns)."""
    height, width, *values = page.evaluate(READ)
    table = {tuple(colour): code for code, colour in enumerate(settings["colours"], 1)}
    table[tuple(settings["not_sure"])] = NOT_SURE
    pixels = np.array(values).reshape(height * width, 4).tolist()
    codes = [table[tuple(pixel[:3])] if pixel[3] else NODATA for pixel in pixels]
    return np.array(codes, np.uint8).reshape(height, width)


def python_codes(
    scene: Path, bundle: Path, bands: Bands | None, tile: int, found: dict[str, Any]
) -> np.ndarray:
    """Return the codes of `orbitune map` of the whole scene from whole tiles, uint8 (rows, columns)."""
    import rasterio

    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "map.tif"
        options: dict[str, Any] = {"bands": bands, "stride": found["stride"], "window": tile}
        map_scene(bundle, scene, outputs=out, mode="tiles", grid="cells", progress=False, **options)
        with rasterio.open(out) as file:
            codes: np.ndarray = file.read(1)
        return codes


def compare(codes: np.ndarray, whole: np.ndarray, found: dict[str, Any]) -> dict[str, Any]:
    """Return how the codes of a window agree with those of the whole scene, where it has data."""
    top, left = found["corner"]
    wanted = whole[top : top + codes.shape[0], left : left + codes.shape[1]]
    data = wanted != NODATA
    sure = data & (wanted != NOT_SURE) & (codes != NOT_SURE)
    return {
        "cells_with_data": int(data.sum()),
        "same": float((codes == wanted)[data].mean()),
        "classified_by_both": int(sure.sum()),
        "same_class": float((codes == wanted)[sure].mean()) if sure.any() else None,
        "not_sure": [float((each == NOT_SURE)[data].mean()) for each in (codes, wanted)],
        "other_nodata": int(((codes == NODATA) != ~data).sum()),
    }


def describe(found: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    rows = []
    for each in found["scenes"]:
        page, python = each["not_sure"]
        cells = [
            f"`{each['scene']}`",
            f"{each['cells_with_data']:,} of {each['labels']:,}",
            f"{each['same']:.1%}",
            f"{each['same_class'] or 0:.1%} of {each['classified_by_both']:,}",
            f"{page:.1%}, {python:.1%}",
            f"{each['seconds']:.0f} s",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    count = sum(each["cells_with_data"] for each in found["scenes"])
    same = sum(each["same"] * each["cells_with_data"] for each in found["scenes"]) / count
    readings = "\n".join(f"- `{each['scene']}`: {json.dumps(each['reading'])}" for each in found["scenes"])
    table = "\n".join(rows)
    return f"""# Maps in the browser

{found["backbone"]}, tiles of {found["tile"]} pixels, exported with `--to web`, in headless Chromium, beside \
`orbitune map --mode tiles --window {found["tile"]}`
with a bundle of the same run. There is a label for every half tile. Of {count:,} cells with data {same:.1%} \
have the same code.

| scene | cells with data | same code | same class, where both give one | *not sure*: page, `map` | time |
| --- | ---: | ---: | ---: | ---: | ---: |
{table}

The time is that of the page. It computes in fp32 with weights of 12 bits, `orbitune map` in bf16 where the \
processor has instructions for it. Each has an OOD detector that is fitted to its own features.
How the page reads the scenes:

{readings}
"""


if __name__ == "__main__":
    main()
