"""The engine onnx: exported files, served alone or with their run."""

import io
import shutil

import httpx
import numpy as np
import pytest
from image_files import encode, stripes
from PIL import Image
from served_app import serving

from orbitune import Classifier, export
from orbitune.errors import OrbituneError
from orbitune.exporting import validation
from orbitune.exporting.onnx_export import open_session
from orbitune.serving.api.ray_serve import Settings, open_service
from orbitune.serving.engines.onnx_engine import OnnxEngine
from orbitune.serving.service import PredictionService

onnx = pytest.importorskip("onnx")
InferenceSession = pytest.importorskip("onnxruntime").InferenceSession


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """A folder with the run's ONNX file in fp32, and with its web page."""
    out = tmp_path_factory.mktemp("export") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "TIMING_SECONDS", 0.0)
        export(run, ["onnx", "web"], out=out, tolerance=20, progress=False)
    return out


@pytest.fixture(scope="module")
def plain(exported, tmp_path_factory):
    """A folder with the file in fp32 alone."""
    folder = tmp_path_factory.mktemp("plain")
    shutil.copy(exported / "model.onnx", folder)
    return folder


@pytest.fixture(scope="module")
def onnx_address(plain):
    with serving(PredictionService({"edge": plain}, engine="onnx")) as address:
        yield address


@pytest.fixture(scope="module")
def probabilities(run):
    """What the trained model makes of a tile, by class."""
    classifier = Classifier.from_pretrained(run, precision="fp32")

    def predict(tile):
        (prediction,) = classifier.predict(tile)
        return dict(prediction.labels)

    return predict


def post(address, tile, query=""):
    return httpx.post(f"{address}/api/predict{query}", content=tile.read_bytes()).json()


def test_an_exported_file_answers_as_the_trained_model_and_judges_no_ood(onnx_address, tile, probabilities):
    answer = post(onnx_address, tile)
    found = {each["label"]: each["probability"] for each in answer["labels"]}
    assert found == pytest.approx(probabilities(tile), abs=2e-3)
    assert answer["sure"] is None and answer["distance"] is None
    assert httpx.get(f"{onnx_address}/api/health").json()["engine"] == "onnx"


def test_its_pages_classify_and_say_that_there_is_no_attribution(onnx_address, tile, probabilities):
    from gradio_client import Client, handle_file

    client = Client(onnx_address, verbose=False)
    verdict, bars, picture = client.predict(handle_file(tile), "edge", api_name="/predict")
    assert bars["label"] == max(probabilities(tile), key=probabilities(tile).get)
    assert verdict.endswith("An ONNX file has no attribution map.") and picture is None
    summary, *_ = client.predict([handle_file(tile)], "edge", api_name="/predict_many")
    assert summary == "1 images: 0 not sure, 0 could not be read."


def test_the_graph_of_a_web_page_judges_ood_tiles_and_is_taken_first(exported, tile):
    service = PredictionService({"web": exported, "page": exported / "web"}, engine="onnx")
    model = service.get_model(None)
    assert model.engine.file == exported / "web" / "model.onnx.gz" and "with an OOD" in model.card
    with serving(service) as address:
        answer, other = post(address, tile), post(address, tile, "?model=page")
        unlike = httpx.post(f"{address}/api/predict", content=encode(stripes())).json()
    assert answer["sure"] is True and answer["distance"] == other["distance"]
    assert unlike["sure"] is False and unlike["distance"] > answer["distance"]


def test_a_tile_is_classified_although_the_backbone_of_the_attribution_is_gone(exported, run, tmp_path, tile):
    from gradio_client import Client, handle_file

    shutil.copytree(run, tmp_path / "run")
    shutil.copytree(exported, tmp_path / "run" / "export")
    moved = str(tmp_path / "nothing")
    with serving(PredictionService({"run": tmp_path / "run"}, moved, engine="onnx")) as address:
        client = Client(address, verbose=False)
        verdict, bars, picture = client.predict(handle_file(tile), "run", api_name="/predict")
    assert bars["label"] in verdict and picture is None
    assert "There is no attribution map: There is no backbone" in verdict and str(tmp_path) not in verdict


