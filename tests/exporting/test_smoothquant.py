from dataclasses import replace

import numpy as np
import pytest
from graphs import graph_of, run, small_model, tiles_of
from samples import FAMILIES

from orbitune.exporting.quantization import measure_inputs
from orbitune.exporting.smoothquant import scale_channels


def with_large_channels(graph):
    """A few large channels, as trained transformers have."""
    factor = np.ones(32, np.float32)
    factor[:3] = 50
    layers = [
        replace(layer, norms=tuple(replace(norm, weight=norm.weight * factor) for norm in layer.norms))
        for layer in graph.weights.layers
    ]
    return replace(graph, weights=replace(graph.weights, layers=tuple(layers)))


def spread(ranges, name):
    largest = np.maximum(*np.abs(ranges[name]))
    return largest.max() / np.median(largest)


@pytest.mark.parametrize("settings", [*({"model_type": each} for each in FAMILIES), {"use_swiglu_ffn": True}])
def test_channels_are_equalised_and_the_function_stays_the_same(settings):
    graph = with_large_channels(graph_of(small_model(**{"model_type": "dinov2", **settings})))
    tiles = tiles_of(graph)
    before = measure_inputs(graph, iter([tiles]))
    weights, stated = scale_channels(graph.weights, before)
    scaled = replace(graph, weights=weights)
    after = measure_inputs(scaled, iter([tiles]))
    assert np.allclose(run(scaled, tiles), run(graph, tiles), atol=1e-4)
    for name in before:
        assert np.allclose(stated[name], after[name], atol=1e-3, rtol=1e-3), name
        if name.endswith(("query", "mlp_in")):
            assert spread(after, name) < spread(before, name) / 2, name
