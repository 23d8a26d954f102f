"""The exported page in a browser, from a picture to its answer, with the network cut off."""

import gzip
import shutil

import numpy as np
import onnx
import pytest
from browser import accessibility_faults, open_browser
from onnx import numpy_helper
from PIL import Image
from typing_extensions import override
from web_pages import OFFLINE, READY, QuietHandler, classify, served, visit

from orbitune.exporting.onnx_export import open_session
from orbitune.integrity import read_json
from orbitune.sources.decode import read_pixels, to_uint8_tile

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("short_timing")]


def test_a_picture_is_classified_as_in_python_with_the_network_cut_off(folder, pictures):
    stated = read_json(folder / "model.json")
    session = open_session(gzip.decompress((folder / "model.onnx.gz").read_bytes()))
    with open_browser(1280, 800) as page, served(folder) as (address, stop):
        errors = visit(page, address)
        page.wait_for_selector(OFFLINE)
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        stop()
        page.reload()
        page.wait_for_selector(READY)
        assert page.evaluate("crossOriginIsolated")  # what threads need, by the service worker
        rows = classify(page, pictures)
        assert all(url.removeprefix("blob:").startswith(address) for url in asked)
        assert errors == []
        label = page.inner_text("#verdict .headline")
    assert set(rows) == {file.name for file in pictures}
    for file in pictures:
        pixels = to_uint8_tile(read_pixels(file.read_bytes()), tuple(stated["tile"].values()), scale_max=255)
        probabilities, score = session.run(["probabilities", "ood_score"], {"tiles": pixels[None]})
        ranked = np.argsort(-probabilities[0])[:3]
        row = rows[file.name]
        assert [row[f"label_{rank}"] for rank in (1, 2, 3)] == [stated["classes"][each] for each in ranked]
        found = [float(row[f"probability_{rank}"]) for rank in (1, 2, 3)]
        assert found == pytest.approx(probabilities[0][ranked], abs=1e-3)
        assert float(row["distance"]) == pytest.approx(float(score[0]), rel=0.01)
        assert row["sure"] == str(bool(score[0] <= stated["not_sure"]["threshold"])).lower()
    first = rows[pictures[0].name]
    assert label == (first["label_1"] if first["sure"] == "true" else "Not sure")


def test_what_is_no_usable_picture_gets_a_sentence(folder, pictures, tmp_path):
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "cut.png").write_bytes(pictures[0].read_bytes()[:60])
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(1 << 30)
    Image.new("RGB", (3, 3)).save(tmp_path / "small.png")
    Image.new("RGBA", (64, 64), (1, 2, 3, 0)).save(tmp_path / "clear.png")
    Image.fromarray(np.zeros((64, 64), np.uint16)).save(tmp_path / "deep.png")
    Image.open(pictures[0]).save(tmp_path / "tile.tif")
    bomb = bytearray(pictures[0].read_bytes())
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2  # the size in the header
    (tmp_path / "bomb.png").write_bytes(bomb)
    with open_browser(1280, 800) as page, served(folder) as (address, _):
        visit(page, address)
        rows = classify(page, sorted(tmp_path.iterdir()))
        page.click("#entries li:nth-last-child(2) button")
        shown = page.inner_text("#verdict")
        reasons = page.locator("#entries .reason").all_inner_texts()
    assert {name: row["error"] for name, row in rows.items()} == {
        "bomb.png": "has 60,000 x 60,000 pixels, too many for a browser: cut it into tiles first",
        "clear.png": "is transparent in places: save it without transparency",
        "cut.png": "is damaged, or of a kind that this browser does not open",
        "deep.png": "has 16-bit values, which a browser reduces to 8: classify it with `orbitune predict`",
        "huge.png": "is larger than 200 MB: cut it into tiles first",
        "notes.txt": "is no picture of a known kind (JPEG, PNG, WEBP, BMP, GIF)",
        "small.png": rows["small.png"]["error"],
        "tile.tif": "is a TIFF: this page opens no TIFF tiles, so save it as PNG. "
        "A georeferenced scene becomes a map where it is opened alone",
    }
    assert rows["small.png"]["error"].startswith("is 3x3 pixels, too small beside tiles of")
    assert reasons == [f"It {row['error']}." for row in rows.values()]
    assert "Cannot be classified" in shown and "It is 3x3 pixels" in shown


def test_a_folder_without_pictures_and_a_table_that_is_not_whole_are_said(folder, pictures, tmp_path):
    (tmp_path / "notes.txt").write_text("not a picture")
    with open_browser(1280, 800) as page, served(folder) as (address, _):
        page.route("**/model.onnx.gz", lambda route: None)  # it does not arrive
        visit(page, address)
        page.set_input_files("#folder", tmp_path)
        assert page.inner_text("#problem") == "There is no picture in it."
        page.set_input_files("#files", pictures[:2])
        assert page.is_hidden("#problem")
        assert page.is_disabled("#save")


def test_a_picture_that_stops_the_worker_is_said(folder, pictures):
    with open_browser(1280, 800) as page, served(folder) as (address, _):
        page.goto(address)
        page.wait_for_selector(READY)
        page.workers[0].evaluate("() => { self.onmessage = () => { throw new Error('no memory'); }; }")
        rows = classify(page, pictures[:1])
    assert rows[pictures[0].name]["error"] == "stopped the model: reload the page"


