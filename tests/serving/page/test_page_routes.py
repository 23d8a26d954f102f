"""Routes of the app's page, and what browsers and programs find at /."""

import io
import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier, BrokenBarrierError, Event

import httpx
import numpy as np
import pytest
from image_files import jp2, tiff
from PIL import Image
from served_app import serving, wait_until

from orbitune.data import recipe_tiles
from orbitune.data.preview import rgb_preview
from orbitune.evaluation.run_result import RunResult
from orbitune.inference.example_tiles import choose_examples
from orbitune.resources import core_count
from orbitune.serving.engines import micro_batches
from orbitune.serving.served_model import ServedModel
from orbitune.serving.service import PredictionService
from orbitune.sources.band_names import COLOURS
from orbitune.training.setup import prepare_training


def test_a_preview_is_the_image_as_the_decoder_reads_it(address, tile):
    done = httpx.post(f"{address}/api/preview", content=tile.read_bytes())
    assert done.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(done.content)) as shown, Image.open(tile) as image:
        assert np.array_equal(np.asarray(shown), np.asarray(image))
    refused = httpx.post(f"{address}/api/preview", content=b"hello")
    assert refused.status_code == 422 and refused.json()["kind"] == "unreadable_image"


@pytest.mark.parametrize("write", [jp2, tiff])
def test_a_preview_of_16_bits_is_stretched_from_what_the_decoder_reads(address, write):
    values = np.arange(3 * 16 * 16, dtype=np.uint16).reshape(3, 16, 16) * 50
    done = httpx.post(f"{address}/api/preview", content=write(values))
    with Image.open(io.BytesIO(done.content)) as shown:
        assert np.array_equal(np.asarray(shown), rgb_preview(values.transpose(1, 2, 0), COLOURS))


def test_an_image_whose_decoder_is_not_installed_is_refused_in_a_sentence(address, monkeypatch):
    data = jp2(np.zeros((3, 16, 16), np.uint8))
    monkeypatch.setitem(sys.modules, "rasterio", None)
    for path in ("preview", "predict"):
        refused = httpx.post(f"{address}/api/{path}", content=data)
        assert refused.status_code == 422 and refused.json()["kind"] == "unreadable_image"
        assert "cannot be read by this server: Missing rasterio" in refused.json()["detail"]


def examples_of(address, model):
    return httpx.get(f"{address}/app/examples", params={"model": model}).json()


def test_a_bundle_without_examples_is_offered_those_of_a_run_with_its_classes(address, run):
    found = examples_of(address, "bundle")
    assert found == examples_of(address, "lora")
    assert found == {"labels": ["class_0", "class_1", "class_2"], "reason": None, "model": "lora"}
    shown = httpx.get(f"{address}/app/example", params={"model": "bundle", "label": "class_1"})
    assert shown.headers["cache-control"] == "no-store"
    setup = prepare_training(RunResult.load(run).data_recipe, progress=False)
    with Image.open(io.BytesIO(shown.content)) as image:
        assert np.array_equal(
            np.asarray(image), choose_examples(setup.tiles, setup.splits["validation"])["class_1"]
        )
    assert httpx.get(f"{address}/app/example", params={"label": "other"}).status_code == 404
    assert httpx.get(f"{address}/app/examples", params={"model": "other"}).status_code == 404


def test_a_bundle_hands_out_the_examples_that_it_carries_where_they_are_images(example_bundle, tmp_path):
    folder = shutil.copytree(example_bundle.folder, tmp_path / "bundle")
    (folder / "examples" / "1.png").write_text("a secret")
    with serving(PredictionService({"bundle": folder})) as address:
        assert examples_of(address, "bundle")["labels"] == ["class_0", "class_2"]
        shown = httpx.get(f"{address}/app/example", params={"label": "class_2"})
    with Image.open(io.BytesIO(shown.content)) as one, Image.open(folder / "examples" / "2.png") as other:
        assert np.array_equal(np.asarray(one), np.asarray(other))


def test_examples_and_cards_are_for_those_who_signed_in(service):
    with serving(service, login=("ann", "secret")) as address:
        for path in ("examples", "example?label=class_0", "card"):
            assert httpx.get(f"{address}/app/{path}").status_code == 401


