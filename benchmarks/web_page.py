"""Measure the page of `orbitune export --to web` in headless Chromium.

    python benchmarks/web_page.py RUN [FOLDER]

RUN is a finished run with its tiles; FOLDER is its exported page, RUN/export/web by default. The page is
served from this machine, and opened in a new profile. 500 tiles of the test split, drawn with seed 0, are
classified by the page and by `orbitune predict` in fp32. Writes docs/results/web-page.json and .md. Needs
Debian's chromium and playwright. Other programs on the machine slow it down.
"""

import csv
import io
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from web_results import write_results

from orbitune.exporting.reference import ReferenceModel
from orbitune.inference.classifier import Classifier, Prediction

TILES = 500
DONE = "#session:not([hidden]) #batch[hidden]"


class CountingHandler(SimpleHTTPRequestHandler):
    """A file server as `python -m http.server`, that counts the bytes it sends."""

    sent = 0

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Send a file."""
        data = source.read()
        type(self).sent += len(data)
        outputfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


def main() -> None:
    """Measure the page of the run that the command line names."""
    run = Path(sys.argv[1])
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else run / "export" / "web"
    reference = ReferenceModel.open(run, progress=False)
    test = reference.setup.splits["test"]
    chosen = np.random.default_rng(0).permutation(test)[:TILES]
    tiles = reference.setup.tiles.read(np.sort(chosen))
    with tempfile.TemporaryDirectory(prefix="orbitune-web-") as place:
        files = [Path(place, f"{number:04}.png") for number in range(len(tiles))]
        for file, tile in zip(files, tiles, strict=True):
            Image.fromarray(tile).save(file)
        expected = list(Classifier(run, precision="fp32").predict(files, top_k=3))
        measured = {
            "model": reference.setup.backbone.description,
            "image_size": reference.transform.size,
            **measure(folder, files, expected),
        }
    write_results("web-page", measured, arguments=[f"runs/{run.name}"], describe=describe)


def measure(folder: Path, files: list[Path], expected: list[Prediction]) -> dict[str, Any]:
    """Open the page twice, the second time from its cache and isolated, and classify the files."""
    with served(folder) as address, tempfile.TemporaryDirectory() as profile, sync_playwright() as play:
        browser = play.chromium.launch_persistent_context(
            profile, executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        with browser:
            page = browser.new_page()
            start = time.perf_counter()
            page.goto(address)
            page.wait_for_selector("#app:not([hidden])")
            page.set_input_files("#files", files[:1])
            page.wait_for_selector(DONE, state="attached")
            first, sent = time.perf_counter() - start, CountingHandler.sent
            one = median_ms(page, files[1:101])
            page.wait_for_selector("body[data-offline]")
            start = time.perf_counter()
            page.reload()
            page.set_input_files("#files", files[:1])
            page.wait_for_selector(DONE, state="attached")
            again = time.perf_counter() - start
            later = median_ms(page, files[1:101])
            page.click("#clear")
            rows = classify(page, files)
            return {
                "chromium": browser.browser.version if browser.browser else play.chromium.name,
                "bytes_before_first_answer": sent,
                "first_answer_seconds": first,
                "second_visit_answer_seconds": again,
                "tile_milliseconds": {"first": one, "later": later},
                **compare(rows, expected),
            }


def median_ms(page: Page, files: list[Path]) -> dict[str, float]:
    """Classify files; return the median milliseconds of the graph, and from file to verdict."""
    page.evaluate("performance.clearMeasures()")
    page.set_input_files("#files", files)
    page.wait_for_selector(DONE, state="attached")
    found = page.evaluate("performance.getEntriesByType('measure').map(e => [e.name, e.duration])")
    kinds = sorted({name for name, _ in found})
    return {kind: float(np.median([ms for name, ms in found if name == kind])) for kind in kinds}


def classify(page: Page, files: list[Path]) -> list[dict[str, str]]:
    """Return the rows of the page's CSV file, in the order of the files."""
    page.set_input_files("#files", files)
    page.wait_for_selector(DONE, state="attached", timeout=300_000)
    with page.expect_download() as saving:
        page.click("#save")
    return list(csv.DictReader(io.StringIO(Path(saving.value.path()).read_text())))


def compare(rows: list[dict[str, str]], expected: list[Prediction]) -> dict[str, Any]:
    """Return agreement and differences of the most probable class's probability."""
    same, differences = 0, []
    for row, each in zip(rows, expected, strict=True):
        label, probability = each.labels[0]
        same += row["label_1"] == label
        found = {row[f"label_{rank}"]: float(row[f"probability_{rank}"]) for rank in (1, 2, 3)}
        differences.append(abs(found.get(label, 0.0) - probability))
    return {
        "tiles": len(rows),
        "same_label": same / len(rows),
        "difference": {
            "median": float(np.median(differences)),
            "p95": float(np.percentile(differences, 95)),
            "largest": float(np.max(differences)),
        },
        "within_0.02": float(np.mean(np.array(differences) <= 0.02)),
        "not_sure": sum(row["sure"] == "false" for row in rows) / len(rows),
    }


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder, and yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(CountingHandler, directory=folder))
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()


def describe(found: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    one, later = found["tile_milliseconds"]["first"], found["tile_milliseconds"]["later"]
    return f"""# The page in the browser

{found["model"]} at {found["image_size"]} pixels, exported with `--to web`, in headless Chromium, \
served from the same machine. Times are of one session, medians of 100 tiles.

| measure | value |
| --- | ---: |
| bytes before the first answer | {found["bytes_before_first_answer"] / 1e6:.1f} MB |
| first visit: from opening to the first answer | {found["first_answer_seconds"]:.1f} s |
| later visit, from the cache | {found["second_visit_answer_seconds"]:.1f} s |
| a tile, first visit (one thread): graph, and from file to verdict | {one["graph"]:.0f} ms, \
{one["picture"]:.0f} ms |
| a tile, later visits (a thread for every second core) | {later["graph"]:.0f} ms, {later["picture"]:.0f} ms |
| tiles with the label of `orbitune predict`, of {found["tiles"]} | {found["same_label"]:.1%} |
| difference of the probability: median, 95th percentile, largest | {found["difference"]["median"]:.4f}, \
{found["difference"]["p95"]:.4f}, {found["difference"]["largest"]:.3f} |
| tiles with a difference of at most 0.02 | {found["within_0.02"]:.1%} |
| test tiles that are *not sure* | {found["not_sure"]:.1%} |
"""


if __name__ == "__main__":
    main()
