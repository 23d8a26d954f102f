"""ONNX graph of a vision transformer: integer tiles in, probabilities out.

The graph is written node by node from the weights, in a form that runtimes compute fast: the tokens of all
images are the rows of one matrix, and where the head reads leading tokens alone, the last layer computes
nothing else. All operators are standard ones, and runtimes fuse them as they need. The attention operators of
ONNX Runtime are no faster on a CPU for the few tokens of a tile, and its SkipLayerNormalization is several
times slower than Add and LayerNormalization.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from orbitune.data.transform import LARGEST, TileDtype, Transform, resize_matrix
from orbitune.exporting.activation_nodes import add_activation
from orbitune.exporting.graph_builder import GraphBuilder
from orbitune.exporting.merging_nodes import add_merging
from orbitune.exporting.weights import LayerWeights, LinearWeights, ModelWeights, NormWeights

INPUT, OUTPUT = "tiles", "probabilities"
FEATURES, OOD_SCORE = "features", "ood_score"  # further outputs of the graph of a web page

# Adds a linear layer to a graph: (builder, rows (M, in), linear=weights, name=of the layer) -> rows (M, out).
AddLinear = Callable[..., str]


@dataclass(frozen=True)
class TileFormat:
    """The tiles that a graph reads: height and width in pixels, bands and dtype."""

    height: int
    width: int
    bands: int = 3
    dtype: TileDtype = "uint8"


@dataclass(frozen=True)
class _Tokens:
    """Tokens inside a graph.

    Attributes:
        rows: name of the value (B * count, D).
        count: tokens of an image.
        sizes: name of the number of patches that each token stands for, (B, count, 1); None for 1.
    """

    rows: str
    count: int
    sizes: str | None = None


def add_linear(graph: GraphBuilder, x: str, *, linear: LinearWeights, name: str) -> str:
    """Add a linear layer in the graph's dtype, see `AddLinear`."""
    weight, bias = (
        graph.constant(linear.weight, f"{name}.weight"),
        graph.constant(linear.bias, f"{name}.bias"),
    )
    return graph.add("Gemm", x, weight, bias)