@pytest.fixture
def moved(run, tmp_path):
    """A copy of a run, and a function that changes a setting of its recipe."""
    folder = shutil.copytree(run, tmp_path / "moved")

    def change(name, value):
        result = json.loads((folder / "result.json").read_text())
        before, result["recipe"][name] = result["recipe"][name], value
        (folder / "result.json").write_text(json.dumps(result))
        return before

    return folder, change


def test_without_examples_there_is_a_reason_until_there_are_some(bundle, moved, tmp_path):
    folder, change = moved
    data = change("data", str(tmp_path / "gone"))
    with serving(PredictionService({"bundle": bundle.folder, "run": folder})) as address:
        assert "`orbitune bundle --examples`" in examples_of(address, "bundle")["reason"]
        assert "no longer where it was" in examples_of(address, "run")["reason"]
        change("data", data)
        assert len(examples_of(address, "run")["labels"]) == 3
        change("data", str(tmp_path / "gone"))
        assert len(examples_of(address, "bundle")["labels"]) == 3


def test_examples_need_the_data_set_of_a_run_and_nothing_else_of_its_training(moved, tmp_path, monkeypatch):
    folder, change = moved
    service = PredictionService({"run": folder})
    change("backbone", str(tmp_path / "gone"))
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with serving(service) as address:
        assert len(examples_of(address, "run")["labels"]) == 3


def test_a_failure_that_is_not_of_the_data_set_is_not_said_to_be_one(moved):
    folder, _ = moved
    service = PredictionService({"run": folder})
    (folder / "result.json").write_text("{")
    with serving(service) as address:
        reason = examples_of(address, "run")["reason"]
    assert reason == "There are no example tiles: the data set of this run could not be opened."


@pytest.mark.parametrize("bands", [("B02", "B03", "B04", "B08"), ("B04", "B03", "B02")])
def test_a_model_of_other_tiles_is_offered_no_examples_of_rgb(bundle, run, bands):
    service = PredictionService({"bundle": bundle.folder, "run": run})
    engine = service.get_model("bundle").engine
    engine.spec = replace(engine.spec, bands=bands, dtype="uint16")
    with serving(service) as address:
        found = examples_of(address, "bundle")
        assert found["labels"] == [] and found["reason"].startswith("Tiles can be examples with 8-bit red")
        assert len(examples_of(address, "run")["labels"]) == 3


def test_examples_are_in_the_models_bands_and_not_in_those_asked_for(run):
    with serving(PredictionService({"run": run}, bands=("3", "2", "1"))) as address:
        found = examples_of(address, "run")
        assert found["labels"] == [] and "`--bands`" in found["reason"]


def test_while_a_data_set_is_opened_once_for_all_the_server_answers(run, monkeypatch):
    opened, held, load = [], Event(), recipe_tiles.load_recipe_tiles
    monkeypatch.setattr(
        recipe_tiles,
        "load_recipe_tiles",
        lambda *given, **more: opened.append(held.wait(60)) or load(*given, **more),
    )
    with serving(PredictionService({"run": run})) as address, ThreadPoolExecutor(60) as pool:
        calls = [pool.submit(httpx.get, f"{address}/app/examples", timeout=60) for _ in range(60)]
        try:
            with pytest.raises(httpx.ReadTimeout):  # one that goes away stops no other
                httpx.get(f"{address}/app/examples", timeout=1)
            for path in ("/", "/app/card", "/api/health", "/api/models"):
                assert httpx.get(f"{address}{path}", timeout=10).status_code == 200
        finally:
            held.set()
        assert {len(call.result().json()["labels"]) for call in calls} == {3}
    assert opened == [True]


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
    described = httpx.get(f"{address}/api/models").json()
    first, second = described["models"]
    assert described["max_image_bytes"] == 32 * 2**20 < described["max_scene_bytes"]
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
    "path", ["/app/nothing.js", "/app/..%2findex.html", "/app/index.html", "/app/examples/0.png"]
)
def test_nothing_but_the_pages_files_is_handed_out(address, path):
    assert httpx.get(f"{address}{path}").status_code == 404
