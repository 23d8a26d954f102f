"""Activation functions in an ONNX graph."""

from collections.abc import Callable

import numpy as np

from orbitune.errors import RunError
from orbitune.exporting.graph_builder import GraphBuilder


def add_activation(graph: GraphBuilder, x: str, *, activation: str) -> str:
    """Add an activation function, and return its output.

    Args:
        graph: graph to extend.
        x: input.
        activation: its name in config.json.

    Raises:
        RunError: it is not known.
    """
    if activation not in _ACTIVATIONS:
        raise RunError(f"A model with the activation {activation!r} (hidden_act) cannot be exported to ONNX.")
    return _ACTIVATIONS[activation](graph, x)


def _gelu(graph: GraphBuilder, x: str) -> str:
    """Add the exact GELU, in the form that runtimes recognise."""
    inner = graph.add("Erf", graph.add("Div", x, graph.constant(np.float32(2**0.5))))
    factor = graph.add("Add", inner, graph.constant(np.float32(1)))
    return graph.add("Mul", graph.add("Mul", x, factor), graph.constant(np.float32(0.5)))


def _tanh_gelu(graph: GraphBuilder, x: str) -> str:
    """Add GELU's approximation by tanh."""
    cubic = graph.add(
        "Mul", graph.add("Mul", x, graph.add("Mul", x, x)), graph.constant(np.float32(0.044715))
    )
    inner = graph.add("Mul", graph.add("Add", x, cubic), graph.constant(np.float32((2 / np.pi) ** 0.5)))
    factor = graph.add("Add", graph.add("Tanh", inner), graph.constant(np.float32(1)))
    return graph.add("Mul", graph.add("Mul", x, factor), graph.constant(np.float32(0.5)))


def _quick_gelu(graph: GraphBuilder, x: str) -> str:
    scaled = graph.add("Mul", x, graph.constant(np.float32(1.702)))
    return graph.add("Mul", x, graph.add("Sigmoid", scaled))


def _silu(graph: GraphBuilder, x: str) -> str:
    return graph.add("Mul", x, graph.add("Sigmoid", x))


# By the names in config.json.
_ACTIVATIONS: dict[str, Callable[[GraphBuilder, str], str]] = {
    "gelu": _gelu,
    "gelu_new": _tanh_gelu,
    "gelu_pytorch_tanh": _tanh_gelu,
    "quick_gelu": _quick_gelu,
    "relu": lambda graph, x: graph.add("Relu", x),
    "silu": _silu,
    "swish": _silu,
}
