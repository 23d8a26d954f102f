"""Decisions of the fast path: what is fused, and how; made once per model.

`plan_compute` looks at the model, the device, the dtype, the processor and the C compiler, and returns a plan
that says what was chosen and why. The other modules of this package compute what the plan says.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from orbitune.data.transform import Transform
from orbitune.fastpath.layer_modules import (
    LayerModules,
    LowRankLinear,
    backbone_of,
    base_model,
    layer_modules,
)
from orbitune.fastpath.native import library, variants
from orbitune.models.backbones import Backbone
from orbitune.models.compute_plan import ComputePlan
from orbitune.models.families.family import Family, head_names, vision_config
from orbitune.models.precision import has_instructions, product_method

# The products of the compiled kernels need widths that are multiples of it: whole registers of every variant.
LANES = 16
# Compiled attention: with more queries the scores of a head no longer fit a core's L2 cache.
_MOST_QUERIES = 512
# Plain attention: with more tokens torch's fused kernel is faster in half precision too.
_MOST_PLAIN_TOKENS = 1024
# Bytes of the matrices that fold resizing into the patch embedding: larger ones cost more than they save.
_LARGEST_FOLD = 64 << 20

LinearKind = Literal["plain", "lora", "peft"]


@dataclass(frozen=True)
class KernelPlan:
    """Which steps are computed by the compiled kernels.

    Attributes:
        compiled: GELU, dropout, residual add and LayerNorm.
        products: matrix products too; torch's (oneDNN's) otherwise.
        attention_queries: attention with at most this number of queries; 0 for never.
        variant: name of the kernels' variant; None where nothing is compiled.
        why_not: reason why nothing is compiled; None where something is.
    """

    compiled: bool
    products: bool = False
    attention_queries: int = 0
    variant: str | None = None
    why_not: str | None = None


@dataclass(frozen=True)
class LayerPlan:
    """How one transformer layer is computed.

    Attributes:
        linear: for each linear layer by name: `plain`; `lora`, fused with its low-rank update; or `peft`,
            called as PEFT wraps it.
        output_tokens: number of leading output tokens needed downstream; None for all.
        one_pass: whether the whole layer is one compiled pass, forward and backward.
        fused_mlp: whether the MLP is one compiled pass.
        compiled_norms: for each LayerNorm whether it is compiled with the residual add before it.
    """

    linear: dict[str, LinearKind]
    output_tokens: int | None
    one_pass: bool
    fused_mlp: bool
    compiled_norms: tuple[bool, bool]


@dataclass(frozen=True)
class FastPlan(ComputePlan):
    """How the fast path computes a model.

    Attributes:
        kernels: which steps are compiled.
        layers: a plan for each transformer layer.
    """

    kernels: KernelPlan = KernelPlan(False)
    layers: tuple[LayerPlan, ...] = ()


def plan_compute(
    model: nn.Module,
    family: Family,
    *,
    dtype: torch.dtype,
    tokens: int,
    attention: str | None = None,
) -> ComputePlan:
    """Return how a model is computed: a `FastPlan` where the fast path can.

    Args:
        model: classifier of transformers, wrapped by PEFT or not.
        dtype: dtype of activations and frozen weights.
        tokens: sequence length.
        attention: attention kernel of an earlier part of the same run; None for the faster one.
    """
    if reason := why_not_fast(model, family):
        return ComputePlan(False, dtype, "transformers", why_not_fast=reason)
    if attention is None:
        config, device = vision_config(base_model(model).config), next(model.parameters()).device
        head_dim = config.hidden_size // config.num_attention_heads
        attention = fastest_attention(tokens, dtype, device=device, head_dim=head_dim)
    return plan_fast_path(model, family, dtype=dtype, attention=attention)


def read_saved(folder: Path, backbone: Backbone, *, classes: int) -> nn.Module | None:
    """Read a saved model that the fast path can compute, without transformers and PEFT.

    Args:
        folder: an adapter or all weights, whose hashes were compared with the stored ones.
        backbone: of an adapter, with the hash that it was trained on.
        classes: number of classes.

    Returns:
        Modules in fp32 for `FastClassifier`, without a forward pass of their own; None for a model that only
        transformers and PEFT can read.
    """
    from orbitune.fastpath.reading.saved_model import read_classifier

    model = read_classifier(folder, backbone, classes=classes)
    return None if model is None or why_not_fast(model, backbone.family) else model


def why_not_fast(model: nn.Module, family: Family) -> str | None:
    """Return why the fast path cannot compute this model; None if it can."""
    if family.why_plain:
        return f"{family.title} is computed by transformers: {family.why_plain}"
    config = vision_config(base_model(model).config)
    random = ("hidden_dropout_prob", "attention_probs_dropout_prob", "attention_dropout", "drop_path_rate")
    if named := [name for name in random if getattr(config, name, 0)]:
        return f"the backbone's config.json sets {', '.join(named)}"
    if name := _adapted_elsewhere(model):
        return f"the adapter changes {name} in a way that the fast path does not support"
    return None


def plan_fast_path(model: nn.Module, family: Family, *, dtype: torch.dtype, attention: str) -> FastPlan:
    """Return the plan for a model that the fast path can compute; see `plan_compute`."""
    layers = layer_modules(model, family)
    sample = next(backbone_of(model, family).parameters()).new_empty(0, dtype=dtype)
    kernels = plan_kernels(sample, layers)
    reads = len(head_names(base_model(model), family)) if family.reads_leading_tokens else None
    plans, scale_before = [], None
    for layer in layers:
        output_tokens = reads if layer is layers[-1] else None
        plans.append(
            _plan_layer(
                layer, kernels, attention=attention, output_tokens=output_tokens, scale_before=scale_before
            )
        )
        scale_before = layer.scales[1]
    method = product_method(sample)
    return FastPlan(
        fast=True,
        dtype=dtype,
        attention=attention,
        compiled=kernels.compiled,
        why_not_compiled=kernels.why_not,
        products=f"compiled for {kernels.variant}, {method}" if kernels.compiled else method,
        kernels=kernels,
        layers=tuple(plans),
    )


def plan_kernels(sample: Tensor, layers: Collection[LayerModules] = ()) -> KernelPlan:
    """Return which steps are compiled, for tensors like `sample` and these widths.

    The compiled products are as fast as oneDNN's, and fusing the steps around them saves passes over memory.
    On processors with matrix instructions (AMX) oneDNN's products are far faster, so they are used.
    """
    if reason := why_not_compiled(sample.device, sample.dtype):
        return KernelPlan(False, why_not=reason)
    opened = library.open_library(sample.dtype).library
    assert opened is not None
    widths = {width for layer in layers for width in _widths(layer)}
    return KernelPlan(
        compiled=True,
        products=(sample.dtype == torch.float32 or not variants.has_amx())
        and all(width % LANES == 0 for width in widths),
        attention_queries=_MOST_QUERIES if all(layer.head_dim % LANES == 0 for layer in layers) else 0,
        variant=opened.variant.name,
    )


def why_not_compiled(device: torch.device, dtype: torch.dtype) -> str | None:
    """Return why kernels are not compiled for a device and dtype; None if they are."""
    if device.type != "cpu":
        return f"they are for CPUs, not for {device.type}"
    return library.open_library(dtype).why_not


def fastest_attention(tokens: int, dtype: torch.dtype, *, device: torch.device, head_dim: int) -> str:
    """Return the faster attention kernel at a sequence length, `plain` or `sdpa`.

    A rule, not a measurement, so that repeated runs give equal bytes. It was measured on one Zen 4 core,
    forward and backward, with 3 to 12 heads of 64. In bf16 `sdpa` takes 1.1 to 9 times as long as `plain` up
    to 1024 tokens. In fp32 it takes 1.0 to 1.6 times as long as the compiled kernel of `plain` up to 512
    tokens, and 0.5 to 1.1 times as long as products by torch, as where half precision is widened to fp32.

    Args:
        tokens: sequence length.
        dtype: dtype of queries, keys and values.
        device: where they are.
        head_dim: width of a head; the compiled kernels need whole vectors.

    Returns:
        "plain" or "sdpa".
    """
    if dtype == torch.float32:
        fits = tokens <= _MOST_QUERIES and head_dim % LANES == 0
        compiled = fits and why_not_compiled(device, dtype) is None
        return "plain" if compiled else "sdpa"
    halves = device.type == "cpu" and has_instructions(dtype)
    return "plain" if halves and tokens <= _MOST_PLAIN_TOKENS else "sdpa"


def can_fold_resizing(
    transform: Transform, sides: Sequence[int], *, patch: int, width: int, dtype: torch.dtype, bands: int = 3
) -> bool:
    """Return whether resizing and normalisation are folded into the patch embedding.

    Bilinear upsampling is linear. Bicubic resizing is not, as its overshoots are clipped.

    Args:
        sides: height and width of the tiles in pixels.
        patch: side of a patch in pixels of the model's input.
        width: embedding dimension.
        bands: number of bands of the tiles.
    """
    if not (transform.foldable and transform.resample == "bilinear" and transform.size > max(sides)):
        return False
    pixels = [visible_pixels(side, patch, size=transform.size) for side in sides]
    entries = (transform.size // patch) ** 2 * pixels[0] * pixels[1] * bands * width
    return entries * dtype.itemsize <= _LARGEST_FOLD


def visible_pixels(side: int, patch: int, *, size: int) -> int:
    """Return how many pixels along a tile's side one patch depends on.

    One neighbour is included at each end.

    Args:
        side: side of a tile in pixels.
        patch: side of a patch in pixels of the input.
        size: input size in pixels.

    Returns:
        A number of pixels, at most `side`.
    """
    return min(side, -(-patch * side // size) + 2)


def kind_of_linear(layer: Any) -> LinearKind:
    """Return how a linear layer is computed: `plain`, `lora`, or by `peft`."""
    if type(layer) is nn.Linear:
        return "plain"
    if isinstance(layer, LowRankLinear):
        return "lora"
    if not hasattr(layer, "lora_A"):
        return "peft"
    from peft.tuners.lora import Linear

    single = type(layer) is Linear and len(layer.active_adapters) == 1 and not layer.merged
    standard = single and not (layer.lora_variant or any(layer.lora_bias.values()) or layer.fan_in_fan_out)
    return "lora" if standard and type(layer.base_layer) is nn.Linear else "peft"


def _adapted_elsewhere(model: nn.Module) -> str | None:
    """Return the first module other than a linear layer that PEFT changes.

    Adapted linear layers are computed by calling them.
    """
    if not hasattr(model, "peft_config"):
        return None
    from peft.tuners.lora.layer import ParamWrapper
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in base_model(model).named_modules():
        if isinstance(module, BaseTunerLayer) and (
            isinstance(module, ParamWrapper) or not isinstance(module.get_base_layer(), nn.Linear)
        ):
            return name
    return None


def _widths(layer: LayerModules) -> set[int]:
    """Return the input and output widths of the layer's linear layers."""
    linear: list[Any] = [getattr(each, "base_layer", each) for each in layer.linear.values()]
    return {width for each in linear for width in each.weight.shape}


