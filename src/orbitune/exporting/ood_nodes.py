"""ONNX nodes of the OOD score of features, see `orbitune.evaluation.ood`."""

import numpy as np

from orbitune.evaluation.ood import OODDetector
from orbitune.exporting.graph_builder import GraphBuilder


def add_ood_score(graph: GraphBuilder, features: str, *, detector: OODDetector, output: str) -> str:
    """Add the distance of features (B, D) to the nearest class mean, float32 (B,).

    Args:
        graph: builder, with constants in fp32.
        features: name of the value.
        detector: fitted to features of the same graph.
        output: name of an output of the graph.
    """
    length = graph.add("ReduceL2", features, axes=[1], keepdims=1)
    length = graph.add("Max", length, graph.constant(np.float32(1e-12)))
    unit = graph.add("Div", features, length)
    whitened = graph.add("MatMul", unit, graph.constant(detector.whitening.T, "ood.whitening"))
    width = len(detector.whitening)
    rows = graph.add("Reshape", whitened, graph.shape(-1, 1, width))
    distances = graph.add("Sub", rows, graph.constant(detector.means, "ood.means"))
    squared = graph.add("ReduceSumSquare", distances, axes=[2], keepdims=0)
    return graph.add("Sqrt", graph.add("ReduceMin", squared, axes=[1], keepdims=0), output=output)
