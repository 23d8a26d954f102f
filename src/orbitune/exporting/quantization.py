"""Static quantisation of linear layers to int8, as pairs of QuantizeLinear and DequantizeLinear.

Weights are symmetric with a scale per output channel, activations are uint8 with a scale and zero point per
tensor. Runtimes turn each layer with its pairs into one integer product.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from orbitune.exporting.graph_builder import GraphBuilder
from orbitune.exporting.smoothquant import ChannelRanges, scale_channels
from orbitune.exporting.vit_graph import INPUT, ViTGraph, add_linear
from orbitune.exporting.weights import LinearWeights

_BATCH = 32  # calibration tiles at a time
# Processors without VNNI instructions add the products of two neighbouring inputs in 16 bits, with
# saturation. Inputs go up to 255: two neighbouring weights of one sign may not exceed 128 together.
_LARGEST_PAIR = 127
_LARGEST_BIAS = 2**30
_SMALLEST_SCALE = 1e-12


def quantize(graph: ViTGraph, tiles: np.ndarray) -> ViTGraph:
    """Return a graph with linear layers in int8, after SmoothQuant.

    The patch embedding stays in fp32 where it would lose accuracy: for the pixels of 16-bit tiles, and where
    similar weights are neighbours, see `add_quantized` and `ViTGraph.resizes`.

    Args:
        graph: of the model in fp32.
        tiles: calibration tiles (N, H, W, bands).
    """
    batches = iter(np.array_split(tiles, -(-len(tiles) // _BATCH)))
    weights, ranges = scale_channels(graph.weights, measure_inputs(graph, batches))
    patches = add_quantized_patches if graph.tiles.dtype == "uint8" and graph.resizes else add_linear
    return replace(graph, weights=weights, linear=QuantizedLinear(ranges), patches=patches)


def measure_inputs(graph: ViTGraph, batches: Iterator[np.ndarray]) -> ChannelRanges:
    """Measure the range of each input channel of the linear layers.

    Args:
        graph: of the model in fp32.
        batches: calibration tiles (B, H, W, bands).
    """
    import onnxruntime
    from onnx import TensorProto, helper

    inputs: dict[str, str] = {}

    def record(builder: GraphBuilder, x: str, *, linear: LinearWeights, name: str) -> str:
        inputs[name] = x
        return add_linear(builder, x, linear=linear, name=name)

    model = replace(graph, linear=record).write()
    values = list(dict.fromkeys(inputs.values()))
    model.graph.output.extend(helper.make_tensor_value_info(each, TensorProto.FLOAT, None) for each in values)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for tiles in batches:
        for value, rows in zip(values, session.run(values, {INPUT: tiles}), strict=True):
            low, high = found.get(value, (np.inf, -np.inf))
            found[value] = np.minimum(low, rows.min(0)), np.maximum(high, rows.max(0))
    return {name: found[value] for name, value in inputs.items()}


@dataclass(frozen=True)
class QuantizedLinear:
    """Adds linear layers in int8, see `orbitune.exporting.vit_graph.AddLinear`.

    Args:
        ranges: of the inputs of the layers.
    """

    ranges: ChannelRanges

    def __call__(self, graph: GraphBuilder, x: str, *, linear: LinearWeights, name: str) -> str:
        """Add a layer."""
        low, high = (float(bound) for bound in self._range(name))
        scale = max((high - low) / 255, _SMALLEST_SCALE)
        return add_quantized(graph, x, linear=linear, name=name, scale=scale, zero_point=round(-low / scale))

    def _range(self, name: str) -> tuple[Any, Any]:
        """Return the range of all channels, with zero inside."""
        low, high = self.ranges[name]
        return min(low.min(), 0), max(high.max(), 0)


def add_quantized_patches(graph: GraphBuilder, x: str, *, linear: LinearWeights, name: str) -> str:
    """Add the patch embedding of resized 8-bit tiles, whose pixels are rounded to 8 bits."""
    return add_quantized(graph, x, linear=linear, name=name, scale=1.0, zero_point=0)


def add_quantized(
    graph: GraphBuilder, x: str, *, linear: LinearWeights, name: str, scale: float, zero_point: int
) -> str:
    """Add a linear layer in int8, which every processor computes to the same integers.

    Args:
        x: rows (M, in) in fp32.
        linear: weights in fp32.
        scale, zero_point: of the uint8 input.
    """
    step, zero = np.float32(scale), graph.constant(np.uint8(zero_point))
    size = graph.constant(step)
    x = graph.add("DequantizeLinear", graph.add("QuantizeLinear", x, size, zero), size, zero)
    for_weights, for_bias = (
        _largest_pairs(linear.weight) / _LARGEST_PAIR,
        np.abs(linear.bias) / step / _LARGEST_BIAS,
    )
    steps = np.maximum.reduce([for_weights, for_bias, np.full_like(for_bias, _SMALLEST_SCALE)])
    products = step * steps
    stored = {
        "weight": (np.round(linear.weight / steps).astype(np.int8), steps, 1),
        "bias": (np.round(linear.bias.astype(np.float64) / products).astype(np.int32), products, 0),
    }
    weight, bias = (
        graph.add(
            "DequantizeLinear",
            graph.constant(values, f"{name}.{part}"),
            graph.constant(by),
            graph.constant(np.zeros_like(values, shape=len(by))),  # without one, ONNX Runtime fuses nothing
            axis=axis,
        )
        for part, (values, by, axis) in stored.items()
    )
    return graph.add("Gemm", x, weight, bias)


def _largest_pairs(weight: np.ndarray) -> np.ndarray:
    """Return for each output the largest sum of two neighbouring weights of one sign, (out,)."""
    padded = np.concatenate([weight, np.zeros_like(weight[: len(weight) % 2])])
    sums = [np.maximum(each[0::2], 0) + np.maximum(each[1::2], 0) for each in (padded, -padded)]
    largest: np.ndarray = np.max(sums, axis=(0, 1))
    return largest
