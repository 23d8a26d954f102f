"""Attribution maps: which patches of a tile support a class.

Attention weighted by its gradient and accumulated over the layers, after Chefer et al. (2021,
arXiv:2103.15679, equations 5 and 6). Unlike attention rollout (Abnar and Zuidema 2020, arXiv:2005.00928) it
is specific to a class, and it did better in their perturbation tests, which remove patches by attribution.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from orbitune.errors import ModelError
from orbitune.models.families.family import Family, last_norm_of, patch_side, vision_config

if TYPE_CHECKING:
    from torch import Tensor, nn


def attribution_map(model: "nn.Module", family: Family, *, pixels: "Tensor", label: int) -> np.ndarray:
    """Return the attribution of each patch for a class.

    Args:
        model: image classifier of transformers, with or without PEFT, in evaluation mode.
        family: architecture of the model.
        pixels: float32 (1, 3, S, S), after preprocessing.
        label: index of the class.

    Returns:
        float32 (S / patch, S / patch), >= 0; all 0 if no patch supports the class.

    Raises:
        ModelError: its attention does not connect all patches, or biases and poolings come between.
    """
    import torch

    if not family.has_attribution_map:
        raise ModelError(f"There is no attribution map for {family.title}; use a ViT, such as DINOv2.")

    base: Any = model.get_base_model() if hasattr(model, "peft_config") else model  # type: ignore[operator]
    normed: list[Tensor] = []
    norm = last_norm_of(base, family)
    hook = norm.register_forward_hook(lambda _module, _inputs, output: normed.append(output))
    with torch.enable_grad(), _eager_attention(base), hook:
        # The gradient has to reach the first layer, even if no parameter is trained.
        out = model(pixel_values=pixels.requires_grad_(), output_attentions=True, **family.forward)
        *gradients, normed_gradient = torch.autograd.grad(out.logits[0, label], [*out.attentions, *normed])
    with torch.no_grad():
        tokens = normed_gradient.shape[1]
        total = torch.eye(tokens, device=pixels.device)
        for weights, gradient in zip(out.attentions, gradients, strict=True):
            total += (weights[0] * gradient[0]).clamp_min(0).mean(0) @ total
        if family.reads_leading_tokens:
            attribution = total[0]
        else:  # a head that averages patches weighs each by its contribution to the logit
            attribution = (normed[0][0] * normed_gradient[0]).sum(1).clamp_min(0) @ total
    side = pixels.shape[-1] // patch_side(vision_config(base.config))
    return attribution[tokens - side * side :].view(side, side).cpu().numpy()  # other tokens come first


@contextmanager
def _eager_attention(model: Any) -> Iterator[None]:
    """Have a model compute its attention weights, which fused kernels do not return."""
    usual = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(usual)
