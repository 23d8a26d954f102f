"""What the app's page says, and does next, where it cannot answer."""

import pytest
from app_page import DONE, classify, is_shown, visiting
from browser import accessibility_faults, open_browser
from served_app import serving

from orbitune.serving.service import PredictionService

pytestmark = pytest.mark.browser


def test_what_cannot_be_classified_gets_a_sentence_and_a_name_becomes_no_markup(address, tmp_path):
    hostile = tmp_path / "<img src=x onerror=alert(1)>.txt"
    hostile.write_text("not a picture")
    (tmp_path / "broken.zip").write_bytes(b"PK")
    with visiting(address) as page:
        row = classify(page, hostile)[hostile.name]
        assert row["error"].startswith("is no image of a known kind")
        assert page.inner_text("#verdict .file") == hostile.name and page.locator("#verdict img").count() == 0
        page.set_input_files("#files", tmp_path / "broken.zip")
        page.wait_for_selector("#problem:not([hidden])")
        assert page.inner_text("#problem") == "broken.zip is no zip archive, or is damaged."


def test_a_server_that_has_gone_is_told_in_a_sentence(service, tile):
    with open_browser(1280, 900) as page:
        with serving(service) as address:
            page.goto(address)
            page.wait_for_selector("body[data-ready]", timeout=60_000)
        page.set_input_files("#files", tile)
        page.wait_for_selector("#verdict[data-state='refused']")
        assert "The server does not answer; it may have been stopped." in page.inner_text("#verdict")


def test_a_damaged_picture_gets_a_sentence(address, tile, tmp_path):
    (tmp_path / "cut.png").write_bytes(tile.read_bytes()[:60])
    with visiting(address) as page:
        assert classify(page, tmp_path / "cut.png")["cut.png"]["error"].startswith("is damaged")
        assert page.inner_text("#verdict .headline") == "Cannot be classified"


def test_a_picture_of_a_gigabyte_is_refused_before_it_is_sent(address, tile, tmp_path):
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(1 << 30)
    with visiting(address) as page:
        sent = []
        page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
        row = classify(page, tmp_path / "huge.png")["huge.png"]
        assert row["error"] == "is larger than 32 MB: cut it into tiles first" and sent == []
        assert classify(page, tile)[tile.name]["label_1"].startswith("class_")  # the others are answered


def test_a_scene_that_is_none_or_of_a_gigabyte_gets_a_sentence(address, tmp_path):
    pytest.importorskip("rasterio", reason="needs orbitune[geo]")
    (tmp_path / "notes.tif").write_text("not a picture")
    with (tmp_path / "huge.tif").open("wb") as file:
        file.truncate(1 << 30)
    sentences = {
        "notes.tif": "notes.tif is not a GeoTIFF, or is damaged.",
        "huge.tif": "huge.tif is larger than 200 MB: crop it, or use orbitune map.",
    }
    with visiting(address) as page:
        page.click("[data-view='map']")
        for name, sentence in sentences.items():
            page.set_input_files("#scene-file", tmp_path / name)
            page.click("#make-map")
            page.wait_for_selector(f"#map-problem:has-text('{name}')")
            assert page.inner_text("#map-problem") == sentence


def test_a_picture_is_asked_for_again_while_the_server_is_busy_and_when_it_is_chosen(address, tile):
    busy = {"status": 503, "headers": {"retry-after": "1"}, "json": {"detail": "Busy.", "kind": "busy"}}
    answers = [lambda route: route.fulfill(**busy), lambda route: route.abort()]
    with visiting(address) as page:
        page.route("**/api/preview?*", lambda route: answers.pop(0)(route) if answers else route.continue_())
        with page.expect_event("requestfailed"):
            page.set_input_files("#files", tile)
        page.wait_for_selector(DONE)
        assert answers == [] and page.is_hidden("#canvas")
        page.click("#rows button")
        page.wait_for_selector("#canvas:not([hidden])")
        page.wait_for_selector("#rows img[src]")
        assert is_shown(page, "#picture") and is_shown(page, "#rows img")


def test_what_a_server_did_not_answer_is_classified_and_shown_once_it_is_back(address, tile):
    with visiting(address) as page:
        page.route("**/api/**", lambda route: route.abort())
        page.set_input_files("#files", tile)
        page.wait_for_selector("#verdict[data-state='refused']")
        page.unroute("**/api/**")
        page.click("#rest")
        page.wait_for_selector(DONE)
        page.wait_for_selector("#canvas:not([hidden])")
        assert page.is_hidden("#rest") and is_shown(page, "#picture")


def test_a_late_answer_on_one_model_does_not_replace_that_on_another(address):
    with visiting(address) as page:
        page.click("[data-view='card']")
        page.wait_for_selector("#card h1")
        card, late = page.inner_text("#card"), []
        page.route("**/app/card?model=lora", lambda route: late.append(route))
        page.select_option("#model", "lora")
        page.wait_for_selector("#card:empty", state="attached")
        page.select_option("#model", "bundle")
        page.wait_for_selector("#card h1")
        late[0].continue_()
        page.wait_for_timeout(500)
        assert page.inner_text("#card") == card


def test_a_model_without_a_detector_says_why_there_are_no_distances(address, tile):
    with visiting(address) as page:
        classify(page, tile)
        assert page.is_visible("[data-sort='distance']") and "detector" not in page.inner_text("#verdict")
        page.select_option("#model", "lora")
        page.wait_for_selector(DONE)
        assert page.is_hidden("[data-sort='distance']")
        assert "this model has no detector of unlike tiles" in page.inner_text("#verdict")
        page.wait_for_selector("#rows img[src]")
        assert is_shown(page, "#rows img")


def test_a_model_without_examples_says_how_it_gets_some(bundle):
    with serving(PredictionService({"bundle": bundle.folder})) as address, visiting(address, 390) as page:
        page.wait_for_selector("#no-examples:not([hidden])")
        assert "orbitune bundle --examples" in page.inner_text("#no-examples")
        assert page.locator("#examples button").count() == 0
        assert accessibility_faults(page) == []


def test_an_attribution_that_takes_long_says_why_and_how_long(address, tile):
    with visiting(address) as page:
        classify(page, tile)
        held = []
        page.route("**/api/attribution?*", lambda route: held.append(route))
        page.click("#show-layer")
        page.wait_for_selector("#layer-note:has-text(' 2 s.')")
        assert "the server loads its backbone" in page.inner_text("#layer-note")
        held[0].continue_()
        page.wait_for_selector("#layer:not([hidden])")
        assert page.inner_text("#layer-note").startswith("Yellow parts support")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_reference_of_the_api_is_shown_whole_without_another_server(address, width, scheme):
    with open_browser(width, 844) as page:
        page.emulate_media(color_scheme=scheme)
        asked, said = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda line: said.append(line.text))
        page.goto(f"{address}/api/docs")
        assert asked == [f"{address}/api/docs"] and said == []
        assert page.evaluate("getComputedStyle(document.querySelector('.method')).fontWeight") == "700"
        assert page.locator("section h2").first.inner_text().startswith("POST /api/predict")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert accessibility_faults(page) == []
