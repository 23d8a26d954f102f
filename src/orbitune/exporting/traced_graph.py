"""ONNX graph of a model that only its own forward pass computes, traced by torch.onnx.

`orbitune.exporting.vit_graph` writes the graph of plain vision transformers, in a form that runtimes compute
faster; see "ONNX graphs" in docs/ecosystem.md. What it does not know, such as windowed attention or
convolutions, PyTorch's exporter translates operator by operator.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from orbitune.data.transform import to_tensor
from orbitune.evaluation.network import plain_network
from orbitune.exporting.validation import UntraceableError
from orbitune.exporting.vit_graph import INPUT, OUTPUT
from orbitune.extras import require

if TYPE_CHECKING:
    from orbitune.exporting.reference import ReferenceModel

OPSET = 18  # the oldest that torch.onnx writes
IR_VERSION = 8  # that of opset 18; some readers refuse 10
_TILES = 2  # of the traced batch: of one tile, the exporter would take the number for a constant


class _Probabilities(nn.Module):
    """Tiles (B, H, W, bands) to calibrated probabilities (B, C)."""

    def __init__(self, reference: "ReferenceModel") -> None:
        super().__init__()
        bundle, family = reference.bundle, reference.setup.backbone.family
        self._network = plain_network(reference.merged(), family, transform=reference.transform)
        self._temperature = bundle.decision.temperature
        offsets = bundle.decision.offsets
        self.register_buffer("_offsets", torch.tensor(offsets) if offsets else None)
        self._activation = bundle.task.activation

    def forward(self, tiles: Tensor) -> Tensor:
        logits = self._network(tiles) / self._temperature
        if self._offsets is not None:
            logits = logits + self._offsets
        return logits.softmax(-1) if self._activation == "softmax" else logits.sigmoid()


def trace(reference: "ReferenceModel") -> Any:
    """Return the graph of a run's model in fp32 as an onnx.ModelProto.

    Args:
        reference: the model to export.

    Raises:
        UntraceableError: PyTorch cannot translate an operator of the model, or fixes the number of tiles.
        MissingExtraError: onnxscript is not installed.
    """
    title = reference.setup.backbone.family.title
    require("export", "onnxscript", purpose=f"the ONNX graph of a {title}")
    network = _Probabilities(reference).eval()
    tiles = to_tensor(reference.setup.tiles.read(reference.setup.splits["train"][:_TILES]))
    with torch.inference_mode():
        network(tiles)  # fills the caches of constants, which are not traced then
    try:
        with _quiet():
            program = torch.onnx.export(
                network,
                (tiles,),
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise UntraceableError(
            f"PyTorch cannot translate this {title} to ONNX: export the format merged, which transformers "
            f"opens ({_cause(error)})."
        ) from error
    assert program is not None
    model = program.model_proto
    model.ir_version = IR_VERSION
    return model


def _cause(error: BaseException) -> str:
    """Return the first line of what an error was raised from."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip().partition("\n")[0].rstrip(".")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes on its own working from the user."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
