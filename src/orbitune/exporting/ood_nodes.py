"""ONNX nodes of the OOD score of features, see `orbitune.evaluation.ood`."""

from typing import Any

import numpy as np

from orbitune.evaluation.ood import OODDetector
from orbitune.exporting.graph_builder import GraphBuilder


def add_ood_score(model: Any, features: str, *, detector: OODDetector, output: str) -> None:
    """Add an output to a graph: the distance of features to the nearest class mean, float32 (B,).

    Args:
        model: onnx.ModelProto; it is changed.
        features: name of its output (B, D).
        detector: fitted to features of this graph.
        output: name of the new output.
    """
    from onnx import TensorProto, helper

    graph = GraphBuilder(prefix="ood.")
    length = graph.add("ReduceL2", features, axes=[1], keepdims=1)
    length = graph.add("Max", length, graph.constant(np.float32(1e-12)))
    unit = graph.add("Div", features, length)
    whitened = graph.add("MatMul", unit, graph.constant(detector.whitening.T, "ood.whitening"))
    width = len(detector.whitening)
    rows = graph.add("Reshape", whitened, graph.shape(-1, 1, width))
    distances = graph.add("Sub", rows, graph.constant(detector.means, "ood.means"))
    squared = graph.add("ReduceSumSquare", distances, axes=[2], keepdims=0)
    graph.add("Sqrt", graph.add("ReduceMin", squared, axes=[1], keepdims=0), output=output)
    model.graph.node.extend(graph.nodes)
    model.graph.initializer.extend(graph.constants)
    model.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch"]))
