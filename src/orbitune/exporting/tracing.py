"""The graph of a model: uint8 tiles to calibrated probabilities, traced by torch's own ONNX exporter."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orbitune.data.transform import Transform
from orbitune.models.families import Family

if TYPE_CHECKING:
    from torch import nn

    from orbitune.fastpath.classifier import FastClassifier

OPSET = 20  # the first with a GELU of its own
INPUT, OUTPUT = "tiles", "probabilities"


def network_of(
    model: "nn.Module", family: Family, transform: Transform, merge_after: Sequence[int] = ()
) -> "FastClassifier":
    """A classifier of transformers in fp32, by the fast path's order of steps, as it can be traced.

    Args:
        merge_after: blocks, from 1, after which half of the patches are merged.
    """
    import torch

    from orbitune.fastpath.classifier import FastClassifier

    # The matrices of all places weigh more than a small model.
    unfolded = replace(transform, foldable=False)
    return FastClassifier(model, family, unfolded, torch.float32, "plain", merge_after=merge_after).eval()


def trace(network: "FastClassifier", tile_size: tuple[int, int], temperature: float) -> Any:
    """The graph of a network.

    Args:
        tile_size: height and width of the tiles that it will read, in pixels.
        temperature: what logits are divided by before the softmax.

    Returns:
        An onnx.ModelProto from uint8 (B, H, W, 3), any B, to float32 (B, C).
    """
    import torch

    whole = _with_softmax(network, temperature)
    example = (torch.zeros(2, *tile_size, 3, dtype=torch.uint8),)
    with torch.no_grad(), quiet():
        whole(*example)  # what is constant is computed now, and not traced
        program = torch.onnx.export(
            whole,
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    assert program is not None
    model_proto = program.model_proto  # made anew whenever it is asked for
    _drop_traces(model_proto.graph)
    return model_proto


def _with_softmax(network: "nn.Module", temperature: float) -> "nn.Module":
    from torch import Tensor, nn

    class Probabilities(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, tiles: Tensor) -> Tensor:
            return (self.network(tiles) / temperature).softmax(1)

    return Probabilities().eval()


def _drop_traces(graph: Any) -> None:
    """Remove where in the source each step came from: paths of this machine, and half of a small file."""
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
        part.ClearField("doc_string")
    del graph.metadata_props[:]


@contextmanager
def quiet() -> Iterator[None]:
    """Exporters talk of what they skip."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
