"""The app's page in a real browser, from picture to answer."""

import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from app_page import classify, is_shown, visiting
from browser import accessibility_faults, open_browser
from image_files import encode, jp2, stripes, tiff, write
from PIL import Image, ImageOps
from served_app import serving

from orbitune.inference.classifier import Classifier
from orbitune.serving.service import PredictionService

pytestmark = pytest.mark.browser
# What scrolls sideways, but the row of examples, which is meant to.
SIDEWAYS = """[...document.querySelectorAll("main *:not(ul)")].filter((each) => each.checkVisibility() &&
    ["auto", "scroll"].includes(getComputedStyle(each).overflowX) && each.scrollWidth > each.clientWidth)
    .map((each) => each.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="module")
def expected(bundle):
    """What the Python API finds in files, by name: the first prediction of each."""
    model = Classifier.from_pretrained(bundle.folder)
    return lambda files: {Path(each.input).name: each for each in model.predict(files)}


@pytest.fixture
def unlike(tmp_path):
    """A tile unlike those of the training."""
    return write(tmp_path / "stripes.png", encode(stripes()))


@pytest.mark.parametrize("width", [1280, 390])
def test_a_tile_gets_one_verdict_with_bars_on_a_screen_and_on_a_phone(address, tile, expected, width):
    found = expected([tile])[tile.name]
    with visiting(address, width) as page:
        row = classify(page, tile)[tile.name]
        assert page.inner_text("#verdict .headline") == (found.labels[0][0] if found.sure else "Not sure")
        assert page.locator("#verdict .bars li").count() == 3
        assert is_shown(page, "#picture")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert row["label_1"] == found.labels[0][0]
    assert float(row["probability_1"]) == pytest.approx(found.labels[0][1], abs=1e-4)
    assert float(row["distance"]) == pytest.approx(found.distance, rel=1e-3)


def test_a_tile_unlike_the_training_tiles_is_plainly_not_sure(address, unlike):
    with visiting(address) as page:
        row = classify(page, unlike)["stripes.png"]
        assert row["sure"] == "false" and page.inner_text("#verdict .headline") == "Not sure"
        assert "unlike the tiles that the model was trained on" in page.inner_text("#verdict")


@pytest.mark.parametrize("name", ["tile.tif", "deep.tif", "tile.jp2", "deep.jp2", "tile.bmp", "tile.webp"])
def test_the_server_shows_every_format_that_it_reads(address, tile, tmp_path, name):
    with Image.open(tile) as image:
        if name.startswith("deep") or name.endswith("jp2"):
            pytest.importorskip("rasterio", reason="needs orbitune[geo]")
            bands = np.asarray(image).transpose(2, 0, 1)
            bands = bands.astype(np.uint16) * 40 if name.startswith("deep") else bands
            (tmp_path / name).write_bytes(jp2(bands) if name.endswith("jp2") else tiff(bands))
        else:
            image.save(tmp_path / name)
    with visiting(address) as page:
        page.set_input_files("#files", tmp_path / name)
        page.wait_for_selector("#canvas:not([hidden])")
        assert is_shown(page, "#picture")
        page.wait_for_selector("#rows img[src]")
        assert is_shown(page, "#rows img")


def test_the_attribution_of_a_class_lies_over_the_tile_as_strongly_as_asked(address, tile):
    with visiting(address) as page:
        classify(page, tile)
        page.click("#show-layer")
        page.wait_for_selector("#layer:not([hidden])")
        assert is_shown(page, "#layer")
        page.locator("#opacity").fill("40")
        assert page.locator("#layer").evaluate("layer => getComputedStyle(layer).opacity") == "0.4"
        before, other = (
            page.get_attribute("#layer", "src"),
            page.locator("#explained option").nth(1).inner_text(),
        )
        page.select_option("#explained", other)
        page.wait_for_selector(f"#layer:not([hidden]):not([src='{before}'])")
        assert page.inner_text("#layer-note") == f"Yellow parts support {other} most, violet ones least."


def test_an_example_of_each_class_is_classified_once(address):
    with visiting(address) as page:
        examples = page.locator("#examples button")
        examples.first.wait_for()
        assert [examples.nth(at).inner_text().strip() for at in range(3)] == ["class_0", "class_1", "class_2"]
        assert is_shown(page, "#examples img")
        for at in (0, 1, 0):
            examples.nth(at).click()
            page.wait_for_selector(f"#rows tr:nth-child({at + 1})[aria-current]")
        assert page.locator("#rows tr").count() == 2


def test_an_example_is_the_tile_of_the_model_that_offers_it(example_bundle, tmp_path):
    other = shutil.copytree(example_bundle.folder, tmp_path / "other")
    for file in (other / "examples").iterdir():
        with Image.open(file) as image:
            ImageOps.invert(image).save(file)
    service = PredictionService({"one": example_bundle.folder, "other": other})
    with serving(service) as address, visiting(address) as page:
        page.click("#examples button")
        page.wait_for_selector("#rows tr:nth-child(1)[aria-current]")
        page.select_option("#model", "other")
        page.click("#examples button:has(img[src*='model=other'])")
        page.wait_for_selector("#rows tr:nth-child(2)[aria-current]")
        assert page.locator("#rows tr").count() == 2


def test_what_arrives_after_the_session_was_cleared_is_not_added(address, tile, tmp_path):
    with zipfile.ZipFile(tmp_path / "tiles.zip", "w") as packed:
        packed.write(tile, tile.name)
    with visiting(address) as page:
        page.evaluate("""() => {
            const read = Blob.prototype.arrayBuffer, gate = new Promise((open) => (window.openGate = open));
            Blob.prototype.arrayBuffer = async function () { await gate; return read.call(this); };
        }""")
        held = []
        page.locator("#examples img").first.evaluate("image => image.decode()")
        page.route("**/app/example?*", lambda route: held.append(route))
        with page.expect_request("**/app/example?*"):
            page.click("#examples button")
        page.set_input_files("#files", tmp_path / "tiles.zip")
        page.evaluate("document.getElementById('clear').click()")
        with page.expect_response("**/app/example?*"):
            held[-1].continue_()
        page.evaluate("window.openGate()")
        page.wait_for_timeout(500)
        assert page.locator("#rows tr").count() == 0
        with page.expect_request("**/app/example?*"):
            page.click("#examples button")
        held[-1].continue_()
        page.wait_for_selector("#rows tr:nth-child(1)[aria-current]")
        assert page.locator("#rows tr").count() == 1


def test_a_zip_becomes_a_table_that_sorts_and_filters(address, runs, tmp_path, expected):
    files = sorted((runs / "tiles").rglob("*.png"))[:40]
    with zipfile.ZipFile(tmp_path / "tiles.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for file in files:
            packed.write(file, f"tiles/{file.name}")
        packed.writestr("tiles/notes.png", b"no image")
    found = expected(files)
    with visiting(address) as page:
        rows = classify(page, tmp_path / "tiles.zip")
        assert {name: row["label_1"] for name, row in rows.items() if row["label_1"]} == {
            f"tiles/{name}": each.labels[0][0] for name, each in found.items()
        }
        assert rows["tiles/notes.png"]["error"].startswith("is no image of a known kind")
        assert page.inner_text("#counts").startswith("41 tiles") and "1 not classified" in page.inner_text(
            "#counts"
        )

        page.click("[data-sort='probability']")
        shown = page.locator("#rows td:nth-child(4)").all_inner_texts()
        values = [float(re.sub("[^0-9.]", "", text)) for text in shown if text]
        assert values == sorted(values, reverse=True) and len(values) == 40
        assert page.locator("[aria-sort='descending']").inner_text().startswith("probability")

        page.select_option("#filter", "Not classified")
        assert page.locator("#rows tr").count() == 1
        page.click("#rows button")
        assert page.inner_text("#verdict .headline") == "Cannot be classified"
        page.select_option("#filter", "")
        page.fill("#search", files[0].name)
        assert page.locator("#rows tr").count() == 1


def test_models_are_compared_with_the_tile_beside(address, tile):
    with visiting(address) as page:
        classify(page, tile)
        page.click("#compare summary")
        page.wait_for_selector("#compare tbody:nth-of-type(2)")
        assert page.locator("#compare tbody th").all_inner_texts() == ["bundle", "lora"]
        assert page.locator("#compare tbody td").nth(0).inner_text().startswith("class_")
        facts = page.locator("#compare tbody tr:nth-child(2)").all_inner_texts()
        assert all(re.fullmatch(r"\d+ ms · [\d.]+ MB · test accuracy .+", each.strip()) for each in facts)
        picture, table = (
            page.locator("#picture").bounding_box(),
            page.locator("#compare table").bounding_box(),
        )
        assert picture["x"] + picture["width"] <= table["x"]


def test_a_scene_becomes_a_map_to_look_at_and_to_download(address, tmp_path):
    rasterio = pytest.importorskip("rasterio", reason="needs orbitune[geo]")
    pytest.importorskip("pyogrio", reason="needs orbitune[geo]")
    place = {"crs": "EPSG:32632", "transform": rasterio.transform.from_origin(6e5, 5.2e6, 10, 10)}
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "width": 64, "height": 64, **place}
    pixels = np.random.default_rng(0).integers(0, 255, (3, 64, 64)).astype(np.uint8)
    with rasterio.open(tmp_path / "scene.tif", "w", **profile) as file:
        file.write(pixels)
    with visiting(address, 390) as page:
        page.click("[data-view='map']")
        page.click("#make-map")
        page.wait_for_selector("#map-problem:not([hidden])")
        assert page.inner_text("#map-problem") == "Choose a GeoTIFF first."
        page.set_input_files("#scene-file", tmp_path / "scene.tif")
        page.fill("#bands", "1,2,3")
        page.click("#make-map")
        page.wait_for_selector("#map-result:not([hidden])")
        page.frame_locator("#viewer iframe").locator("body[data-ready]").wait_for()
        assert page.locator("#areas tbody tr").count() == 4
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.evaluate(SIDEWAYS) == []
        with page.expect_download() as saving:
            page.click("#map-files")
        assert "landcover.tif" in zipfile.ZipFile(saving.value.path()).namelist()
        page.fill("#scale", "x")
        page.click("#make-map")
        page.wait_for_selector("#map-problem:not([hidden])")
        assert page.inner_text("#map-problem").startswith("Scale takes LOW:HIGH")


def test_a_visitor_signs_in_before_anything_is_shown(service, tile):
    with serving(service, login=("ann", "secret")) as address, open_browser(390, 844) as page:
        page.goto(address)
        page.wait_for_selector("#login:not([hidden])")
        assert page.is_hidden("#tiles")
        for password, selector in (("guess", "#refused:not(:empty)"), ("secret", "body[data-ready]")):
            page.fill("#username", "ann")
            page.fill("#password", password)
            page.click("#login button")
            page.wait_for_selector(selector, timeout=60_000)
        assert classify(page, tile)[tile.name]["label_1"].startswith("class_")


def test_the_page_is_worked_by_keyboard(address, tile, unlike):
    with visiting(address) as page:
        classify(page, [tile, unlike])
        page.focus("#rows tr:nth-child(2) button")
        page.keyboard.press("Enter")
        page.wait_for_selector("#verdict .file:text-is('stripes.png')")
        page.focus("#clear")
        page.keyboard.press("Enter")
        assert page.inner_text("#verdict .headline") == "What is on this tile?"
        assert page.evaluate("document.activeElement.id") == "open"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_any_view_and_nothing_scrolls_sideways(address, tile, scheme):
    with visiting(address, 390, scheme=scheme) as page:
        classify(page, tile)
        page.click("#show-layer")
        page.wait_for_selector("#layer:not([hidden])")
        page.click("#compare summary")
        page.wait_for_selector("#compare tbody:nth-of-type(2)")
        assert page.evaluate(SIDEWAYS) == []
        for view in ("tiles", "map", "card"):
            if page.is_visible(f"[data-view='{view}']"):
                page.click(f"[data-view='{view}']")
                assert accessibility_faults(page) == []
