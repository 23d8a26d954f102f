"""The exported page in a browser, from a picture to its answer, with the network cut off."""

import base64
import csv
import gzip
import io
import shutil
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from browser import accessibility_faults, open_browser
from PIL import Image

from orbitune.adapters.head_import import import_head
from orbitune.exporting.exporter import export
from orbitune.exporting.onnx_export import open_session
from orbitune.exporting.web.web_export import _write_file_list
from orbitune.inference.classifier import Classifier
from orbitune.integrity import read_json
from orbitune.sources.decode import read_pixels, to_uint8_tile

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("short_timing")]

READY = "body[data-ready]"
OFFLINE = "body[data-offline]"


class QuietHandler(SimpleHTTPRequestHandler):
    """As `python -m http.server`, without its log."""

    def log_message(self, *_):
        pass


@contextmanager
def served(folder, handler=QuietHandler):
    """Serve a folder; yield its address and a function that ends the server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=folder))
    thread = Thread(target=server.serve_forever)
    thread.start()

    def stop():
        server.shutdown()
        server.server_close()
        thread.join()

    try:
        yield f"http://localhost:{server.server_port}/", stop
    finally:
        stop()


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    """The exported page."""
    out = tmp_path_factory.mktemp("web") / "out"
    export(run, ["web"], out=out, progress=False)
    return out / "web"


@pytest.fixture(scope="module")
def pictures(tiles, tmp_path_factory):
    """Tiles of each class, larger ones, one as JPEG, and photographs that a browser would turn."""
    place = tmp_path_factory.mktemp("pictures")
    names = [file for each in sorted(tiles.iterdir()) for file in sorted(each.iterdir())[:3]]
    for file in names:
        shutil.copy(file, place / file.name)
    with Image.open(names[0]) as tile:
        larger = tile.convert("RGB").resize((150, 90), Image.Resampling.BICUBIC)
    larger.save(place / "larger.png")
    larger.save(place / "picture.jpg", quality=90)
    exif = Image.Exif()
    exif[0x0112] = 6  # the orientation
    larger.save(place / "turned.jpg", quality=90, exif=exif)
    larger.save(place / "turned.png", exif=exif)
    return sorted(place.iterdir())


def visit(page, address):
    """Open the page; return the list of errors, to which later ones are added."""
    errors = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    return errors


def classify(page, files):
    """Give files to the page; return the rows of its CSV file by name."""
    page.set_input_files("#files", files)
    page.wait_for_selector("#session:not([hidden]) #batch[hidden]", state="attached")
    with page.expect_download() as saving:
        page.click("#save")
    text = Path(saving.value.path()).read_text()
    return {row["input"]: row for row in csv.DictReader(io.StringIO(text))}


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
    bomb = bytearray(pictures[0].read_bytes())
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2  # the size in the header
    (tmp_path / "bomb.png").write_bytes(bomb)
    with open_browser(1280, 800) as page, served(folder) as (address, _):
        visit(page, address)
        rows = classify(page, sorted(tmp_path.iterdir()))
        page.click("#entries li:last-child button")
        shown = page.inner_text("#verdict")
    assert {name: row["error"] for name, row in rows.items()} == {
        "bomb.png": "has 60,000 x 60,000 pixels, too many for a browser: cut it into tiles first",
        "clear.png": "is transparent in places: save it without transparency",
        "cut.png": "is damaged, or of a kind that this browser does not open",
        "deep.png": "has 16-bit values, which a browser reduces to 8: classify it with `orbitune predict`",
        "huge.png": "is larger than 200 MB: cut it into tiles first",
        "notes.txt": "is no picture of a known kind (JPEG, PNG, WEBP, BMP, GIF)",
        "small.png": rows["small.png"]["error"],
    }
    assert rows["small.png"]["error"].startswith("is 3x3 pixels, too small beside tiles of")
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
    content[len(content) // 2] ^= 255
    (copy / name).write_bytes(content)
    return copy


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.onnx.gz", "The model is damaged. Export the model again, or copy the folder again."),
        ("ort-wasm-simd-threaded.wasm.gz", "The runtime is damaged. Export the model again"),
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


def test_an_open_page_teaches_its_own_model_when_a_newer_one_arrives(folder, pictures, tmp_path):
    place = tmp_path / "page"
    shutil.copytree(folder, place)
    with open_browser(1280, 800) as page, served(place) as (address, _):
        visit(page, address)
        page.wait_for_selector(OFFLINE)
        page.reload()
        page.wait_for_selector(OFFLINE)
        # The same classes and width, and other weights.
        newer = np.frombuffer((place / "learning.f32").read_bytes(), "<f4") + 1
        (place / "learning.f32").write_bytes(newer.tobytes())
        (place / "files.js").unlink()
        _write_file_list(place)
        page.evaluate("navigator.serviceWorker.getRegistration().then((each) => each.update())")
        page.wait_for_selector("#update:not([hidden])")
        classify(page, pictures[:1])
        page.click("#teach summary")
        page.select_option("#truth", index=1)
        page.click("#learn")
        page.wait_for_selector("#save-head:not([hidden])")
        with page.expect_download() as saving:
            page.click("#save-head")
        start = read_json(saving.value.path())["start_bias"]
    classes = len(read_json(folder / "model.json")["classes"])
    width = read_json(folder / "model.json")["learning"]["width"]
    own = np.frombuffer((folder / "learning.f32").read_bytes(), "<f4")[classes * width :][:classes]
    assert start == base64.b64encode(own.tobytes()).decode()


def test_a_graph_that_is_no_graph_is_one_sentence(folder, tmp_path):
    copy = tmp_path / "page"
    shutil.copytree(folder, copy)
    (copy / "model.onnx.gz").write_bytes(gzip.compress(b"no graph"))
    with open_browser(800, 600) as page, served(copy) as (address, _):
        page.goto(address)
        page.wait_for_selector("#problem:not([hidden])")
        assert page.inner_text("#problem").startswith("The model cannot be opened: it is damaged")


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
def test_the_page_is_accessible_and_fits_a_phone(folder, pictures, scheme):
    with open_browser(390, 844) as page, served(folder) as (address, _):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        visit(page, address)
        classify(page, pictures)
        page.click("#about summary")
        assert accessibility_faults(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


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


def striped(number):
    """A tile of a class that the model does not know."""
    tile = np.zeros((32, 32, 3), np.uint8)
    tile[:, ::2] = (230, 20, 200)
    return tile + np.random.default_rng(number).integers(0, 20, tile.shape, np.uint8)


def test_a_class_is_taught_kept_saved_and_imported_as_a_bundle(folder, pictures, bundle, tmp_path):
    lessons = []
    for number in range(14):
        Image.fromarray(striped(number)).save(tmp_path / f"stripes_{number:02}.png")
        lessons.append(tmp_path / f"stripes_{number:02}.png")
    learned, new = lessons[:12], lessons[12:]
    with open_browser(1280, 800) as page, served(folder) as (address, _):
        errors = visit(page, address)
        before = classify(page, pictures)
        page.click("#teach summary")
        page.fill("#class-name", "Stripes")
        page.set_input_files("#lesson-files", learned)
        page.wait_for_selector("#batch[hidden]", state="attached")
        assert page.inner_text("#lessons") == "Stripes: 12 pictures."
        page.click("#learn")
        page.wait_for_selector("#save-head:not([hidden])")
        assert "12 got the right class, and 0 before" in page.inner_text("#lessons")
        after = classify(page, new)
        page.reload()  # what was learned is kept in the browser
        page.wait_for_selector(READY)
        kept = classify(page, new)
        page.click("#teach summary")
        page.select_option("#truth", kept[new[0].name]["label_1"])  # a further lesson
        page.click("#learn")
        page.wait_for_selector("text=Of 13 pictures")
        with page.expect_download() as saving:
            page.click("#save-head")
        shutil.copy(saving.value.path(), tmp_path / "head.json")
        page.click("#forget")
        assert page.is_hidden("#save-head")
        assert errors == []
    assert [after[file.name]["label_1"] for file in new] == ["Stripes", "Stripes"]
    assert [kept[file.name]["label_1"] for file in new] == ["Stripes", "Stripes"]
    assert all(after[name]["label_1"] == row["label_1"] for name, row in before.items())
    imported = import_head(tmp_path / "head.json", bundle.folder, out=tmp_path / "taught")
    assert imported.classes == (*bundle.classes, "Stripes")
    found = {each.input: each for each in Classifier(tmp_path / "taught").predict([*new, *pictures])}
    assert [found[str(file)].labels[0][0] for file in new] == ["Stripes", "Stripes"]
    # The mean of the taught pictures is one of the detector's now.
    distances = {each.input: each.distance for each in Classifier(bundle.folder).predict(new)}
    assert all(found[str(file)].distance < distances[str(file)] for file in new)
    assert all(found[str(file)].labels[0][0] == before[file.name]["label_1"] for file in pictures)