def _plan_layer(
    layer: LayerModules,
    kernels: KernelPlan,
    *,
    attention: str,
    output_tokens: int | None,
    scale_before: Tensor | None,
) -> LayerPlan:
    """Return the plan of a layer; `scale_before` is the layer scale before it."""
    kinds = {name: kind_of_linear(linear) for name, linear in layer.linear.items()}
    trained = {name for name, linear in layer.linear.items() if _base_is_trained(linear)}
    frozen = {name for name, kind in kinds.items() if kind == "plain"} - trained
    qkv = ("q_proj", "k_proj", "v_proj")
    mlp = (*layer.mlp_in, layer.mlp_out)
    norms = [_frozen(*norm.parameters()) for norm in layer.norms]
    standard_mlp = layer.is_gelu and not layer.gated and frozen.issuperset(mlp)
    one_pass = (
        kernels.products
        and kernels.attention_queries > 0
        and attention == "plain"
        and output_tokens is None
        and standard_mlp
        and "o_proj" in frozen
        and not any(kinds[name] == "peft" or name in trained for name in qkv)
        and all(norms)
        and _frozen(*layer.scales)
    )
    return LayerPlan(
        linear=kinds,
        output_tokens=output_tokens,
        one_pass=one_pass,
        fused_mlp=kernels.products and standard_mlp,
        compiled_norms=(
            kernels.compiled and norms[0] and _frozen(scale_before),
            kernels.compiled and norms[1] and _frozen(layer.scales[0]),
        ),
    )


def _base_is_trained(linear: Any) -> bool:
    """Return whether the weight or bias below any adapter is trained."""
    base = getattr(linear, "base_layer", linear)
    return not _frozen(base.weight, base.bias)


def _frozen(*tensors: Tensor | None) -> bool:
    return not any(tensor is not None and tensor.requires_grad for tensor in tensors)
