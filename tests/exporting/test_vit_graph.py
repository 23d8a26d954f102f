"""The graph computes what transformers does, for every family, activation, tile and size."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from graphs import TEMPERATURE, graph_of, run, small_model, tiles_of

from orbitune.data.transform import to_tensor
from orbitune.errors import RunError
from orbitune.evaluation.network import fast_network
from orbitune.models.families.table import FAMILIES


def computed(model, tiles, *, graph):
    pixels = graph.transform(to_tensor(tiles))
    logits = model(pixel_values=pixels, **FAMILIES[model.config.model_type].forward).logits
    return (logits / TEMPERATURE).softmax(1).numpy()


@pytest.mark.parametrize("model_type", [name for name, family in FAMILIES.items() if not family.why_plain])
@pytest.mark.parametrize("size", [32, 24])
def test_every_family_gives_the_probabilities_of_transformers(model_type, size):
    model = small_model(model_type)
    graph = graph_of(model, size=size)
    tiles = tiles_of(graph)
    assert np.allclose(run(graph, tiles), computed(model, tiles, graph=graph), atol=1e-5)


@pytest.mark.parametrize(
    ("model_type", "settings"),
    [
        *(("vit", {"hidden_act": name}) for name in ("gelu_new", "quick_gelu", "relu", "silu")),
        ("vit", {"qkv_bias": False}),
        ("dinov2", {"use_swiglu_ffn": True}),
        ("deit", {"distilled": True}),
        ("dinov3_vit", {"num_register_tokens": 4}),
        ("dinov3_vit", {"use_gated_mlp": True, "hidden_act": "silu"}),
    ],
)
def test_what_a_config_may_change_is_in_the_graph(model_type, settings):
    model = small_model(model_type, **settings)
    graph = graph_of(model)
    tiles = tiles_of(graph)
    assert np.allclose(run(graph, tiles), computed(model, tiles, graph=graph), atol=1e-5)


@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("side", "size"), [(20, 32), (48, 24)])
def test_tiles_of_another_size_are_resized_in_the_graph(resample, side, size):
    model = small_model()
    graph = graph_of(model, side=side, size=size, resample=resample)
    tiles = tiles_of(graph)
    assert np.allclose(run(graph, tiles), computed(model, tiles, graph=graph), atol=1e-5)


def test_tiles_of_16_bits_and_four_bands_are_read():
    model = small_model(num_channels=4)
    graph = graph_of(model, bands=4, dtype="uint16", side=20)
    tiles = tiles_of(graph)
    assert np.allclose(run(graph, tiles), computed(model, tiles, graph=graph), atol=1e-5)


@pytest.mark.parametrize("blocks", [(1,), (1, 2)])
@pytest.mark.parametrize("model_type", ["vit", "deit"])
def test_tokens_are_merged_as_in_the_fast_path(model_type, blocks):
    model = small_model(model_type)
    graph = replace(graph_of(model, size=40, side=40), merge_after=blocks)
    tiles = tiles_of(graph)
    network = fast_network(
        model,
        FAMILIES[model_type],
        transform=replace(graph.transform, foldable=False),
        dtype=torch.float32,
        merge_after=blocks,
    ).train()
    with torch.inference_mode():
        expected = (network(to_tensor(tiles)) / TEMPERATURE).softmax(1).numpy()
    assert np.allclose(run(graph, tiles), expected, atol=1e-5)


def test_in_fp16_layers_are_halved_and_norms_stay_single_nodes():
    model = small_model()
    graph = graph_of(model)
    half = replace(graph, dtype=np.float16)
    tiles, written = tiles_of(graph), half.write()
    assert np.abs(run(half, tiles) - computed(model, tiles, graph=graph)).max() < 5e-3
    assert written.ByteSize() < 0.65 * graph.write().ByteSize()
    operators = [node.op_type for node in written.graph.node]
    assert operators.count("LayerNormalization") == 7 and "ReduceMean" not in operators
    assert written.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_opset_ir_version_and_the_only_input_are_stated():
    model = graph_of(small_model()).write()
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 17)]
    assert model.ir_version == 8
    assert [each.name for each in model.graph.input] == ["tiles"]
    assert not {each.name for each in model.graph.initializer} & {each.name for each in model.graph.input}


def test_weights_have_names():
    names = {each.name for each in graph_of(small_model()).write().graph.initializer}
    assert {"layers.0.query.weight", "layers.2.mlp_out.bias", "norm.weight", "positions"} <= names


def test_an_activation_without_a_graph_is_one_line():
    with pytest.raises(RunError, match=r"activation 'mish' .hidden_act. cannot be exported to ONNX"):
        graph_of(small_model(hidden_act="mish")).write()
