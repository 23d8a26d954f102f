"""The exported page learns further classes in a browser, and says whether it did."""

import base64
import shutil

import numpy as np
import pytest
from browser import open_browser
from PIL import Image
from web_pages import OFFLINE, READY, classify, served, visit

from orbitune.adapters.head_import import import_head
from orbitune.exporting.web.web_export import _write_file_list
from orbitune.inference.classifier import Classifier
from orbitune.integrity import read_json

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("short_timing")]


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
        assert page.get_attribute("#outcome", "data-state") == "good"
        assert "12 got the right class, and 0 before" in page.inner_text("#outcome")
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


def test_learning_that_failed_is_no_success_and_the_scores_are_those_of_the_parent(folder, tiles):
    known = sorted(tiles.rglob("*.png"))[::10][:12]  # of all classes, which the model tells apart
    with open_browser(1280, 800) as page, served(folder) as (address, _):
        visit(page, address)
        page.click("#about summary")
        assert "before it was taught" not in page.inner_text("#facts")
        page.click("#teach summary")
        page.fill("#class-name", "Anything")
        page.set_input_files("#lesson-files", known)
        page.get_by_text("Anything: 12 pictures.").wait_for()
        page.wait_for_selector("#learn:enabled")
        page.click("#learn")
        page.wait_for_selector("#outcome[data-state=bad]")
        assert page.inner_text("#taught") == "Taught on this device: Anything (12 pictures)"
        assert "Validation, 24 tiles, before it was taught" in page.inner_text("#facts")
        page.click("#forget")
        assert page.is_hidden("#outcome") and page.is_hidden("#taught")
        assert "before it was taught" not in page.inner_text("#facts")


def start_to_teach(page, picture):
    """State the class of a picture and learn."""
    classify(page, [picture])
    if page.get_attribute("#teach", "open") is None:
        page.click("#teach summary")
    page.select_option("#truth", index=1)
    page.click("#learn")


def teach(page, picture):
    """Teach a picture; return what the page says of it."""
    start_to_teach(page, picture)
    page.wait_for_selector("#learn:enabled")
    page.wait_for_selector("#save-head:enabled")
    return page.inner_text("#outcome")


def fail_to_teach(page, address, picture):
    """State the class of a picture and learn, which fails."""
    visit(page, address)
    start_to_teach(page, picture)
    page.wait_for_selector("#outcome[data-state=bad]")


def test_a_fit_that_stops_is_said_and_changes_nothing(folder, pictures):
    with open_browser(1280, 800, service_workers="block") as page, served(folder) as (address, _):
        page.route("**/fit_worker.js", lambda route: route.fulfill(body="throw new Error('no memory')"))
        fail_to_teach(page, address, pictures[0])
        assert page.inner_text("#outcome").startswith("The fit stopped")
        assert page.is_hidden("#save-head") and page.is_enabled("#learn")


def test_learning_data_that_did_not_load_is_fetched_again(folder, pictures, tmp_path):
    place = tmp_path / "page"
    shutil.copytree(folder, place)
    data = (place / "learning.f32").rename(tmp_path / "learning.f32")
    with open_browser(1280, 800) as page, served(place) as (address, _):
        fail_to_teach(page, address, pictures[0])
        assert page.inner_text("#outcome").startswith("learning.f32 cannot be read")
        data.rename(place / "learning.f32")
        page.click("#learn")
        page.wait_for_selector("#save-head:not([hidden])")


def test_learning_data_without_numbers_teach_nothing(folder, pictures, tmp_path):
    place = tmp_path / "page"
    shutil.copytree(folder, place)
    data = np.frombuffer((place / "learning.f32").read_bytes(), "<f4")
    (place / "learning.f32").write_bytes(np.full_like(data, np.nan).tobytes())
    with open_browser(1280, 800) as page, served(place) as (address, _):
        fail_to_teach(page, address, pictures[0])
        assert page.inner_text("#outcome").startswith("learning.f32 is damaged")
        assert page.is_hidden("#save-head")


def test_windows_that_are_open_at_once_lose_no_lesson(folder, pictures):
    with open_browser(1280, 800) as page, served(folder) as (address, _):
        visit(page, address)
        page.wait_for_selector(READY)
        with page.expect_popup() as opening:
            page.evaluate("void open(location.href)")
        other = opening.value
        other.wait_for_selector(READY)
        assert "1 picture" in teach(page, pictures[0])
        other.wait_for_selector("#taught:has-text('(1 picture)')")
        assert "2 pictures" in teach(other, pictures[1])
        page.wait_for_selector("#taught:has-text('(2 pictures)')")
        other.click("#forget")
        page.wait_for_selector("#taught", state="hidden")


FILL = """() => {
  for (let size = 1 << 20; size; size >>= 1) {
    try {
      for (let count = 0; ; count++) localStorage.setItem(`${size} ${count}`, "x".repeat(size));
    } catch {}
  }
}"""


def test_what_the_browser_has_no_room_for_is_said_and_used(folder, pictures):
    with open_browser(1280, 800) as page, served(folder) as (address, _):
        visit(page, address)
        page.wait_for_selector(READY)
        page.evaluate(FILL)
        assert teach(page, pictures[0]).endswith("has no room to keep it: save it before you close the page.")
        assert "2 pictures" in teach(page, pictures[1])


DAMAGE = """() => {
  const [key] = Object.keys(localStorage);
  const head = JSON.parse(localStorage.getItem(key));
  localStorage.setItem(key, JSON.stringify({ ...head, weight: head.weight.slice(8) }));
}"""


def test_what_was_kept_and_is_damaged_is_said_and_forgotten(folder, pictures):
    with open_browser(1280, 800) as page, served(folder) as (address, _):
        visit(page, address)
        teach(page, pictures[0])
        page.evaluate(DAMAGE)
        page.reload()
        page.wait_for_selector("#outcome[data-state=bad]")
        assert page.inner_text("#outcome").startswith("What was taught on this device before is damaged")
        assert page.evaluate("localStorage.length") == 0 and page.is_hidden("#taught")


def test_what_was_kept_is_not_lost_where_the_learning_data_arrive_later(folder, pictures):
    with open_browser(1280, 800, service_workers="block") as page, served(folder) as (address, _):
        visit(page, address)
        teach(page, pictures[0])
        page.route("**/learning.f32", lambda route: route.abort())
        page.reload()
        page.wait_for_selector("#outcome[data-state=bad]")
        assert page.inner_text("#outcome").endswith("What was taught on this device is not used.")
        page.unroute("**/learning.f32")
        assert "2 pictures" in teach(page, pictures[1])


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
