"""The fast path: the same classifier over the same weights, computed in fewer and larger steps.

What it does otherwise than the modules it reads from, none of which changes the result beyond rounding:
frozen weights are kept in half precision, so that nothing is cast on the way; what is trained stays fp32 and
is rounded where it is used. Query, key and value are one product, with one dropout mask and one
down-projection for their low-rank updates. Attention is the kernel that is faster at its shape. Where the
head reads the class token alone, the last block computes nothing else. Resizing and normalisation are part of
the patch embedding where that is exact.

The modules and their parameters stay where they are: saving, merging and loading see plain transformers and
PEFT.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.activations import GELUActivation

from orbitune.data.transform import Transform
from orbitune.fastpath.attention import attend
from orbitune.fastpath.fused_layer import FusedLayer, pass_through
from orbitune.fastpath.kernels import add, add_norm, gelu, mlp, multiplies
from orbitune.fastpath.linear import Product, cast_frozen
from orbitune.fastpath.native import compiled
from orbitune.fastpath.patch_embedding import PatchEmbedding
from orbitune.fastpath.token_merging import attend_merged, merge
from orbitune.models.families import Family, head_names
from orbitune.models.precision import means


def obstacle(model: nn.Module) -> str | None:
    """Why the fast path cannot compute this model, in words; None where it can."""
    config: Any = _base(model).config
    random = ("hidden_dropout_prob", "attention_probs_dropout_prob", "drop_path_rate")
    if named := [name for name in random if getattr(config, name, 0)]:
        return f"the backbone's config.json sets {', '.join(named)}"
    if beyond := _adapted_elsewhere(model):
        return f"the adapter changes {beyond} in a way that is not built into it"
    return None


def _adapted_elsewhere(model: nn.Module) -> str | None:
    """Return the first module that PEFT changes, other than linear layers, which are called as is."""
    if not hasattr(model, "peft_config"):
        return None
    from peft.tuners.lora.layer import ParamWrapper
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in _base(model).named_modules():
        if isinstance(module, BaseTunerLayer) and (
            isinstance(module, ParamWrapper) or not isinstance(module.get_base_layer(), nn.Linear)
        ):
            return name
    return None


class FastClassifier(nn.Module):
    """Tiles to logits, over the weights of a model that was built on its device.

    Args:
        model: a classifier of transformers, wrapped by PEFT or not. Its frozen layers are cast to `dtype`.
        dtype: of what is computed. Products of half precision are widened where the hardware has none, see
            `orbitune.models.precision`.
        attention: the kernel, see `orbitune.fastpath.attention`.
        checkpointing: keep only the input of each block for the backward pass, and compute the rest again.
        merge_after: numbers of blocks, from 1, after which patches are merged, see
            `orbitune.fastpath.token_merging`; for models whose head reads the class token alone.

    Attributes:
        compiled: whether compiled kernels compute.
        products: all that products are rounded by but the inputs: where two say the same, so do their bits.
    """

    def __init__(
        self,
        model: nn.Module,
        family: Family,
        transform: Transform,
        dtype: torch.dtype,
        attention: str,
        checkpointing: bool = False,
        merge_after: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.model = model
        base: Any = _base(model)
        body = getattr(base, base.base_model_prefix)
        layers = body.encoder.layer if hasattr(body, "encoder") else body.layers
        self.attention = attention
        sample = body.layernorm.weight.new_empty(0, dtype=dtype)
        self.compiled = compiled(sample)
        self.products = f"compiled, {means(sample)}" if self.compiled else means(sample)
        self.checkpointing = checkpointing
        self._patches = PatchEmbedding(body.embeddings, transform, dtype)
        self._norm = body.layernorm
        # Kept in a list, or they would be registered as modules a second time.
        self.heads = [getattr(base, name) for name in head_names(base, family)]
        self._pools_patches = not family.head_reads_class_token
        reads = None if self._pools_patches else len(self.heads)
        self._blocks = [
            Block(layer, family, dtype, attention, reads if layer is layers[-1] else None) for layer in layers
        ]
        self._merging = [self._blocks[number] for number in merge_after]  # before these

    def wrap_products(self, wrap: Callable[[Product], Any]) -> None:
        """Put what `wrap` makes of each product in its place; it is called as the product is."""
        for block in self._blocks:
            block.whole = None
            block.qkv = [wrap(product) for product in block.qkv]
            block.out, block.widen, block.narrow = map(wrap, (block.out, block.widen, block.narrow))

    @property
    def frozen_depth(self) -> int:
        """How many blocks lie below the first trained parameter."""
        if self._patches.trained:
            return 0
        return next((i for i, block in enumerate(self._blocks) if block.trained), len(self._blocks))

    def states(self, tiles: Tensor, depth: int, size: int | None = None) -> Tensor:
        """uint8 tiles (B, H, W, 3) to what the first `depth` blocks make of them, (B, N, D)."""
        return self._through(self._patches(tiles, size), self._blocks[:depth])

    def patch_states(self, tiles: Tensor, count: int) -> Tensor:
        """What the first third of the blocks makes of each patch (B, count * count, D), `count` along a side.

        Later blocks of a model that reads the class token alone say less of a place, and more of the whole.
        """
        states = self.states(
            tiles, -(-len(self._blocks) // 3), count * self._patches.projection.kernel_size[0]
        )
        return states[:, self._patches.specials :]

    def forward(self, inputs: Tensor, size: int | None = None) -> Tensor:
        """To logits (B, C), float32.

        Args:
            inputs: uint8 tiles (B, H, W, 3); or what `states` gave with the depth `frozen_depth`.
            size: the side in pixels that tiles are resized to, if not the transform's own.
        """
        parts = self.features(inputs, size)
        # A distilled DeiT has a head for each of its first tokens, and takes the mean.
        logits = [head(part) for head, part in zip(self.heads, parts, strict=True)]
        return logits[0] if len(logits) == 1 else torch.stack(logits).mean(0)

    def features(self, inputs: Tensor, size: int | None = None) -> list[Tensor]:
        """What each head reads, float32 (B, D); the arguments are those of `forward`."""
        if inputs.dtype == torch.uint8:
            x = self._through(self._patches(inputs, size), self._blocks)
        else:
            x = self._through(inputs, self._blocks[self.frozen_depth :])
        x = self._norm(x.float())
        if self._pools_patches:
            return [torch.cat([x[:, 0], x[:, self._patches.specials :].mean(1)], 1)]
        return [x[:, token] for token in range(len(self.heads))]

    def _through(self, x: Tensor, blocks: "list[Block]") -> Tensor:
        rows: Tensor = x.flatten(0, 1)
        pending: Pending = (None, None)
        sizes: Tensor | None = None
        again = self.checkpointing and self.training
        for run in [[block] for block in blocks] if again or self._merging else _runs(blocks):
            if run[0] in self._merging:
                tokens = add(rows, *pending).view(x.shape[0], -1, x.shape[-1])
                tokens, sizes = merge(tokens, sizes, self._patches.specials)
                rows, pending = tokens.flatten(0, 1), (None, None)
            arguments = run, rows, pending, x.shape[0], self.training, sizes
            if again:
                rows, pending = checkpoint(_compute, *arguments, use_reentrant=False)
            else:
                rows, pending = _compute(*arguments)
        return add(rows, *pending).view(x.shape[0], -1, x.shape[-1])


Pending = tuple[Tensor | None, Tensor | None]  # what is still to be added to the rows, and its scale


class Block:
    """One transformer layer over the modules of transformers.

    It leaves its last sum to the first normalisation of the next block, which makes both in one pass.

    Args:
        reads: how many of the first tokens are read of what it puts out; None for all.
    """

    def __init__(
        self, layer: Any, family: Family, dtype: torch.dtype, attention: str, reads: int | None
    ) -> None:
        own, mlp = layer.attention, layer.mlp
        self.kernel = attention
        self.head_dim = own.head_dim
        self.reads = reads
        groups = [[own.q_proj], [own.k_proj, own.v_proj]] if reads else [[own.q_proj, own.k_proj, own.v_proj]]
        self.qkv = [Product(group, dtype) for group in groups]
        self.out = Product([own.o_proj], dtype)
        self.gated = hasattr(mlp, "gate_proj")
        activation = mlp.act_fn if self.gated else mlp.activation_fn
        self.activation = gelu if isinstance(activation, GELUActivation) else activation
        self.widen = Product([mlp.gate_proj, mlp.up_proj] if self.gated else [mlp.fc1], dtype)
        self.narrow = Product([mlp.down_proj if self.gated else mlp.fc2], dtype)
        self.norms = [getattr(layer, name) for name in family.norms]
        self.scales = [getattr(layer, name, None) for name in ("layer_scale1", "layer_scale2")]
        for part in (*self.norms, *filter(None, self.scales)):
            cast_frozen(part, dtype)
        self.trained = any(p.requires_grad for p in layer.parameters())
        self.whole = self._whole()

    def __call__(
        self, rows: Tensor, pending: Pending, batch: int, training: bool, sizes: Tensor | None = None
    ) -> tuple[Tensor, Pending]:
        """Tokens as rows (B * N, D), as products want them; only attention asks which image they belong to.

        Args:
            sizes: how many tokens each stands for (B, N), where some were merged.

        Returns:
            Rows (B * N, D), or (B * reads, D), and what is to be added to them.
        """
        width = rows.shape[1]
        rows, normed = add_norm(rows, *pending, self.norms[0])
        inputs = [normed]
        if self.reads:
            rows, first = (t.view(batch, -1, width)[:, : self.reads].flatten(0, 1) for t in (rows, normed))
            inputs = [first, normed]
        heads = (width // self.head_dim, self.head_dim)
        parts = [
            product(read, training).view(batch, -1, len(product.layers), *heads)
            for product, read in zip(self.qkv, inputs, strict=True)
        ]
        attended = attend(self.kernel, *parts) if sizes is None else attend_merged(sizes, *parts)
        added = self.out(attended.reshape(-1, width), training)
        rows, normed = add_norm(rows, added, self._scale(0), self.norms[1])
        return rows, (self._mlp(normed, training), self._scale(1))

    def _mlp(self, x: Tensor, training: bool) -> Tensor:
        parts = self.widen, self.narrow
        if self.activation is gelu and all(isinstance(part, Product) and part.frozen for part in parts):
            (w1, b1), (w2, b2) = (part.parameters for part in parts)
            if multiplies(x, *w1.shape):
                return mlp(x, w1, b1, w2, b2)
        hidden = self.widen(x, training)
        if self.gated:
            gate, up = hidden.chunk(2, -1)
            return self.narrow(self.activation(gate) * up, training)
        return self.narrow(self.activation(hidden), training)

    def _whole(self) -> FusedLayer | None:
        """The layer, if it can be computed in one pass."""
        if self.reads or self.gated or self.activation is not gelu or self.kernel != "plain":
            return None
        [qkv], scales = self.qkv, [self._scale(number) for number in range(2)]
        whole = FusedLayer(qkv, self.out, self.widen, self.narrow, self.norms, scales, self.head_dim)
        return whole if whole.frozen else None

    def _scale(self, number: int) -> Tensor | None:
        scale = self.scales[number]
        return None if scale is None else scale.lambda1


def _runs(blocks: Sequence[Block]) -> list[list[Block]]:
    """Blocks in a row that are computed in one pass, and those that are not."""
    return [list(run) for _, run in groupby(blocks, lambda block: block.whole is None)]


def _compute(
    run: Sequence[Block], rows: Tensor, pending: Pending, batch: int, training: bool, sizes: Tensor | None
) -> tuple[Tensor, Pending]:
    """Blocks one after the other; the arguments and what comes back are those of a block."""
    layers = [block.whole for block in run if block.whole]
    if layers and sizes is None and layers[0].takes(rows, batch):
        return pass_through(layers, add(rows, *pending), batch, training), (None, None)
    for block in run:
        rows, pending = block(rows, pending, batch, training, sizes)
    return rows, pending


def _base(model: nn.Module) -> nn.Module:
    return model.get_base_model() if hasattr(model, "peft_config") else model  # type: ignore[operator]
