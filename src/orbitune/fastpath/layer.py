"""One transformer layer of the fast path, on modules of transformers and PEFT."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from orbitune.fastpath import kernels
from orbitune.fastpath.attention import attend
from orbitune.fastpath.dispatch import FastPlan, LayerPlan
from orbitune.fastpath.fused_layer import FusedLayer
from orbitune.fastpath.layer_modules import LayerModules
from orbitune.fastpath.linear import FusedLinear, cast_frozen
from orbitune.fastpath.operations import Residual, operations_for


class Layer:
    """One transformer layer.

    The final residual add is fused into the next layer's first LayerNorm.

    Args:
        modules: the layer's modules, which keep their parameters.
        layer_plan: how this layer is computed.
        plan: the plan of the whole model.

    Attributes:
        one_pass: the layer as one compiled pass; None where it is not planned.
        trained: whether any of its parameters is trained.
    """

    def __init__(self, modules: LayerModules, layer_plan: LayerPlan, *, plan: FastPlan) -> None:
        self._plan, self._kernels, self._attention = layer_plan, plan.kernels, plan.attention
        self._operations = operations_for(plan.kernels)
        self._head_dim, self._gated = modules.head_dim, modules.gated
        self._norms, self._scales, self._rotary = modules.norms, modules.scales, modules.rotary
        qkv = (
            [("q_proj",), ("k_proj", "v_proj")]
            if layer_plan.output_tokens
            else [("q_proj", "k_proj", "v_proj")]
        )
        fused: list[Any] = [
            FusedLinear(
                [modules.linear[name] for name in names],
                [layer_plan.linear[name] for name in names],
                dtype=plan.dtype,
                operations=self._operations,
            )
            for names in (*qkv, ("o_proj",), modules.mlp_in, (modules.mlp_out,))
        ]
        *self._qkv, self._out, self._mlp_in, self._mlp_out = fused
        self._fused_mlp = layer_plan.fused_mlp
        self._activation = self._operations.gelu if modules.is_gelu else modules.activation
        for norm in modules.norms:
            cast_frozen(norm, plan.dtype)
        for scale in modules.scales:
            if scale is not None and not scale.requires_grad:
                scale.data = scale.data.to(plan.dtype)
        parts = [*modules.linear.values(), *modules.norms]
        tensors = [*(p for part in parts for p in part.parameters()), *modules.scales]
        self.trained = any(tensor is not None and tensor.requires_grad for tensor in tensors)
        self.one_pass = self._as_one_pass() if layer_plan.one_pass else None

    def _as_one_pass(self) -> FusedLayer:
        [qkv] = self._qkv
        return FusedLayer(
            qkv,
            self._out,
            mlp_in=self._mlp_in,
            mlp_out=self._mlp_out,
            norms=self._norms,
            scales=self._scales,
            head_dim=self._head_dim,
            rotary=self._rotary,
        )

    def wrap_linear(self, wrap: Callable[[FusedLinear], Any]) -> None:
        """Replace each fused linear layer by what `wrap` returns for it.

        See `FastClassifier.wrap_linear`.
        """
        self.one_pass, self._fused_mlp = None, False
        self._qkv = [wrap(linear) for linear in self._qkv]
        self._out, self._mlp_in, self._mlp_out = map(wrap, (self._out, self._mlp_in, self._mlp_out))

    def __call__(
        self, rows: Tensor, residual: Residual, *, batch: int, training: bool, sizes: Tensor | None = None
    ) -> tuple[Tensor, Residual]:
        """Return the layer's output and the residual that is still to be added to it.

        Args:
            rows: tokens of all images (B * N, D).
            residual: what the layer before left to be added.
            batch: number of images, B.
            training: whether dropout is applied.
            sizes: number of patches that each token stands for (B, N), where some were merged.

        Returns:
            Rows (B * N, D), or those of the leading output tokens alone, and the residual for them.
        """
        width, operations = rows.shape[1], self._operations
        compiled_norms = self._plan.compiled_norms
        rows, normed = operations.add_norm(rows, residual, norm=self._norms[0], compiled=compiled_norms[0])
        inputs = [normed]
        if count := self._plan.output_tokens:
            rows, first = (t.view(batch, -1, width)[:, :count].flatten(0, 1) for t in (rows, normed))
            inputs = [first, normed]
        heads = (width // self._head_dim, self._head_dim)
        qkv = [
            linear(x, training).view(batch, -1, len(linear.layers), *heads)
            for linear, x in zip(self._qkv, inputs, strict=True)
        ]
        if self._rotary:
            qkv = [self._rotary(each) for each in qkv]  # one, since heads that read patches need all rows
        queries = self._kernels.attention_queries
        attended = attend(self._attention, qkv, compiled_queries=queries, sizes=sizes)
        added = self._out(attended.reshape(-1, width), training)
        rows, normed = operations.add_norm(
            rows, (added, self._scales[0]), norm=self._norms[1], compiled=compiled_norms[1]
        )
        return rows, (self._mlp(normed, training), self._scales[1])

    def _mlp(self, x: Tensor, training: bool) -> Tensor:
        if self._fused_mlp:
            return kernels.mlp(x, self._mlp_in.parameters, out=self._mlp_out.parameters)
        hidden = self._mlp_in(x, training)
        if self._gated:
            gate, up = hidden.chunk(2, -1)
            return self._mlp_out(self._activation(gate) * up, training)
        return self._mlp_out(self._activation(hidden), training)
