"""Token merging in an ONNX graph, as `orbitune.models.token_merging` computes it."""

import numpy as np

from orbitune.exporting.graph_builder import GraphBuilder

_END = np.iinfo(np.int64).max


def add_merging(
    graph: GraphBuilder, x: str, *, sizes: str | None, patches: int, leading: int
) -> tuple[str, str]:
    """Add the merging of every other patch into the most similar of the rest.

    Args:
        graph: graph to extend.
        x: tokens (B, leading + patches, D).
        sizes: number of patches that each patch token stands for, (B, patches, 1); None for 1.
        patches: number of patch tokens.
        leading: number of tokens before them, which are never merged.

    Returns:
        The leading tokens with the patches // 2 patch tokens that are left, and the sizes of the latter.
    """
    sizes = sizes or graph.constant(np.ones((1, patches, 1)))
    merged, kept = (_every_other(graph, x, leading + offset) for offset in (0, 1))
    merged_sizes, kept_sizes = (_every_other(graph, sizes, offset) for offset in (0, 1))
    joins = _joins(graph, merged, kept, count=patches // 2)
    total = graph.add("Add", graph.add("MatMul", joins, merged_sizes), kept_sizes)
    weighted = graph.add("MatMul", joins, graph.add("Mul", merged, merged_sizes))
    mean = graph.add("Div", graph.add("Add", weighted, graph.add("Mul", kept, kept_sizes)), total)
    first = graph.add("Slice", x, graph.shape(0), graph.shape(leading), graph.shape(1))
    return graph.add("Concat", first, mean, axis=1), total


def _joins(graph: GraphBuilder, merged: str, kept: str, *, count: int) -> str:
    """Return 1 where a merged token (columns) goes to a kept one (rows), else 0."""
    norms = graph.add("ReduceL2", kept, axes=[2], keepdims=1)
    directions = graph.add("Div", kept, graph.add("Max", norms, graph.constant(np.float32(1e-12))))
    similarity = graph.add("MatMul", merged, graph.add("Transpose", directions, perm=[0, 2, 1]))
    nearest = graph.add("ArgMax", similarity, axis=2, keepdims=0)
    equal = graph.add(
        "Equal", graph.add("Unsqueeze", nearest, graph.shape(1)), graph.constant(np.arange(count)[:, None])
    )
    return graph.cast(equal, graph.dtype)


def _every_other(graph: GraphBuilder, x: str, start: int) -> str:
    """Return every other token of (B, N, D) from one on."""
    return graph.add("Slice", x, graph.shape(start), graph.shape(_END), graph.shape(1), graph.shape(2))
