"""Which parts of a tile a prediction rests on: attention, weighted by its gradient, through all layers.

Chefer et al. 2021 (arXiv:2103.15679), equations 5 and 6 for self-attention. Unlike attention rollout (Abnar
and Zuidema 2020, arXiv:2005.00928) it asks about one class, and passes tests in which parts of the image are
removed by their attribution_map.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from orbitune.models.families import Family

if TYPE_CHECKING:
    from torch import Tensor, nn


def attribution_map(model: "nn.Module", family: Family, pixels: "Tensor", label: int) -> np.ndarray:
    """How much each patch speaks for a class.

    Args:
        model: a classifier of transformers with plain ("eager") attention, wrapped by PEFT or not, in
            evaluation mode.
        pixels: float32 (1, 3, S, S).
        label: the index of the class.

    Returns:
        float32 (S / patch, S / patch), 0 and more; 0 everywhere where nothing speaks for the class.
    """
    import torch

    base: Any = model.get_base_model() if hasattr(model, "peft_config") else model  # type: ignore[operator]
    normed: list[Tensor] = []
    norm = getattr(base, base.base_model_prefix).layernorm
    hook = norm.register_forward_hook(lambda _module, _inputs, output: normed.append(output))
    with torch.enable_grad():
        # A gradient has to reach the first attention, though no parameter may be trained.
        out = model(pixel_values=pixels.requires_grad_(), output_attentions=True, **family.forward)
        *gradients, of_normed = torch.autograd.grad(out.logits[0, label], [*out.attentions, *normed])
    hook.remove()
    with torch.no_grad():
        tokens = of_normed.shape[1]
        total = torch.eye(tokens)
        for weights, gradient in zip(out.attentions, gradients, strict=True):
            total += (weights[0] * gradient[0]).clamp_min(0).mean(0) @ total
        # A head that reads all patches hears each by as much as it adds to the logit.
        heard = (normed[0][0] * of_normed[0]).sum(1).clamp_min(0)
        read = total[0] if family.head_reads_class_token else heard @ total
    side = pixels.shape[-1] // base.config.patch_size
    return read[tokens - side * side :].view(side, side).numpy()  # other tokens come first
