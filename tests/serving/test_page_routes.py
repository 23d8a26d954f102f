"""Routes of the app's page, and what browsers and programs find at /."""

import io
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError, Event

import httpx
import numpy as np
import pytest
from PIL import Image
from served_app import serving, wait_until

from orbitune.resources import core_count
from orbitune.serving.engines import micro_batches
from orbitune.serving.served_model import ServedModel
from orbitune.serving.service import PredictionService


@pytest.fixture(scope="module")
def service(bundle, runs):
    """The first model has an OOD detector, the second is a run whose tiles are the examples."""
    return PredictionService({"bundle": bundle.folder, "lora": runs / "run"})


@pytest.fixture(scope="module")
def address(service):
    with serving(service) as address:
        yield address


def test_a_preview_is_the_image_as_the_decoder_reads_it(address, tile):
    done = httpx.post(f"{address}/api/preview", content=tile.read_bytes())
    assert done.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(done.content)) as shown, Image.open(tile) as image:
        assert np.array_equal(np.asarray(shown), np.asarray(image))
    refused = httpx.post(f"{address}/api/preview", content=b"hello")
    assert refused.status_code == 422 and refused.json()["kind"] == "unreadable_image"


def test_an_attribution_map_has_transparency_and_needs_a_known_class(address, tile):
    data = tile.read_bytes()
    done = httpx.post(f"{address}/api/attribution?label=class_1", content=data)
    with Image.open(io.BytesIO(done.content)) as layer:
        red, *_, alpha = np.asarray(layer).transpose(2, 0, 1).astype(int)
    assert np.corrcoef(red.ravel(), alpha.ravel())[0, 1] > 0.9
    assert alpha.min() < 130 and 200 < alpha.max() < 255
    refused = httpx.post(f"{address}/api/attribution?label=other", content=data)
    assert refused.status_code == 400
    assert refused.json()["detail"] == "Unknown class. Choose from: class_0, class_1, class_2."


def test_previews_that_wait_count_among_the_images_that_may(address, tile_bytes, monkeypatch):
    most, held, draw = core_count() + 2, Event(), ServedModel.preview
    monkeypatch.setattr(micro_batches, "MAX_WAITING", most)
    monkeypatch.setattr(ServedModel, "preview", lambda *given: held.wait(60) and draw(*given))
    with ThreadPoolExecutor(2 * most) as pool:
        calls = [
            pool.submit(httpx.post, f"{address}/api/preview", content=tile_bytes, timeout=60)
            for _ in range(2 * most)
        ]
        try:
            wait_until(lambda: sum(each.done() for each in calls) == most)
        finally:
            held.set()
    assert sorted(each.result().status_code for each in calls) == most * [200] + most * [503]


def test_the_first_attribution_maps_load_the_model_once(bundle, tile_bytes, monkeypatch):
    service = PredictionService({"bundle": bundle.folder})
    model, both = service.get_model(None), Barrier(2)
    backbone = model.bundle.backbone

    def load(*given):
        try:
            both.wait(2)
        except BrokenBarrierError:
            return backbone(*given)
        raise AssertionError("two threads load it")

    monkeypatch.setattr(type(model.bundle), "backbone", lambda _, *given: load(*given))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda label: model.compute_attribution(tile_bytes, label), model.classes[:2]))
    service.close()


def test_the_models_are_described(address):
    first, second = httpx.get(f"{address}/api/models").json()["models"]
    assert first["name"] == "bundle" and first["ood_threshold"] > 0 and first["thresholds"] is None
    assert second["name"] == "lora" and second["ood_threshold"] is None and "accuracy" in second["score"]


def test_a_model_card_is_html_in_which_that_of_the_card_is_text(address, service, monkeypatch):
    monkeypatch.setattr(type(service.get_model(None)), "card", "# A\n<script>x</script>[b](javascript:x)")
    card = httpx.get(f"{address}/app/card").text
    assert card.startswith("<h1>A</h1>") and "<script" not in card and "<a " not in card


def test_programs_and_browsers_are_told_what_there_is(address):
    offered = httpx.get(address, headers={"accept": "application/json"}).json()["api"]
    assert "/api/predict" in offered and "/api/docs" in offered
    lost = httpx.get(f"{address}/nothing", headers={"accept": "text/html,*/*"})
    assert lost.status_code == 404 and '<a href="/">Open the app</a>' in lost.text
    assert httpx.get(f"{address}/nothing").json()["kind"] == "not_found"


def test_behind_a_proxy_the_page_asks_below_its_path(service):
    with serving(service, root_path="/tiles") as address:
        assert '<base href="/tiles/" />' in httpx.get(f"{address}/tiles/").text
        lost = httpx.get(f"{address}/tiles/nothing", headers={"accept": "text/html"})
        assert '<a href="/tiles/">Open the app</a>' in lost.text


@pytest.mark.parametrize(
    "path", ["/app/nothing.js", "/app/..%2findex.html", "/app/index.html", "/app/examples/a.png"]
)
def test_nothing_but_the_pages_files_is_handed_out(address, path):
    assert httpx.get(f"{address}{path}").status_code == 404
