"""Export to an ONNX file that Deepness opens, a plugin of QGIS that computes a layer tile by tile.

Deepness has no type for a class per tile. The file is a model of its type Segmentor, whose pixels all have
the probabilities of their tile, so that the plugin's map is that of `orbitune map` with cells as large as a
tile. The plugin (https://github.com/PUTvision/qgis-plugin-deepness, version 0.6.5) divides pixels by 255. The
graph undoes this, and goes on as the other ONNX files do.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orbitune.data.georeference import RESOLUTION
from orbitune.exporting.graph_builder import GraphBuilder
from orbitune.exporting.onnx_export import add_metadata, graph_in_fp32, open_session
from orbitune.exporting.vit_graph import INPUT, OUTPUT

if TYPE_CHECKING:
    from orbitune.exporting.reference import Predict, ReferenceModel

LAYER, CLASSES = "layer", "classes"  # input and output of the graph
MOST_CLASSES = 255  # the plugin stores numbers from 1 in 8 bits
_WHITE = 255


def why_not_deepness(reference: "ReferenceModel") -> str | None:
    """Return why Deepness cannot compute a model, to follow a colon; None where it can."""
    (height, width), bundle = reference.tile_size, reference.bundle
    if reference.setup.preprocessing.dtype != "uint8":
        return "the plugin reads layers of 8 bits"
    if height != width:
        return f"the plugin reads square tiles, and those of the training have {width} x {height} pixels"
    if bundle.decision.thresholds:
        return "the plugin gives each pixel one class, and the model gives a tile several labels"
    if len(bundle.classes) > MOST_CLASSES:
        return f"the plugin holds {MOST_CLASSES} classes, and the model has {len(bundle.classes)}"
    return None


def write_deepness(reference: "ReferenceModel", path: Path) -> None:
    """Write the model in fp32, with the metadata that the plugin reads.

    Args:
        reference: the model to export.
        path: file to write.

    Raises:
        UntraceableError: PyTorch cannot translate a model that only transformers computes.
    """
    import onnx

    model = _for_layers(graph_in_fp32(reference), reference)
    add_metadata(
        model,
        reference,
        model_type=json.dumps("Segmentor"),
        class_names=json.dumps(dict(enumerate(reference.bundle.classes))),
        resolution=json.dumps(100 * RESOLUTION),  # centimetres
        tile_size=json.dumps(reference.tile_size[0]),
        tiles_overlap="0",  # percent
        # Below a threshold, the plugin would give the first class.
        seg_thresh="0",
        seg_small_segment="0",
    )
    onnx.save(model, path)


def open_deepness(path: Path, reference: "ReferenceModel") -> "Predict":
    """Return a prediction function that prepares tiles as the plugin does, computed on the CPU.

    Args:
        path: ONNX file.
        reference: the model that it was exported from.
    """
    session = open_session(path)

    def predict(tiles: np.ndarray) -> np.ndarray:
        pixels = np.float32(tiles * 1.0 / _WHITE).transpose(0, 3, 1, 2)
        found: np.ndarray = session.run([CLASSES], {LAYER: pixels})[0]
        return found[:, :, 0, 0]

    return predict


def _for_layers(model: Any, reference: "ReferenceModel") -> Any:
    """Return an onnx.ModelProto from float32 (B, bands, H, W) in 0..1 to (B, C, H, W).

    Args:
        model: from tiles (B, H, W, bands) to probabilities (B, C); it is changed.
        reference: the model that it computes.
    """
    from onnx import TensorProto, helper

    (height, width), bands = reference.tile_size, len(reference.setup.preprocessing.bands)
    count = len(reference.bundle.classes)
    before, after = GraphBuilder(prefix="before."), GraphBuilder(prefix="after.")
    white = before.constant(np.float32(_WHITE))
    pixels = before.add("Round", before.add("Mul", LAYER, white))
    pixels = before.add("Clip", pixels, before.constant(np.float32(0)), white)
    before.add("Transpose", before.cast(pixels, np.uint8), output=INPUT, perm=[0, 2, 3, 1])
    one = after.add("Reshape", OUTPUT, after.shape(-1, count, 1, 1))
    after.add("Expand", one, after.shape(1, 1, height, width), output=CLASSES)
    inner = model.graph
    whole = helper.make_graph(
        [*before.nodes, *inner.node, *after.nodes],
        inner.name,
        [helper.make_tensor_value_info(LAYER, TensorProto.FLOAT, ["batch", bands, height, width])],
        [helper.make_tensor_value_info(CLASSES, TensorProto.FLOAT, ["batch", count, height, width])],
        [*before.constants, *inner.initializer, *after.constants],
    )
    model.graph.CopyFrom(whole)
    return model
