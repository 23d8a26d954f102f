"""Routes of the app's page, and what browsers and programs find at /."""

import io

import httpx
import numpy as np
import pytest
from PIL import Image
from served_app import serving

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
    assert httpx.get(f"{address}/app/{path}").status_code == 404
