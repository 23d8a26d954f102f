"""Linear layers whose weights are stored in 12 bits, and computed in fp32.

For a page both the bytes and the values of the weights matter. int8 changes about one label in a hundred of
EuroSAT, as activations are rounded too; weights of 12 bits, with a scale per output, are as close as fp16 in
three quarters of its size. They are stored as two planes, the upper four bits and the lower eight, as gzip
takes the upper ones in fewer. Runtimes fold the planes into fp32 weights when they load the graph.
"""

import numpy as np

from orbitune.exporting.graph_builder import GraphBuilder
from orbitune.exporting.weights import LinearWeights

_LARGEST = 2**11 - 1
_SMALLEST_STEP = 1e-12


def add_rounded(graph: GraphBuilder, x: str, *, linear: LinearWeights, name: str) -> str:
    """Add a linear layer, see `orbitune.exporting.vit_graph.AddLinear`."""
    steps = np.maximum(np.abs(linear.weight).max(0) / _LARGEST, _SMALLEST_STEP).astype(np.float32)
    values = np.round(linear.weight / steps).astype(np.int16)
    upper = graph.cast(graph.constant((values >> 8).astype(np.int8), f"{name}.upper"), np.float32)
    lower = graph.cast(graph.constant((values & 255).astype(np.uint8), f"{name}.lower"), np.float32)
    whole = graph.add("Add", graph.add("Mul", upper, graph.constant(np.float32(256))), lower)
    weight = graph.add("Mul", whole, graph.constant(steps, f"{name}.steps"))
    return graph.add("Gemm", x, weight, graph.constant(linear.bias, f"{name}.bias"))