def damage(folder, name, place):
    copy = place / "page"
    shutil.copytree(folder, copy)
    content = bytearray((copy / name).read_bytes())
    if name.endswith(".json"):
        del content[len(content) // 2 :]
    else:
        content[len(content) // 2] ^= 255
    (copy / name).write_bytes(content)
    return copy


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.onnx.gz", "The model is damaged. Export the model again, or copy the folder again."),
        ("ort-wasm-simd-threaded.wasm.gz", "The runtime is damaged. Export the model again"),
        ("model.json", "model.json is damaged, or of another version than this page."),
    ],
)
def test_a_damaged_file_is_one_sentence(folder, tmp_path, name, message):
    with open_browser(800, 600) as page, served(damage(folder, name, tmp_path)) as (address, _):
        page.goto(address)
        page.wait_for_selector("#problem:not([hidden])")
        assert page.inner_text("#problem").startswith(message)


class HotelHandler(QuietHandler):
    """Answers with a login page until somebody has logged in."""

    logged_in = False

    @override
    def do_GET(self):
        if self.path.endswith(".onnx.gz") and not type(self).logged_in:
            self.path = "/index.html"
        super().do_GET()


def test_what_a_network_sends_in_place_of_the_model_is_not_kept(folder, pictures):
    with open_browser(800, 600) as page, served(folder, HotelHandler) as (address, stop):
        page.goto(address)
        page.wait_for_selector("#problem:not([hidden])")
        HotelHandler.logged_in = True
        page.goto(address)
        page.wait_for_selector(OFFLINE)
        stop()
        page.reload()
        page.wait_for_selector(READY)
        assert page.is_hidden("#problem")


def test_a_graph_that_is_no_graph_is_one_sentence(folder, tmp_path):
    copy = tmp_path / "page"
    shutil.copytree(folder, copy)
    (copy / "model.onnx.gz").write_bytes(gzip.compress(b"no graph"))
    with open_browser(800, 600) as page, served(copy) as (address, _):
        page.goto(address)
        page.wait_for_selector("#problem:not([hidden])")
        assert page.inner_text("#problem").startswith("The model cannot be opened: it is damaged")


def test_a_graph_that_gives_no_numbers_is_one_sentence(folder, tmp_path):
    copy = tmp_path / "page"
    shutil.copytree(folder, copy)
    model = onnx.load_from_string(gzip.decompress((copy / "model.onnx.gz").read_bytes()))
    bias = next(each for each in model.graph.initializer if each.name.endswith(".bias"))
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) * np.float32(np.nan), bias.name))
    (copy / "model.onnx.gz").write_bytes(gzip.compress(model.SerializeToString()))
    with open_browser(800, 600) as page, served(copy) as (address, _):
        page.goto(address)
        page.wait_for_selector("#problem:not([hidden])")
        said = page.inner_text("#problem")
    assert said == "The model is damaged: it gives no numbers. Export it again."


def test_a_browser_without_webassembly_is_told(folder):
    with open_browser(800, 600) as page, served(folder) as (address, _):
        page.add_init_script("delete globalThis.WebAssembly")
        page.goto(address)
        page.wait_for_selector("#problem:not([hidden])")
        assert page.inner_text("#problem").startswith("This browser has no WebAssembly")


def test_a_page_that_is_opened_as_a_file_says_how_to_serve_it(folder):
    with open_browser(800, 600) as page:
        page.goto((folder / "index.html").as_uri())
        page.wait_for_selector("#serve", state="visible")
        assert "python -m http.server" in page.inner_text("#serve")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible_and_fits_every_screen(folder, pictures, scheme):
    with open_browser(1280, 844) as page, served(folder) as (address, _):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        visit(page, address)
        classify(page, pictures)
        page.click("#explain")
        page.wait_for_selector("#explained:not(:empty)")
        page.click("#about summary")
        for width in (1280, 768, 390):
            page.set_viewport_size({"width": width, "height": 844})
            assert accessibility_faults(page) == [], width
            assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_pictures_can_be_chosen_and_cleared_by_keyboard(folder, pictures):
    with open_browser(1280, 800) as page, served(folder) as (address, _):
        visit(page, address)
        classify(page, pictures)
        page.focus("#entries li:nth-child(2) button")
        page.keyboard.press("Enter")
        assert page.inner_text("#verdict .file") == pictures[1].name
        page.focus("#clear")
        page.keyboard.press("Enter")
        assert page.inner_text("#verdict .headline") == "What is on this tile?"


def test_attribution_is_computed_on_request_and_laid_over_the_picture(folder, pictures):
    with open_browser(1280, 800) as page, served(folder) as (address, _):
        visit(page, address)
        label = classify(page, pictures[:1])[pictures[0].name]["label_1"]
        assert page.is_hidden("#overlay")
        page.click("#explain")
        page.wait_for_selector("#overlay", state="visible")
        assert page.inner_text("#explained").endswith(f"lowers the probability of {label} most.")
        assert page.evaluate("canvas => canvas.getBoundingClientRect()", page.query_selector("#overlay")) == (
            page.evaluate("image => image.getBoundingClientRect()", page.query_selector("#picture"))
        )
        page.fill("#overlay-opacity", "20")
        assert page.evaluate("document.getElementById('overlay').style.opacity") == "0.2"
        classify(page, pictures[1:2])
        assert page.is_hidden("#overlay")
