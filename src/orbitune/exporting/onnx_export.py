"""Export to ONNX in fp32, fp16 and int8.

The graph takes tiles (B, H, W, bands) of the size and dtype of the training tiles, such as uint8 RGB, and
returns calibrated probabilities (B, C). Resizing, normalisation, temperature and softmax are part of it; with
several labels a tile temperature, offsets and sigmoid. Its metadata hold labels, task, thresholds, bands and
hashes. Opset and IR version are those of `orbitune.exporting.graph_builder`, or of
`orbitune.exporting.traced_graph` for a model that only transformers computes.
"""

import gzip
import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orbitune.exporting.vit_graph import INPUT, OUTPUT

if TYPE_CHECKING:
    from orbitune.exporting.reference import Predict, ReferenceModel


def write_onnx(reference: "ReferenceModel", path: Path) -> None:
    """Write the model in fp32.

    Args:
        reference: the model to export.
        path: file to write.

    Raises:
        UntraceableError: PyTorch cannot translate a model that only transformers computes.
    """
    _save(graph_in_fp32(reference), reference, path=path)


def graph_in_fp32(reference: "ReferenceModel") -> Any:
    """Return the graph in fp32 as an onnx.ModelProto, from tiles to probabilities.

    Raises:
        UntraceableError: PyTorch cannot translate a model that only transformers computes.
    """
    known = reference.setup.backbone.family.why_plain is None
    return reference.graph.write() if known else reference.traced


def write_fp16(reference: "ReferenceModel", path: Path) -> None:
    """Write the model with layers in fp16; patch embedding, head and activation stay in fp32.

    Args:
        reference: the model to export.
        path: file to write.
    """
    _save(replace(reference.graph, dtype=np.float16).write(), reference, path=path)


def write_int8(reference: "ReferenceModel", path: Path) -> None:
    """Write the model with int8 linear layers, see `orbitune.exporting.quantization`.

    Attention, normalisation and residual sums stay in fp32.

    Args:
        reference: the model to export.
        path: file to write.
    """
    _save(
        reference.quantized_graph.write(),
        reference,
        path=path,
        merge_tokens=json.dumps(reference.merge_after),
    )


def open_onnx(path: Path, reference: "ReferenceModel") -> "Predict":
    """Return a prediction function of ONNX Runtime on the CPU.

    Args:
        path: ONNX file.
        reference: the model that it was exported from.

    Returns:
        Function of tiles (B, H, W, bands) in their dtype to probabilities (B, C).
    """
    session = open_session(path)
    return lambda tiles: session.run([OUTPUT], {INPUT: tiles})[0]


def open_session(model: Path | bytes, *, threads: int = 0, optimised: bool = True) -> Any:
    """Return an onnxruntime.InferenceSession on the CPU.

    Args:
        model: ONNX file, compressed with gzip if its name ends in .gz; or its content.
        threads: of a call; 0 for one per core.
        optimised: whether to optimise the graph, which takes a while and is of no use to read its metadata.
    """
    import onnxruntime

    if isinstance(model, Path) and model.suffix == ".gz":
        model = gzip.decompress(model.read_bytes())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # On shared cores, threads that spin while they wait take the time of those that compute.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _save(model: Any, reference: "ReferenceModel", *, path: Path, **properties: str) -> None:
    """Save an onnx.ModelProto with its metadata."""
    import onnx

    add_metadata(model, reference, **properties)
    onnx.save(model, path)


def add_metadata(model: Any, reference: "ReferenceModel", **properties: str) -> None:
    """Add the metadata that a user of the file alone needs to an onnx.ModelProto.

    Args:
        model: graph of the model.
        reference: the model.
        properties: further entries.
    """
    import onnx

    bundle, decision = reference.bundle, reference.bundle.decision
    metadata = {
        "labels": json.dumps(bundle.classes),
        "task": bundle.task.name,
        **({"thresholds": json.dumps(decision.thresholds)} if decision.thresholds else {}),
        "temperature": repr(decision.temperature),
        **({"offsets": json.dumps(decision.offsets)} if decision.offsets else {}),
        "tile_size": json.dumps(reference.tile_size),
        "bands": json.dumps(reference.setup.preprocessing.bands),
        "scale_max": json.dumps(bundle.scale_max),
        "made_by": f"orbitune {version('orbitune')}",
        **{f"{name}_hash": value for name, value in reference.hashes.items()},
    }
    onnx.helper.set_model_props(model, {**metadata, **properties})
