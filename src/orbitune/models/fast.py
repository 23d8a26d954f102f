"""The fast path: the same classifier over the same weights, computed in fewer and larger steps.

What it does otherwise than the modules it reads from, none of which changes the result beyond rounding:
frozen weights are kept in half precision, so that nothing is cast on the way; what is trained stays fp32 and
is rounded where it is used. Query, key and value are one product, with one dropout mask and one
down-projection for their low-rank updates. Attention is the kernel that a measurement found faster. Where the
head reads the class token alone, the last block computes nothing else. Resizing and normalisation are part of
the patch embedding where that is exact.

The modules and their parameters stay where they are: saving, merging and loading see plain transformers and
PEFT.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from orbitune.data.transform import Transform
from orbitune.models.attention import attend
from orbitune.models.backbones import Family, head_names
from orbitune.models.patches import PatchEmbedding


def obstacle(model: nn.Module) -> str | None:
    """Why the fast path cannot compute this model, in words; None where it can."""
    config: Any = _base(model).config
    random = ("hidden_dropout_prob", "attention_probs_dropout_prob", "drop_path_rate")
    if named := [name for name in random if getattr(config, name, 0)]:
        return f"the backbone's config.json sets {', '.join(named)}"
    return None


class FastClassifier(nn.Module):
    """Tiles to logits, over the weights of a model that was built on its device.

    Args:
        model: a classifier of transformers, wrapped by PEFT or not. Its frozen layers are cast to `dtype`.
        dtype: of all products; bfloat16 or float16 where the hardware multiplies it, else float32.
        attention: the kernel, see `orbitune.models.attention`.
        checkpointing: keep only the input of each block for the backward pass, and compute the rest again.
    """

    def __init__(
        self,
        model: nn.Module,
        family: Family,
        transform: Transform,
        dtype: torch.dtype,
        attention: str,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        base: Any = _base(model)
        body = getattr(base, base.base_model_prefix)
        layers = body.encoder.layer if hasattr(body, "encoder") else body.layers
        self.attention = attention
        self.checkpointing = checkpointing
        self._patches = PatchEmbedding(body.embeddings, transform, dtype)
        self._norm = body.layernorm
        # Kept in a list, or they would be registered as modules a second time.
        self._heads = [getattr(base, name) for name in head_names(base, family)]
        self._pools_patches = not family.head_reads_class_token
        reads = None if self._pools_patches else len(self._heads)
        self._blocks = [
            Block(layer, family, dtype, attention, reads if layer is layers[-1] else None) for layer in layers
        ]

    def forward(self, tiles: Tensor, size: int | None = None) -> Tensor:
        """uint8 tiles (B, H, W, 3) to logits (B, C), float32.

        Args:
            size: the side in pixels that the tiles are resized to, if not the transform's own.
        """
        x = self._patches(tiles, size)
        for block in self._blocks:
            if self.checkpointing and self.training:
                x = checkpoint(block, x, self.training, use_reentrant=False)
            else:
                x = block(x, self.training)
        x = self._norm(x.float())
        pooled = x[:, 0]
        if self._pools_patches:
            pooled = torch.cat([pooled, x[:, self._patches.specials :].mean(1)], 1)
        if len(self._heads) == 1:
            return self._heads[0](pooled)
        # A distilled DeiT has a head for each of its first tokens, and takes the mean.
        return torch.stack([head(x[:, token]) for token, head in enumerate(self._heads)]).mean(0)


class Block:
    """One transformer layer over the modules of transformers.

    Args:
        reads: how many of the first tokens are read of what it puts out; None for all.
    """

    def __init__(
        self, layer: Any, family: Family, dtype: torch.dtype, attention: str, reads: int | None
    ) -> None:
        own = layer.attention
        self.norms = [getattr(layer, name) for name in family.norms]
        self.head_dim = own.head_dim
        self.kernel = attention
        self.reads = reads
        if reads:
            self.queries, self.others = Product([own.q_proj], dtype), Product([own.k_proj, own.v_proj], dtype)
        else:
            self.all = Product([own.q_proj, own.k_proj, own.v_proj], dtype)
        self.out = Product([own.o_proj], dtype)
        gated = hasattr(layer.mlp, "gate_proj")
        self.widen = Product([layer.mlp.gate_proj, layer.mlp.up_proj] if gated else [layer.mlp.fc1], dtype)
        self.narrow = Product([layer.mlp.down_proj if gated else layer.mlp.fc2], dtype)
        self.gated = gated
        self.activation = layer.mlp.act_fn if gated else layer.mlp.activation_fn
        self.scales = [getattr(layer, name, None) for name in ("layer_scale1", "layer_scale2")]
        for part in (*self.norms, *filter(None, self.scales)):
            _cast_frozen(part, dtype)

    def __call__(self, x: Tensor, training: bool) -> Tensor:
        """(B, N, D) to the same, or to (B, reads, D)."""
        normed = _norm(self.norms[0], x)
        if self.reads:
            x = x[:, : self.reads]
            qkv = (
                self.queries(normed[:, : self.reads], training),
                *self.others(normed, training).chunk(2, -1),
            )
        else:
            qkv = self.all(normed, training).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for part in qkv)
        attended = attend(self.kernel, q, k, v).transpose(1, 2).flatten(2)
        x = _add(x, self.out(attended, training), self.scales[0])
        hidden = self.widen(_norm(self.norms[1], x), training)
        if self.gated:
            gate, up = hidden.chunk(2, -1)
            hidden = self.activation(gate) * up
        else:
            hidden = self.activation(hidden)
        return _add(x, self.narrow(hidden, training), self.scales[1])


class Product:
    """Linear layers that read the same input, as one product; and their low-rank updates as two more.

    A layer that PEFT adapts in another way than LoRA is computed by itself.
    """

    def __init__(self, layers: Sequence[Any], dtype: torch.dtype) -> None:
        self.layers = layers
        self.dtype = dtype
        self.adapted = [_is_lora(layer) for layer in layers]
        self.fused = all(a or type(layer) is nn.Linear for a, layer in zip(self.adapted, layers, strict=True))
        for layer in layers:
            _cast_frozen(layer, dtype)
        bases = [getattr(layer, "base_layer", layer) for layer in layers]
        self.weights = self._together([base.weight for base in bases])
        self.biases = [base.bias for base in bases]

    def _together(self, weights: list[nn.Parameter]) -> list[Tensor]:
        """Frozen weights as one tensor, of which the parameters become views: no byte is held twice."""
        if len(weights) == 1 or not self.fused or any(w.requires_grad for w in weights):
            return list(weights)
        whole = torch.cat([w.data for w in weights])
        for weight, part in zip(weights, whole.split([len(w) for w in weights]), strict=True):
            weight.data = part
        return [whole]

    def __call__(self, x: Tensor, training: bool) -> Tensor:
        """(..., in) to (..., the layers' outputs one after the other)."""
        if not self.fused:
            return torch.cat([layer(x).to(x.dtype) for layer in self.layers], -1)
        bias = None if self.biases[0] is None else _joined(self.biases).to(x.dtype)
        y = F.linear(x, _joined(self.weights).to(x.dtype), bias)
        return self._updated(y, x, training) if any(self.adapted) else y

    def _updated(self, y: Tensor, x: Tensor, training: bool) -> Tensor:
        """y + B A dropout(x) of each adapted layer, added in place."""
        updates = [
            _low_rank(layer) if adapted else None
            for layer, adapted in zip(self.layers, self.adapted, strict=True)
        ]
        share = max(update.share for update in updates if update) if training else 0.0
        dropped, kept = _dropout(x, share) if share else (x, 1.0)
        down = _joined([update.down for update in updates if update])
        up = torch.block_diag(
            *(
                update.up * (update.scaling / kept) if update else x.new_zeros(layer.out_features, 0)
                for layer, update in zip(self.layers, updates, strict=True)
            )
        )
        narrow = F.linear(dropped, down.to(x.dtype)).flatten(0, -2)
        return y.flatten(0, -2).addmm_(narrow, up.to(x.dtype).t()).view_as(y)


def _base(model: nn.Module) -> nn.Module:
    return model.get_base_model() if hasattr(model, "peft_config") else model  # type: ignore[operator]


def _cast_frozen(module: nn.Module, dtype: torch.dtype) -> None:
    for parameter in module.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _norm(norm: Any, x: Tensor) -> Tensor:
    return F.layer_norm(x, norm.normalized_shape, norm.weight.to(x.dtype), norm.bias.to(x.dtype), norm.eps)


def _add(x: Tensor, y: Tensor, scale: Any) -> Tensor:
    return x + y if scale is None else torch.addcmul(x, y, scale.lambda1.to(x.dtype))


def _is_lora(layer: Any) -> bool:
    """Whether PEFT adapts this layer by one low-rank update and nothing else."""
    if not hasattr(layer, "lora_A"):
        return False
    from peft.tuners.lora import Linear

    one = type(layer) is Linear and len(layer.active_adapters) == 1 and not layer.merged
    plain = one and not (layer.lora_variant or any(layer.lora_bias.values()) or layer.fan_in_fan_out)
    return bool(plain and type(layer.base_layer) is nn.Linear)


class _Update(NamedTuple):
    """One layer's low-rank update: A (r, in), B (out, r), the factor, and the share that dropout removes."""

    down: Tensor
    up: Tensor
    scaling: float
    share: float


def _low_rank(layer: Any) -> _Update:
    name = layer.active_adapters[0]
    share = getattr(layer.lora_dropout[name], "p", 0.0)
    return _Update(layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name], share)


def _dropout(x: Tensor, share: float) -> tuple[Tensor, float]:
    """x with a share of its elements zero, and what the rest must be divided by.

    On a CPU 16 random bits an element, drawn in words of 64, take a seventh of the time of torch's dropout;
    the share is then kept to 1 / 65,536.
    """
    if x.device.type != "cpu":
        return F.dropout(x, share), 1.0
    below = round(share * 2**16)
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    kept = words.view(torch.int16)[: x.numel()].view(x.shape) >= below - 2**15
    return x * kept, 1 - below / 2**16
