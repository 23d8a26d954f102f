"""Export to ONNX in fp32 and int8.

The graph takes tiles (B, H, W, bands) of the size and dtype of the training tiles, such as uint8 RGB, and
returns calibrated probabilities (B, C). Resizing, normalisation, temperature and softmax are part of it. Its
metadata hold labels, bands and hashes.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orbitune.exporting.tracing import INPUT, OUTPUT, quiet
from orbitune.files import scratch

if TYPE_CHECKING:
    import numpy as np

    from orbitune.exporting.reference import Predict, ReferenceModel

_BATCH = 32  # tiles at a time, to measure the ranges of activations


def write_onnx(reference: "ReferenceModel", path: Path) -> None:
    """Write the model in fp32.

    Args:
        reference: the model to export.
        path: file to write.
    """
    _save(reference.graph, reference, path=path)


def write_int8(reference: "ReferenceModel", path: Path) -> None:
    """Write the model with int8 linear layers.

    Weights are scaled per channel, activations per tensor. The ranges of activations are measured on some
    training tiles. Attention, normalisation and residual sums stay in fp32.

    Args:
        reference: the model to export.
        path: file to write.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    with scratch() as folder, quiet():
        smoothed = folder / "model.onnx"
        _save(reference.smoothed_graph, reference, path=smoothed)
        quantize_static(
            smoothed,
            path,
            _CalibrationReader(reference.calibration_tiles()),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Gemm"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # What follows a linear layer reads its output in fp32.
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
        )
    _save(onnx.load(path), reference, path=path, merge_tokens=json.dumps(reference.merge_after))


def open_onnx(path: Path, reference: "ReferenceModel") -> "Predict":
    """Return a prediction function of ONNX Runtime on the CPU.

    Args:
        path: ONNX file.
        reference: the model that it was exported from.

    Returns:
        Function of uint8 tiles (B, H, W, 3) to probabilities (B, C).
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda tiles: session.run([OUTPUT], {INPUT: tiles})[0]


def _save(model: Any, reference: "ReferenceModel", *, path: Path, **properties: str) -> None:
    """Save a graph with the metadata that a user of the file alone needs."""
    import onnx

    bundle = reference.bundle
    metadata = {
        "labels": json.dumps(bundle.classes),
        "temperature": repr(bundle.temperature),
        "tile_size": json.dumps(reference.tile_size),
        "bands": json.dumps(reference.setup.preprocessing.bands),
        "made_by": f"orbitune {version('orbitune')}",
        **{f"{name}_hash": value for name, value in reference.hashes.items()},
    }
    onnx.helper.set_model_props(model, {**metadata, **properties})
    onnx.save(model, path)


class _CalibrationReader:
    """Calibration tiles in the protocol of ONNX Runtime's `CalibrationDataReader`."""

    def __init__(self, tiles: "np.ndarray") -> None:
        self._batches = iter([tiles[start : start + _BATCH] for start in range(0, len(tiles), _BATCH)])

    def get_next(self) -> "dict[str, np.ndarray] | None":
        """Return the next batch by input name; None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}