def test_of_several_files_in_the_folder_export_of_a_run_the_one_in_int8_is_taken(plain, run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    shutil.copytree(plain, tmp_path / "run" / "export")
    service = PredictionService({"run": tmp_path / "run"}, engine="onnx")
    assert service.get_model(None).engine.file.name == "model.onnx"
    assert service.get_model(None).bundle.classes == service.get_model(None).classes
    shutil.copy(plain / "model.onnx", tmp_path / "run" / "export" / "model-int8.onnx")
    again = PredictionService({"run": tmp_path / "run"}, engine="onnx")
    assert again.get_model(None).engine.file.name == "model-int8.onnx"


def edited(exported, target, **properties):
    """A copy of the file with other metadata; None removes one."""
    model = onnx.load(exported / "model.onnx")
    kept = {each.key: each.value for each in model.metadata_props} | properties
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {name: value for name, value in kept.items() if value is not None})
    onnx.save(model, target)
    return target


def test_a_file_of_another_model_than_the_run_beside_it_is_refused(exported, run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    edited(exported, tmp_path / "run" / "model.onnx", recipe_hash="0" * 12)
    with pytest.raises(OrbituneError, match=r"was exported from another model than .*: export it again"):
        PredictionService({"run": tmp_path / "run"}, engine="onnx")


def test_a_file_that_states_no_labels_is_refused(exported, tmp_path):
    file = edited(exported, tmp_path / "other.onnx", labels=None)
    with pytest.raises(OrbituneError, match="takes tiles: it does not state its labels"):
        PredictionService({"other": file}, engine="onnx")


def test_a_damaged_file_and_a_folder_without_one_are_refused_in_one_line(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(OrbituneError, match="cannot be opened by ONNX Runtime") as caught:
        PredictionService({"a": tmp_path}, engine="onnx")
    assert "\n" not in str(caught.value)
    (tmp_path / "model.onnx").rename(tmp_path / "model.onnx.gz")
    with pytest.raises(OrbituneError, match=r"model.onnx.gz cannot be opened by ONNX Runtime"):
        PredictionService({"a": tmp_path}, engine="onnx")
    (tmp_path / "model.onnx.gz").unlink()
    with pytest.raises(OrbituneError, match=r"There is no ONNX file \(.*model-int8.onnx, model.onnx, "):
        PredictionService({"a": tmp_path}, engine="onnx")
    with pytest.raises(OrbituneError, match="There is no file or folder"):
        PredictionService({"a": tmp_path / "nothing"}, engine="onnx")


def test_a_layer_model_for_qgis_is_refused_as_it_takes_no_tiles(run, tmp_path):
    export(run, ["deepness"], out=tmp_path, progress=False)
    with pytest.raises(
        OrbituneError, match=r"model-deepness\.onnx is no ONNX file of Orbitune that takes tiles"
    ):
        PredictionService({"a": tmp_path / "model-deepness.onnx"}, engine="onnx")


def test_a_graph_is_loaded_where_it_is_computed_alone(plain):
    engine = OnnxEngine(plain)
    assert not [value for value in vars(engine).values() if isinstance(value, InferenceSession)]
    probabilities, _ = engine.load()(np.zeros((2, 16, 16, 3), np.uint8))
    assert probabilities.shape == (2, 3)


def test_a_replica_of_ray_serve_computes_with_the_cores_that_ray_reserves_for_it(plain, monkeypatch):
    threads = []
    monkeypatch.setattr(
        "orbitune.serving.engines.onnx_engine.open_session",
        lambda file, **settings: threads.append(settings) or open_session(file, **settings),
    )
    service = open_service(Settings(models=str(plain), engine="onnx", cores=3))
    service.close()
    assert threads[-1]["threads"] == 3


def test_an_unknown_engine_is_refused_with_the_known_ones(run):
    with pytest.raises(
        OrbituneError, match=r"Unknown engine 'onx'. Did you mean onnx\? Choose from: torch, onnx"
    ):
        PredictionService({"a": run}, engine="onx")


def test_a_tile_of_any_size_and_a_batch_of_several_are_computed(onnx_address, tile):
    with Image.open(tile) as image:
        bigger = image.resize((image.width * 2, image.height * 2))
    buffer = io.BytesIO()
    bigger.save(buffer, "BMP")
    files = [("files", ("a.png", tile.read_bytes())), ("files", ("b.bmp", buffer.getvalue()))]
    answers = httpx.post(f"{onnx_address}/api/predict", files=files).json()["predictions"]
    assert len({each["labels"][0]["label"] for each in answers}) == 1
    np.testing.assert_allclose(*(each["labels"][0]["probability"] for each in answers), atol=0.05)
