"""The app with a model that gives a tile several labels."""

import csv
from pathlib import Path

import httpx
import pytest
from browser import open_browser
from image_files import encode, stripes
from served_app import serving

from orbitune import Classifier
from orbitune.errors import OrbituneError
from orbitune.serving.gradio_functions import _describe
from orbitune.serving.service import PredictionService
from orbitune.serving.storage import Storage


@pytest.fixture(scope="module")
def mosaic_service(label_set_bundle, runs):
    return PredictionService({"mosaics": label_set_bundle.folder, "tiles": runs / "run"})


@pytest.fixture(scope="module")
def mosaic_address(mosaic_service):
    with serving(mosaic_service) as address:
        yield address


@pytest.fixture(scope="module")
def mosaics(label_set_run):
    return sorted((label_set_run.parent / "tiles").glob("*.png"))[:30]


@pytest.fixture(scope="module")
def expected(label_set_bundle, mosaics):
    """What the Python API finds in the mosaics."""
    return list(Classifier.from_pretrained(label_set_bundle.folder).predict(mosaics))


def having(expected, count):
    """Return the prediction of a tile with so many labels."""
    return next(each for each in expected if len(each.labels) == count)


def post(address, path, query=""):
    return httpx.post(f"{address}/api/predict{query}", content=Path(path).read_bytes()).json()


def test_json_has_the_labels_that_reach_their_thresholds_and_all_probabilities(
    mosaic_address, label_set_bundle, expected
):
    found = having(expected, 2)
    answer = post(mosaic_address, found.input)
    assert [each["label"] for each in answer["labels"]] == [label for label, _ in found.labels]
    thresholds = dict(zip(label_set_bundle.classes, label_set_bundle.decision.thresholds, strict=True))
    assert {each["label"]: each["threshold"] for each in answer["classes"]} == thresholds
    probabilities = [each["probability"] for each in answer["classes"]]
    assert probabilities == sorted(probabilities, reverse=True) and sum(probabilities) > 1.2
    reached = [each["label"] for each in answer["classes"] if each["probability"] >= each["threshold"]]
    assert reached == [each["label"] for each in answer["labels"]]
    assert len(post(mosaic_address, found.input, "?top_k=1")["labels"]) == 1


def test_a_model_of_one_label_beside_it_answers_as_before(mosaic_address, mosaics):
    answer = post(mosaic_address, mosaics[0], "?model=tiles")
    assert len(answer["labels"]) == 3 and "classes" not in answer
    assert sum(each["probability"] for each in answer["labels"]) == pytest.approx(1)


def test_the_page_shows_bars_that_do_not_sum_to_one_and_the_labels_as_verdict(mosaic_address, expected):
    from gradio_client import Client, handle_file

    client, found = Client(mosaic_address, verbose=False), having(expected, 2)
    verdict, bars, picture = client.predict(handle_file(found.input), "mosaics", api_name="/predict")
    assert all(f"{label}, {value:.1%}" in verdict for label, value in found.labels)
    assert verdict.endswith(f"The attribution is that of {found.labels[0][0]}.") and picture
    assert sum(each["confidence"] for each in bars["confidences"]) > 1.2
    assert len(bars["confidences"]) == 3


def test_a_tile_without_any_label_or_unlike_the_training_tiles_says_so(mosaic_service):
    answer = mosaic_service.get_model("mosaics").predict_image(encode(stripes(32)))
    assert answer.prediction.sure is False and len(answer.classes) == 3
    assert _describe(answer).startswith(
        "**Not sure.** This tile differs from all training tiles; labels that"
    )
    none = type(answer.prediction)("a.png", (), sure=True)
    assert "**No label.** No class reaches its threshold." in _describe(
        type(answer)(none, answer.seconds, answer.classes)
    )


def test_a_batch_has_all_labels_of_a_tile_in_one_cell(mosaic_address, mosaics, expected):
    from gradio_client import Client, handle_file

    client = Client(mosaic_address, verbose=False)
    files = [handle_file(path) for path in mosaics]
    summary, _, button = client.predict(files, "mosaics", api_name="/predict_many")
    assert summary.startswith("30 images: ")
    table = Path(button["value"] if isinstance(button, dict) else button)
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    for row, found in zip(rows, expected, strict=True):
        assert row["label"] == ("|".join(label for label, _ in found.labels) or "[]")
        values = [f"{value:.4f}" for _, value in found.labels]
        assert [f"{float(each):.4f}" for each in row["probability"].split("|") if each] == values


@pytest.mark.browser
def test_in_a_browser_all_labels_are_the_verdict_and_another_model_answers_in_turn(mosaic_address, expected):
    found = having(expected, 2)
    labels = ", ".join(label for label, _ in found.labels)
    with open_browser(390, 844) as page:
        page.goto(mosaic_address)
        page.wait_for_selector("body[data-ready]", timeout=60_000)
        page.set_input_files("#files", str(found.input))
        page.wait_for_selector(f"#verdict .headline:text-is('{labels}')", timeout=60_000)
        assert page.locator("#verdict .bars .chosen").count() == 2
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.select_option("#model", "tiles")
        page.wait_for_selector("#verdict .headline:text-matches('^class_')", timeout=60_000)


def test_no_map_is_made_of_several_labels(mosaic_service, tmp_path):
    pytest.importorskip("rasterio", reason="needs the extra geo")
    assert mosaic_service.get_model("mosaics").map_strides == []
    from orbitune.mapping.options import MapOptions
    from orbitune.serving.map_function import map_upload

    model, storage = mosaic_service.get_model("mosaics"), Storage()
    with pytest.raises(OrbituneError, match="Maps in the app know one label a tile, and bundle has several"):
        map_upload(model, tmp_path / "a.tif", options=MapOptions(), storage=storage, on_progress=print)
