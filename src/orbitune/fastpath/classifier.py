"""The fast classifier: the same weights, computed in fewer and larger steps.

It differs from the modules that it reads in these ways, none of which changes the result beyond rounding:

- Frozen weights are kept in half precision, so that nothing is cast on the way. Trained tensors stay fp32 and
  are rounded where they are used.
- Query, key and value are one product, with one dropout mask and one down-projection for their LoRA updates.
- Attention uses the kernel that is faster at the model's sequence length.
- Where the head reads the class token alone, the last layer computes nothing else.
- Resizing and normalisation are folded into the patch embedding where that is exact.

Modules and parameters stay where they are: saving, merging and loading see plain transformers and PEFT.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate, groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from orbitune.data.augment import drop_patches
from orbitune.data.transform import Transform
from orbitune.fastpath.dispatch import FastPlan
from orbitune.fastpath.fused_layer import run_layers
from orbitune.fastpath.layer import Layer
from orbitune.fastpath.layer_modules import backbone_of, base_model, layer_modules
from orbitune.fastpath.linear import FusedLinear
from orbitune.fastpath.operations import Residual, add
from orbitune.fastpath.patch_embedding import PatchEmbedding
from orbitune.models.families.family import Family, head_names, last_norm_of
from orbitune.models.precision import set_products
from orbitune.models.token_merging import merge


class FastClassifier(nn.Module):
    """Tiles to logits, over the weights of a model that is on its device.

    Args:
        model: classifier of transformers, wrapped by PEFT or not. Its frozen layers are cast to the plan's
            dtype.
        family: names of the model's parts.
        transform: resizing and normalisation of tiles.
        plan: how the model is computed, see `orbitune.fastpath.dispatch`.
        checkpointing: keep only each layer's input for the backward pass and recompute the rest.
        patch_dropout: fraction of the patches that training leaves out, see `drop_patches`.
        merge_after: numbers of layers, from 1, after which training merges patches, see
            `orbitune.models.token_merging`; for models whose head reads the class token alone.

    Attributes:
        plan: how the model is computed.
        heads: classification heads.
        frozen_layers: number of first layers that get no gradient in training, nor do the embeddings below
            them; 0 to compute all gradients.
        merging: whether training merges patches, of a model that has `merge_after`.
    """

    def __init__(
        self,
        model: nn.Module,
        family: Family,
        *,
        transform: Transform,
        plan: FastPlan,
        checkpointing: bool = False,
        patch_dropout: float = 0.0,
        merge_after: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.model = model
        self.plan = plan
        self.checkpointing = checkpointing
        self._patch_dropout = patch_dropout
        self.frozen_layers, self.merging = 0, True
        base, body = base_model(model), backbone_of(model, family)
        self._patches = PatchEmbedding(
            body.embeddings,
            transform,
            projection=body.get_submodule(family.projection),
            dtype=plan.dtype,
            antialias=family.antialias,
        )
        self._norm = last_norm_of(base, family)
        # A list, because assigning modules would register them a second time.
        self.heads = [getattr(base, name) for name in head_names(base, family)]
        self._pooling = family.pooling
        self._layers = [
            Layer(modules, layer_plan, plan=plan)
            for modules, layer_plan in zip(layer_modules(model, family), plan.layers, strict=True)
        ]
        self._merge_before = [self._layers[number] for number in merge_after]

    def wrap_linear(self, wrap: Callable[[FusedLinear], Any]) -> None:
        """Replace each fused linear layer of the transformer layers.

        Args:
            wrap: returns the replacement, which is called as a `FusedLinear` is.
        """
        for layer in self._layers:
            layer.wrap_linear(wrap)

    @property
    def frozen_depth(self) -> int:
        """Number of layers below the first trained parameter."""
        if self._patches.trained:
            return 0
        return next((i for i, layer in enumerate(self._layers) if layer.trained), len(self._layers))

    def states(self, tiles: Tensor, depth: int, *, size: int | None = None) -> Tensor:
        """Return the hidden states (B, N, D) after the first `depth` layers.

        Args:
            tiles: integers (B, H, W, C).
            depth: number of layers to compute.
            size: input size in pixels; None for the configured one.

        Returns:
            (B, N, D), before the final LayerNorm.
        """
        set_products(tiles.device, self.plan.tf32)
        return self._run(self._patches(tiles, size), self._layers[:depth])[0]

    def patch_states(self, tiles: Tensor, count: int) -> Tensor:
        """Return the hidden states of each patch after the first third of the layers.

        Later layers of a model whose head reads the class token say less about a patch's own location.

        Args:
            tiles: integers (B, H, W, C).
            count: patches along a side; tiles are resized accordingly.

        Returns:
            (B, count * count, D).
        """
        depth = -(-len(self._layers) // 3)
        states = self.states(tiles, depth, size=count * self._patches.projection.kernel_size[0])
        return states[:, self._patches.prefix_tokens :]

    def forward(self, inputs: Tensor, size: int | None = None) -> Tensor:
        """Return logits, float32 (B, C).

        Args:
            inputs: integer tiles (B, H, W, C); or what `states` returns at the depth `frozen_depth`.
            size: side in pixels to resize tiles to, if not the transform's own.
        """
        features = self.features(inputs, size)
        # A distilled DeiT has a head for each of its first two tokens; the logits are averaged.
        logits = [head(feature) for head, feature in zip(self.heads, features, strict=True)]
        return logits[0] if len(logits) == 1 else torch.stack(logits).mean(0)

    def features(self, inputs: Tensor, size: int | None = None) -> list[Tensor]:
        """Return the input of each head, float32 (B, D); for the arguments see `forward`."""
        set_products(inputs.device, self.plan.tf32)
        if not inputs.is_floating_point():
            # Evaluation is one run through all layers, as two would round otherwise.
            frozen = self.frozen_layers if self.training else 0
            first, rest = self._layers[:frozen], self._layers[frozen:]
            with torch.set_grad_enabled(torch.is_grad_enabled() and not first):
                x, sizes = self._run(self._tokens(inputs, size), first)
            x, _ = self._run(x, rest, sizes=sizes)
        else:
            x, _ = self._run(inputs, self._layers[self.frozen_depth :])
        x = self._norm(x.float())
        if self._pooling == "class":
            return [x[:, token] for token in range(len(self.heads))]
        mean = x[:, self._patches.prefix_tokens :].mean(1)
        return [mean if self._pooling == "patches" else torch.cat([x[:, 0], mean], 1)]

    def _tokens(self, tiles: Tensor, size: int | None) -> Tensor:
        """Return the input of the layers, (B, N, D), without the patches that training leaves out."""
        tokens = self._patches(tiles, size)
        if not (self._patch_dropout and self.training):
            return tokens
        return drop_patches(tokens, self._patch_dropout, prefix_tokens=self._patches.prefix_tokens)

    def _run(
        self, x: Tensor, layers: Sequence[Layer], *, sizes: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the output of layers, (B, N, D), and the sizes of its tokens.

        For the sizes, (B, N) or None, see `orbitune.models.token_merging`.
        """
        rows: Tensor = x.flatten(0, 1)
        residual: Residual = (None, None)
        recompute = self.checkpointing and self.training
        run: Callable[..., tuple[Tensor, Residual]] = self._run_group
        if recompute:
            run = partial(checkpoint, run, use_reentrant=False)
        merging = self._merge_before if self.training and self.merging else []
        groups = [[layer] for layer in layers] if recompute else _one_pass_groups(layers, merging)
        for group in groups:
            if group[0] in merging:
                tokens = add(rows, residual).view(x.shape[0], -1, x.shape[-1])
                tokens, sizes = merge(tokens, sizes, prefix_tokens=self._patches.prefix_tokens)
                rows, residual = tokens.flatten(0, 1), (None, None)
            rows, residual = run(group, rows, residual=residual, batch=x.shape[0], sizes=sizes)
        return add(rows, residual).view(x.shape[0], -1, x.shape[-1]), sizes

    def _run_group(
        self, group: Sequence[Layer], rows: Tensor, *, residual: Residual, batch: int, sizes: Tensor | None
    ) -> tuple[Tensor, Residual]:
        """Run consecutive layers; arguments and results are those of a layer."""
        fused = [layer.one_pass for layer in group if layer.one_pass]
        most = self.plan.kernels.attention_queries
        if fused and sizes is None and len(rows) // batch <= most:
            rows = run_layers(fused, add(rows, residual), images=batch, training=self.training)
            return rows, (None, None)
        for layer in group:
            rows, residual = layer(rows, residual, batch=batch, training=self.training, sizes=sizes)
        return rows, residual


def _one_pass_groups(layers: Sequence[Layer], merging: Sequence[Layer]) -> list[list[Layer]]:
    """Group consecutive layers by whether they are computed in one pass; `merging` ones begin a group."""
    merged = accumulate(layer in merging for layer in layers)
    keyed = zip(layers, merged, strict=True)
    groups = groupby(keyed, lambda each: (each[0].one_pass is None, each[1]))
    return [[layer for layer, _ in group] for _, group in groups]
