"""The app's page in a real browser."""

import csv
import io
from contextlib import contextmanager
from pathlib import Path

from browser import open_browser

DONE = "#verdict[data-state='done']"


@contextmanager
def visiting(address, width=1280, height=900, scheme="light"):
    """Yield the page, once it is ready; at the end there was no error in it."""
    with open_browser(width, height) as page:
        page.set_default_timeout(60_000)
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if "Content Security" in line.text else None)
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        yield page
        assert errors == []


def classify(page, files):
    """Give files to the page; return the rows of its CSV file by name."""
    page.set_input_files("#files", files)
    page.wait_for_selector("#session:not([hidden]) #batch[hidden]", state="attached")
    with page.expect_download() as saving:
        page.click("#save")
    text = Path(saving.value.path()).read_text(encoding="utf-8")
    return {row["input"]: row for row in csv.DictReader(io.StringIO(text))}


def is_shown(page, selector):
    """Whether a picture has been loaded."""
    return page.eval_on_selector(selector, "image => image.decode().then(() => image.naturalWidth > 0)")
