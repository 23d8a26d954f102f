"""What ONNX Runtime computes an int8 graph with."""

from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from graphs import graph_of, run, small_model, tiles_of
from onnx import numpy_helper

from orbitune.exporting.quantization import quantize

LAYERS = 3


def optimised(graph, folder):
    """Operators of a graph after the optimisations of ONNX Runtime."""
    options, file = onnxruntime.SessionOptions(), folder / "optimised.onnx"
    options.optimized_model_filepath, options.log_severity_level = str(file), 3
    onnxruntime.InferenceSession(graph.write().SerializeToString(), options)
    return Counter(node.op_type for node in onnx.load(file).graph.node)


@pytest.fixture(scope="module")
def quantized():
    graph = graph_of(small_model(), side=20)
    return graph, quantize(graph, tiles_of(graph, 40))


def test_every_layer_is_an_integer_product_with_one_quantised_input(quantized, tmp_path):
    operators = optimised(quantized[1], tmp_path)
    assert operators["DequantizeLinear"] == 0
    # Query, key, value, output and the two layers of each MLP, and the patch embedding.
    assert operators["QGemm"] == 6 * LAYERS + 1
    # One for query, key and value together; the last query, of the class token alone, has its own.
    assert operators["QuantizeLinear"] <= 4 * LAYERS + 2
    assert operators["Gelu"] == LAYERS and operators["Erf"] == 0
    assert operators["LayerNormalization"] == 2 * LAYERS + 1


def test_probabilities_stay_close(quantized):
    graph, int8 = quantized
    tiles = tiles_of(graph)
    away = np.abs(run(int8, tiles) - run(graph, tiles))
    assert 0 < away.max() < 0.05


def test_an_output_of_its_bias_alone_keeps_it():
    graph = graph_of(small_model())
    layer = graph.weights.layers[0]
    weight, bias = layer.mlp_in.weight.copy(), layer.mlp_in.bias.copy()
    weight[:, :5], bias[:5] = 0, 3
    changed = replace(layer, mlp_in=replace(layer.mlp_in, weight=weight, bias=bias))
    graph = replace(graph, weights=replace(graph.weights, layers=(changed, *graph.weights.layers[1:])))
    tiles = tiles_of(graph)
    assert np.abs(run(quantize(graph, tiles), tiles) - run(graph, tiles)).max() < 0.05


def test_a_tile_has_the_same_probabilities_in_every_batch(quantized):
    tiles = tiles_of(quantized[0])
    whole = run(quantized[1], tiles)
    assert np.allclose(run(quantized[1], tiles[2:3]), whole[2:3], atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "side", "quantized_patches"), [("uint8", 20, 1), ("uint8", 32, 0), ("uint16", 20, 0)]
)
def test_patches_are_quantised_where_that_loses_nothing(dtype, side, quantized_patches, tmp_path):
    graph = graph_of(small_model(), dtype=dtype, side=side)
    products = optimised(quantize(graph, tiles_of(graph)), tmp_path)["QGemm"]
    assert products == 6 * LAYERS + quantized_patches


def test_no_pair_of_products_exceeds_16_bits(quantized):
    """Processors with AVX2 and without VNNI add two products of neighbours in 16 bits."""
    stored = (numpy_helper.to_array(each) for each in quantized[1].write().graph.initializer)
    weights = [each.astype(np.int32) for each in stored if each.dtype == np.int8 and each.ndim == 2]
    assert len(weights) == 6 * LAYERS + 1
    for weight in weights:
        pairs = weight.reshape(-1, 2, weight.shape[1])
        sums = [255 * np.maximum(each, 0).sum(1) for each in (pairs, -pairs)]
        assert 0.9 * 2**15 < np.max(sums) < 2**15
