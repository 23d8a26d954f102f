"""ONNX files of a trained model: tiles in, probabilities out, with nothing left to do wrong outside.

The graph reads uint8 tiles (B, H, W, 3) of the training tiles' size and puts out calibrated probabilities
(B, C); resizing, normalisation, temperature and softmax are in it, and in its metadata labels and hashes.
"""

import functools
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.exporting.reference import Predict, ReferenceModel
from orbitune.exporting.tracing import INPUT, OUTPUT, quiet
from orbitune.files import scratch

_BATCH = 32  # tiles at a time, to see what ranges activations have


def write_onnx(original: ReferenceModel, path: Path) -> None:
    """Write the model in fp32."""
    _save(original.graph, original, path)


def write_int8(original: ReferenceModel, path: Path) -> None:
    """Write the model with the products of its layers in int8: weights by channel, activations by tensor.

    The ranges of activations are those of training tiles. Attention, normalisations and sums stay in fp32.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    with scratch() as folder, quiet():
        even = folder / "model.onnx"
        _save(original.even_graph, original, even)
        quantize_static(
            even,
            path,
            _Tiles(original.calibration_tiles()),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Gemm"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # What a product puts out is read in fp32.
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
        )
    _save(onnx.load(path), original, path, merge_tokens=json.dumps(original.merge_after))


def open_onnx(path: Path, original: ReferenceModel) -> Predict:
    """A session of ONNX Runtime on the processor."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda tiles: session.run([OUTPUT], {INPUT: tiles})[0]


def write_openvino(
    original: ReferenceModel, folder: Path, write: Callable[[ReferenceModel, Path], None] = write_onnx
) -> None:
    """Write OpenVINO's own form, model.xml and model.bin, of what `write` writes."""
    import onnx
    import openvino

    with scratch() as temporary:
        source = temporary / "model.onnx"
        write(original, source)
        model = _openvino().read_model(source)
        for fact in onnx.load(source).metadata_props:
            model.set_rt_info(fact.value, ["orbitune", fact.key])
        folder.mkdir()
        openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)


def open_openvino(folder: Path, original: ReferenceModel, exact: bool = True) -> Predict:
    """OpenVINO on the processor; `exact` holds it to fp32, or it would use bf16 where there is some."""
    asked = {"INFERENCE_PRECISION_HINT": "f32"} if exact else {}
    model = _openvino().compile_model(folder / "model.xml", "CPU", asked)
    request = model.create_infer_request()
    return lambda tiles: request.infer({0: tiles})[0].copy()


@functools.cache
def _openvino() -> Any:
    """OpenVINO, once for a process.

    Each core gives the thread a stack for its signals, and puts back the one it found there: where two end
    in the order in which they began, one is left that is gone, and the next interrupt is a crash.
    """
    import openvino

    return openvino.Core()


def _save(model: Any, original: ReferenceModel, path: Path, **facts: str) -> None:
    import onnx

    onnx.helper.set_model_props(model, {**_properties(original), **facts})
    onnx.save(model, path)


def _properties(original: ReferenceModel) -> dict[str, str]:
    """What a user of the file alone needs to know."""
    return {
        "labels": json.dumps(original.bundle.classes),
        "temperature": repr(original.bundle.temperature),
        "tile_size": json.dumps(original.tile_size),
        "made_by": f"orbitune {version('orbitune')}",
        **{f"{name}_hash": value for name, value in original.hashes.items()},
    }


class _Tiles:
    """Tiles as the quantiser asks for them."""

    def __init__(self, tiles: np.ndarray) -> None:
        self._parts = iter([tiles[start : start + _BATCH] for start in range(0, len(tiles), _BATCH)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        part = next(self._parts, None)
        return None if part is None else {INPUT: part}