@dataclass
class ViTGraph:
    """Writer of the graph of one model.

    Args:
        weights: of the model.
        transform: resizing and normalisation of tiles.
        tiles: the tiles that the graph reads.
        temperature: divides logits before the activation.
        offsets: added to them then, one for each class; None for none.
        activation: makes probabilities of logits: softmax, or sigmoid for several labels a tile.
        merge_after: numbers of layers, from 1, after which half of the patch tokens are merged.
        dtype: of the layers; patch embedding, heads and activation are in fp32.
        linear: adds the linear layers.
        patches: adds the patch embedding, which reads pixels as the tiles have them, not normalised.
    """

    weights: ModelWeights
    transform: Transform
    tiles: TileFormat
    temperature: float
    offsets: Sequence[float] | None = None
    activation: str = "softmax"
    merge_after: Sequence[int] = ()
    dtype: Any = np.float32
    linear: AddLinear = add_linear
    patches: AddLinear = add_linear
    _graph: GraphBuilder = field(init=False, default_factory=GraphBuilder)

    def write(self, *, features: bool = False) -> Any:
        """Return the graph as an onnx.ModelProto, from tiles (B, H, W, bands) to (B, C).

        Args:
            features: whether to return what the head reads as well, float32 (B, D).
        """
        from onnx import TensorProto, helper

        model, dtype = self.weights, getattr(TensorProto, self.tiles.dtype.upper())
        tokens = self._embedding()
        self._graph.dtype = self.dtype
        for number in range(len(model.layers)):
            if number in self.merge_after:
                tokens = self._merged(tokens)
            tokens = self._layer(number, tokens)
        read = self._features(self._norm(tokens.rows, model.norm, "norm"), tokens.count)
        self._head(read)
        shape: list[str | int] = ["batch", self.tiles.height, self.tiles.width, self.tiles.bands]
        inputs = helper.make_tensor_value_info(INPUT, dtype, shape)
        sizes: dict[str, list[str | int]] = {OUTPUT: ["batch", len(model.heads[0].bias)]}
        if features:
            joined = read[0] if len(read) == 1 else self._graph.add("Concat", *read, axis=1)
            self._graph.add("Identity", joined, output=FEATURES)
            sizes[FEATURES] = ["batch", sum(len(head.weight) for head in model.heads)]
        outputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in sizes.items()
        ]
        return self._graph.model(inputs, outputs)

    def _embedding(self) -> _Tokens:
        """Add resizing, patch embedding, leading tokens and position embeddings."""
        graph, model = self._graph, self.weights
        patch = model.projection.shape[-1]
        pixels, grid = self._resized(), self.transform.size // patch
        cut = graph.add("Reshape", pixels, graph.shape(0, self.tiles.bands, grid, patch, grid, patch))
        # The values of a patch lie as (row, band, column).
        cut = graph.add("Transpose", cut, perm=[0, 2, 4, 3, 1, 5])
        rows = graph.add("Reshape", cut, graph.shape(-1, self.tiles.bands * patch**2))
        embedded = self.patches(graph, rows, linear=self._projection(), name="patches")
        width, leading = len(model.projection), len(model.prefix)
        embedded = graph.add("Reshape", embedded, graph.shape(-1, grid**2, width))
        padded = graph.add("Pad", embedded, graph.shape(0, leading, 0, 0, 0, 0))
        added = graph.constant(np.concatenate([model.prefix, model.positions]), "positions")
        tokens = graph.add("Add", padded, added)
        rows = graph.add("Reshape", tokens, graph.shape(-1, width))
        return _Tokens(rows if self.dtype == np.float32 else graph.cast(rows, self.dtype), leading + grid**2)

    def _resized(self) -> str:
        """Add resizing to float32 (B, bands, size, size), in the range of the tiles' pixels."""
        graph, size = self._graph, self.transform.size
        pixels = graph.add("Transpose", INPUT, perm=[0, 3, 1, 2])
        if not self.resizes:
            return graph.cast(pixels, np.float32)
        down, across = (
            resize_matrix(side, size, resample=self.transform.resample).numpy()
            for side in (self.tiles.height, self.tiles.width)
        )
        columns = across.reshape(-1, self.weights.projection.shape[-1], across.shape[1])[:, self._columns()]
        across = columns.reshape(across.shape).T
        pixels = graph.add("MatMul", graph.cast(pixels, np.float32), graph.constant(across, "resize.width"))
        pixels = graph.add("MatMul", graph.constant(down, "resize.height"), pixels)
        if self.transform.resample == "bilinear":
            return pixels
        largest = graph.constant(np.float32(LARGEST[self.tiles.dtype]))
        return graph.add("Clip", pixels, graph.constant(np.float32(0)), largest)

    @property
    def resizes(self) -> bool:
        """Return whether the graph resizes the tiles."""
        return {self.tiles.height, self.tiles.width} != {self.transform.size}

    def _columns(self) -> np.ndarray:
        """Return the order of a patch's pixel columns, which resizing changes at no cost.

        Neighbouring weights limit the scales of int8, and are similar in neighbouring columns. So each column
        is followed by one that is half a patch away.
        """
        columns = np.arange(self.weights.projection.shape[-1])
        return columns.reshape(2, -1).T.ravel() if self.resizes and len(columns) % 2 == 0 else columns

    def _projection(self) -> LinearWeights:
        """Return the patch embedding with the normalisation folded in."""
        model, largest = self.weights, LARGEST[self.tiles.dtype]
        mean, std = (np.array(v)[None, :, None, None] for v in (self.transform.mean, self.transform.std))
        kernel = model.projection / std
        bias = model.projection_bias - (kernel * mean).sum((1, 2, 3))
        kernel = kernel[..., self._columns()] / largest
        weight = kernel.transpose(0, 2, 1, 3).reshape(len(kernel), -1).T
        return LinearWeights(weight.astype(np.float32), bias.astype(np.float32))

    def _layer(self, number: int, tokens: _Tokens) -> _Tokens:
        """Add a transformer layer; the last one returns the tokens that the head reads."""
        graph, layer, name = self._graph, self.weights.layers[number], f"layers.{number}"
        reads = self.weights.tokens_read if number == len(self.weights.layers) - 1 else None
        normed = self._norm(tokens.rows, layer.norms[0], f"{name}.norms.0")
        attended = self._attention(layer, normed, name, tokens=tokens, reads=reads)
        rows, count = tokens.rows, reads or tokens.count
        if reads:
            rows = self._leading(rows, tokens.count, reads)
        rows = graph.add("Add", rows, self.linear(graph, attended, linear=layer.out, name=f"{name}.out"))
        normed = self._norm(rows, layer.norms[1], f"{name}.norms.1")
        return _Tokens(graph.add("Add", rows, self._mlp(layer, normed, name)), count, tokens.sizes)

    def _attention(
        self, layer: LayerWeights, normed: str, name: str, *, tokens: _Tokens, reads: int | None
    ) -> str:
        """Add softmax attention, and return its rows, before the output layer."""
        graph, width = self._graph, len(layer.out.weight)
        first = self._leading(normed, tokens.count, reads) if reads else normed
        q, k, v = (
            self.linear(graph, x, linear=part, name=f"{name}.{role}")
            for x, part, role in zip(
                (first, normed, normed), layer.qkv, ("query", "key", "value"), strict=True
            )
        )
        if self.weights.angles is not None:
            q, k = (self._rotated(rows, tokens.count) for rows in (q, k))
        q = self._heads(q, reads or tokens.count, [0, 2, 1, 3])
        k = self._heads(k, tokens.count, [0, 2, 3, 1])
        v = self._heads(v, tokens.count, [0, 2, 1, 3])
        scores = graph.add("MatMul", q, k)
        if tokens.sizes:
            leading = len(self.weights.prefix)
            logs = graph.add("Pad", graph.add("Log", tokens.sizes), graph.shape(0, leading, 0, 0, 0, 0))
            logs = graph.add("Reshape", logs, graph.shape(-1, 1, 1, tokens.count))
            scores = graph.add("Add", scores, logs)
        attended = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), v)
        attended = graph.add("Transpose", attended, perm=[0, 2, 1, 3])
        return graph.add("Reshape", attended, graph.shape(-1, width))

    def _rotated(self, rows: str, count: int) -> str:
        """Rotate the rows of patches by the angles of their positions; see `rotary_angles`."""
        graph, heads, angles = self._graph, self.weights.attention_heads, self.weights.angles
        assert angles is not None
        leading, half = np.zeros((len(self.weights.prefix), angles.shape[1]), np.float32), angles.shape[1]
        angles = np.concatenate([leading, angles])[:, None, None]
        cosines = graph.constant(np.cos(angles), "rotary.cosines")
        sines = graph.constant(np.concatenate([-np.sin(angles), np.sin(angles)], 2), "rotary.sines")
        halves = graph.add("Reshape", rows, graph.shape(-1, count, heads, 2, half))
        swapped = graph.add("Gather", halves, graph.shape(1, 0), axis=3)
        turned = graph.add("Add", graph.add("Mul", halves, cosines), graph.add("Mul", swapped, sines))
        return graph.add("Reshape", turned, graph.shape(-1, 2 * half * heads))

    def _heads(self, rows: str, count: int, order: list[int]) -> str:
        """Split rows (B * N, D) into heads (B, N, heads, D / heads), and transpose them."""
        graph, heads = self._graph, self.weights.attention_heads
        width = len(self.weights.projection) // heads
        split = graph.add("Reshape", rows, graph.shape(-1, count, heads, width))
        return graph.add("Transpose", split, perm=order)

    def _mlp(self, layer: LayerWeights, normed: str, name: str) -> str:
        graph = self._graph
        hidden = self.linear(graph, normed, linear=layer.mlp_in, name=f"{name}.mlp_in")
        hidden = add_activation(graph, hidden, activation=self.weights.activation)
        if layer.mlp_up:
            hidden = graph.add(
                "Mul", hidden, self.linear(graph, normed, linear=layer.mlp_up, name=f"{name}.mlp_up")
            )
        if layer.activation_scale is not None:
            scale = graph.constant(layer.activation_scale, f"{name}.activation_scale")
            hidden = graph.add("Mul", hidden, scale)
        return self.linear(graph, hidden, linear=layer.mlp_out, name=f"{name}.mlp_out")

    def _merged(self, tokens: _Tokens) -> _Tokens:
        """Add the merging of half of the patch tokens."""
        graph, leading = self._graph, len(self.weights.prefix)
        x = graph.add("Reshape", tokens.rows, graph.shape(-1, tokens.count, len(self.weights.projection)))
        patches = tokens.count - leading
        x, sizes = add_merging(graph, x, sizes=tokens.sizes, patches=patches, leading=leading)
        rows = graph.add("Reshape", x, graph.shape(-1, len(self.weights.projection)))
        return _Tokens(rows, leading + patches // 2, sizes)

    def _leading(self, rows: str, count: int, reads: int) -> str:
        """Return the rows of the leading tokens of each image."""
        graph, width = self._graph, len(self.weights.projection)
        tokens = graph.add("Reshape", rows, graph.shape(-1, count, width))
        tokens = graph.add("Slice", tokens, graph.shape(0), graph.shape(reads), graph.shape(1))
        return graph.add("Reshape", tokens, graph.shape(-1, width))

    def _norm(self, rows: str, norm: NormWeights, name: str) -> str:
        graph = self._graph
        weight, bias = (graph.constant(getattr(norm, part), f"{name}.{part}") for part in ("weight", "bias"))
        return graph.add("LayerNormalization", rows, weight, bias, axis=-1, epsilon=norm.epsilon)

    def _features(self, rows: str, count: int) -> list[str]:
        """Add what each head reads, float32 (B, D)."""
        graph, model = self._graph, self.weights
        rows = rows if self.dtype == np.float32 else graph.cast(rows, np.float32)
        graph.dtype = np.float32
        tokens = graph.add("Reshape", rows, graph.shape(-1, count, len(model.projection)))
        if model.pooling == "class":
            return [self._token(tokens, place) for place in range(len(model.heads))]
        ends = (graph.shape(each) for each in (len(model.prefix), count, 1))
        mean = graph.add("ReduceMean", graph.add("Slice", tokens, *ends), axes=[1], keepdims=0)
        both = model.pooling == "class and patches"
        return [graph.add("Concat", self._token(tokens, 0), mean, axis=1) if both else mean]

    def _head(self, features: list[str]) -> None:
        """Add the heads, and the activation of the mean of their logits."""
        graph, model = self._graph, self.weights
        logits = [
            add_linear(graph, feature, linear=head, name=f"heads.{place}")
            for place, (feature, head) in enumerate(zip(features, model.heads, strict=True))
        ]
        total = logits[0] if len(logits) == 1 else graph.add("Sum", *logits)
        scaled = graph.add("Div", total, graph.constant(np.float32(self.temperature * len(logits))))
        if self.offsets:
            scaled = graph.add("Add", scaled, graph.constant(np.array(self.offsets, np.float32)))
        if self.activation == "softmax":
            graph.add("Softmax", scaled, output=OUTPUT, axis=-1)
        else:
            graph.add("Sigmoid", scaled, output=OUTPUT)

    def _token(self, tokens: str, place: int) -> str:
        """Return one token of each image, (B, D)."""
        return self._graph.add("Gather", tokens, self._graph.constant(np.array(place, np.int64)), axis=1)
