"""ONNX graph of a model that only its own forward pass computes, traced by torch.onnx.

`orbitune.exporting.vit_graph` writes the graph of plain vision transformers, in a form that runtimes compute
faster; see "ONNX graphs" in docs/ecosystem.md. What it does not know, such as windowed attention or
convolutions, PyTorch's exporter translates operator by operator.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from orbitune.evaluation.tasks.task import Decision
from orbitune.exporting.refusals import UntraceableError
from orbitune.exporting.vit_graph import INPUT, OUTPUT
from orbitune.extras import require

OPSET = 18  # the oldest that torch.onnx writes
IR_VERSION = 8  # that of opset 18; some readers refuse 10


class _Probabilities(nn.Module):
    """Tiles (B, H, W, bands) to calibrated probabilities (B, C)."""

    def __init__(self, network: nn.Module, decision: Decision, activation: str) -> None:
        super().__init__()
        self._network = network
        self._temperature = decision.temperature
        self.register_buffer("_offsets", torch.tensor(decision.offsets) if decision.offsets else None)
        self._activation = activation

    def forward(self, tiles: Tensor) -> Tensor:
        logits = self._network(tiles) / self._temperature
        if self._offsets is not None:
            logits = logits + self._offsets
        return logits.softmax(-1) if self._activation == "softmax" else logits.sigmoid()


def trace(network: nn.Module, *, decision: Decision, activation: str, tiles: np.ndarray, title: str) -> Any:
    """Return the graph of a network as an onnx.ModelProto, from tiles (B, H, W, bands) to probabilities.

    Args:
        network: tiles to logits, in fp32.
        decision: temperature and offsets of its logits.
        activation: makes probabilities of them: softmax, or sigmoid for several labels a tile.
        tiles: two tiles or more, uint8 or uint16; of a single one, the exporter would take the number for a
            constant.
        title: of the model, for messages.

    Raises:
        UntraceableError: PyTorch cannot translate an operator of the model, or fixes the number of tiles.
        MissingExtraError: onnxscript is not installed.
    """
    require("export", "onnxscript", purpose=f"the ONNX graph of a {title}")
    traced, example = _Probabilities(network, decision, activation).eval(), torch.from_numpy(tiles)
    with torch.inference_mode():
        traced(example)  # fills the caches of constants, which are not traced then
    try:
        with _quiet():
            program = torch.onnx.export(
                traced,
                (example,),
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
