"""`export --to deepness`: a layer model for the plugin of QGIS."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from orbitune.errors import RunError
from orbitune.exporting.exporter import export

pytestmark = pytest.mark.usefixtures("short_timing")

# Where QGIS installs its plugins; DEEPNESS is the folder that has the folder `deepness`.
PLUGINS = Path(
    os.environ.get("DEEPNESS", Path.home() / ".local/share/QGIS/QGIS3/profiles/default/python/plugins")
)
BY_THE_PLUGIN = """
import json, sys
import numpy as np
from deepness.processing.models.model_base import ModelBase
from deepness.processing.models.segmentor import Segmentor
assert ModelBase.get_model_type_from_metadata(sys.argv[1]) == "Segmentor"
model = Segmentor(sys.argv[1])
model.check_loaded_model_outputs()
(output,) = model.process(np.load(sys.argv[2]))
print(json.dumps({
    "names": model.get_outputs_channel_names(),
    "channels": model.get_number_of_output_channels(),
    "bands": model.get_number_of_channels(),
    "batch": model.get_model_batch_size(),
    "side": list(model.get_input_size_in_pixels()),
    "tile": model.get_metadata_tile_size(),
    "overlap": model.get_metadata_tiles_overlap(),
    "resolution": model.get_metadata_resolution(),
    "threshold": model.get_metadata_segmentation_threshold(),
    "smoothing": model.get_metadata_segmentation_small_segment(),
    "same_everywhere": bool((output == output[:, :, :1, :1]).all()),
    "probabilities": output[:, :, 3, 5].tolist(),
}))
"""


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """The file, and its measures."""
    out = tmp_path_factory.mktemp("deepness") / "out"
    report = export(run, ["deepness"], out=out, progress=False)
    return out / "model-deepness.onnx", report.formats["deepness"]


def test_the_file_has_the_probabilities_of_the_trained_model(exported):
    assert exported[1].largest_difference < 1e-5 and exported[1].agreement == 1


def test_the_graph_reads_a_layer_and_gives_each_pixel_of_a_tile_the_same_classes(exported, original):
    model = onnx.load(exported[0])
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, model.opset_import[0].version) == (8, 17)
    (given,), (found,) = model.graph.input, model.graph.output
    shapes = [
        [each.dim_value or each.dim_param for each in value.type.tensor_type.shape.dim]
        for value in (given, found)
    ]
    side = original.tile_size[0]
    assert shapes == [["batch", 3, side, side], ["batch", 3, side, side]]


def test_the_metadata_leave_the_classes_to_the_graph(exported, original):
    facts = {each.key: each.value for each in onnx.load(exported[0]).metadata_props}
    names = json.loads(facts["class_names"])
    assert [names[str(number)] for number in range(3)] == list(original.bundle.classes)
    assert (facts["model_type"], facts["resolution"]) == ('"Segmentor"', "1000.0")
    assert (facts["seg_thresh"], facts["seg_small_segment"], facts["tiles_overlap"]) == ("0", "0", "0")
    assert facts["recipe_hash"] == original.setup.recipe.hash


def test_the_plugin_itself_reads_the_file(exported, original, tmp_path):
    if not (PLUGINS / "deepness").is_dir():
        pytest.skip("needs Deepness, a plugin of QGIS, in the folder DEEPNESS")
    tiles = original.setup.tiles.read(original.setup.splits["validation"][:4])
    np.save(tmp_path / "tiles.npy", tiles)
    command = [sys.executable, "-c", BY_THE_PLUGIN, exported[0], tmp_path / "tiles.npy"]
    environment = {**os.environ, "PYTHONPATH": str(PLUGINS)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    seen = json.loads(done.stdout.splitlines()[-1])
    probabilities = original.predict(original.model())(tiles)
    assert np.allclose(seen.pop("probabilities"), probabilities, atol=1e-5)
    side = original.tile_size[0]
    assert seen == {
        "names": [list(original.bundle.classes)],
        "channels": [3],
        "bands": 3,
        "batch": None,  # any
        "side": [side, side],
        "tile": side,
        "overlap": 0,
        "resolution": 1000.0,
        "threshold": 0.0,
        "smoothing": 0,
        "same_everywhere": True,
    }


def test_a_model_of_several_labels_a_tile_is_refused_with_the_reason(label_set_run, tmp_path):
    message = (
        "cannot be exported as a file for QGIS's Deepness: the plugin gives each pixel one class, and the "
        "model gives a tile several labels"
    )
    with pytest.raises(RunError, match=message):
        export(label_set_run, ["deepness"], out=tmp_path, progress=False)


def test_a_model_of_16_bit_tiles_is_refused_with_the_reason(band_place, band_run, tmp_path):
    with pytest.raises(RunError, match="Deepness: the plugin reads layers of 8 bits"):
        export(band_place / "run", ["deepness"], out=tmp_path, progress=False)
