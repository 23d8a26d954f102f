"""Tracing of a model to an ONNX graph: integer tiles in, probabilities out."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from orbitune.data.transform import TileDtype, Transform
    from orbitune.evaluation.network import PlainClassifier
    from orbitune.fastpath.classifier import FastClassifier
    from orbitune.models.families import Family

OPSET = 20  # the first with a Gelu operator
INPUT, OUTPUT = "tiles", "probabilities"


def traceable_network(
    model: "nn.Module", family: "Family", *, transform: "Transform", merge_after: Sequence[int] = ()
) -> "FastClassifier | PlainClassifier":
    """Return a classifier in fp32 to trace.

    It is the fast path if that is installed: its graph is smaller.

    Args:
        model: classifier of transformers.
        family: names of the model's parts.
        transform: resizing and normalisation of tiles.
        merge_after: blocks, counted from 1, after which half of the patch tokens are merged.
    """
    import torch

    from orbitune.evaluation.network import fast_network, fast_path, plain_network

    # Folding the resize into the patch embedding needs a matrix per patch: larger than a small model.
    unfolded = replace(transform, foldable=False)
    if fast_path() is None:
        return plain_network(model, family, transform=unfolded).eval()
    dtype = torch.float32
    return fast_network(model, family, transform=unfolded, dtype=dtype, merge_after=merge_after).eval()


def trace(
    network: "nn.Module",
    *,
    tile_size: tuple[int, int],
    temperature: float,
    bands: int = 3,
    dtype: "TileDtype" = "uint8",
) -> Any:
    """Return the ONNX graph of a network.

    Args:
        tile_size: height and width in pixels of the tiles it will read.
        temperature: divides logits before the softmax.
        bands: number of bands of the tiles.
        dtype: of the tiles.

    Returns:
        An onnx.ModelProto from tiles (B, H, W, bands), any B, to float32 (B, C).
    """
    import torch

    whole = _with_softmax(network, temperature)
    example = (torch.zeros(2, *tile_size, bands, dtype=getattr(torch, dtype)),)
    with torch.no_grad(), quiet():
        whole(*example)  # fills caches, whose content is then a constant of the graph
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
    model_proto = program.model_proto  # each access builds a new one
    _drop_source_locations(model_proto.graph)
    return model_proto


def _with_softmax(network: "nn.Module", temperature: float) -> "nn.Module":
    """Return the network with calibrated probabilities as its output."""
    from torch import Tensor, nn

    class Probabilities(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, tiles: Tensor) -> Tensor:
            """Return probabilities (B, C) of tiles (B, H, W, 3)."""
            return (self.network(tiles) / temperature).softmax(1)

    return Probabilities().eval()


def _drop_source_locations(graph: Any) -> None:
    """Remove source locations: paths of this machine, half the size of a small file."""
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
        part.ClearField("doc_string")
    del graph.metadata_props[:]


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings and log messages of the exporters."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
