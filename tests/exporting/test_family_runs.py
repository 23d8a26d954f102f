"""A run of a family that only transformers computes, and one of DINOv3, from training to export."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
from samples import backbone_folder, tile_folder
from transformers.models.hiera.modeling_hiera import HieraMlp

from orbitune import Classifier, Recipe, train
from orbitune.errors import RunError
from orbitune.exporting.exporter import export
from orbitune.exporting.refusals import ExportRefusedError

pytestmark = pytest.mark.usefixtures("short_timing")

TILES = 12


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folder with runs by model type, and their results."""
    place = tmp_path_factory.mktemp("families")
    tiles, results = tile_folder(place / "tiles", each=TILES), {}
    for model_type in ("hiera", "dinov3_vit"):
        backbone = backbone_folder(place / f"b-{model_type}", model_type)
        recipe = Recipe(data=str(tiles), backbone=str(backbone), epochs=2, batch_size=8, precision="fp32")
        results[model_type] = train(recipe, place / model_type, progress=False)
    return place, results


@pytest.mark.parametrize("model_type", ["hiera", "dinov3_vit"])
def test_a_run_is_proven_and_predicts(runs, model_type):
    place, results = runs
    assert results[model_type].reload_check.largest_difference < 1e-4
    [prediction] = Classifier.from_pretrained(place / model_type).predict(
        [place / "tiles" / "class_0" / "tile_0_0.png"]
    )
    assert {name for name, _ in prediction.labels} == {"class_0", "class_1", "class_2"}


def test_the_result_says_why_transformers_computes_it(runs):
    _, results = runs
    reasons = {name: result.compute.why_not_fast for name, result in results.items()}
    assert reasons["hiera"] == (
        "Hiera is computed by transformers: it attends within mask units and pools queries"
    )
    assert reasons["dinov3_vit"] is None


def test_a_family_that_transformers_computes_is_exported_to_onnx_in_fp32(runs, tmp_path):
    place, _ = runs
    report = export(place / "hiera", ["merged", "onnx"], out=tmp_path, progress=False)
    assert report.formats["onnx"].largest_difference < 1e-4  # of any number of validation tiles
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert json.loads(session.get_modelmeta().custom_metadata_map["labels"]) == [
        "class_0",
        "class_1",
        "class_2",
    ]
    _, *tile = session.get_inputs()[0].shape
    assert session.run(None, {"tiles": np.zeros((1, *tile), np.uint8)})[0].shape == (1, 3)


def test_the_plugin_of_qgis_gets_a_graph_of_such_a_family_too(runs, tmp_path):
    place, _ = runs
    report = export(place / "hiera", ["deepness"], out=tmp_path, progress=False)
    assert report.formats["deepness"].largest_difference < 1e-4


def test_its_layers_in_fewer_bits_are_refused_in_one_line(runs, tmp_path):
    place, _ = runs
    with pytest.raises(
        RunError, match=r"A Hiera cannot be exported as ONNX in int8: .*Export the format onnx, openvino or"
    ):
        export(place / "hiera", ["onnx-int8", "merged"], out=tmp_path, progress=False)
    assert not list(tmp_path.iterdir())


def test_without_named_formats_those_in_fewer_bits_are_left_out_with_a_note(runs, tmp_path):
    place, _ = runs
    notes = []
    report = export(place / "hiera", out=tmp_path, progress=False, log=notes.append)
    assert {"merged", "onnx", "deepness"} <= set(report.formats) <= {"merged", "onnx", "deepness", "openvino"}
    assert "ONNX in int8 is left out: it cannot hold a Hiera" in "\n".join(notes)


def test_a_model_that_pytorch_cannot_translate_is_refused_in_one_line(runs, tmp_path, monkeypatch):
    place, _ = runs
    monkeypatch.setattr(HieraMlp, "forward", lambda self, x: torch.special.airy_ai(x))
    with pytest.raises(
        ExportRefusedError, match="PyTorch cannot translate this Hiera to ONNX: export the format"
    ):
        export(place / "hiera", ["onnx"], out=tmp_path, progress=False)
    assert not (tmp_path / "model.onnx").exists()


def test_dinov3_is_exported_to_onnx_and_merged(runs, tmp_path):
    place, _ = runs
    report = export(place / "dinov3_vit", ["merged", "onnx"], out=tmp_path, progress=False)
    assert set(report.formats) == {"merged", "onnx"}  # each validated against the trained model
