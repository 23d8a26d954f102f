"""What training needs of transformers' BEiT."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def make_indices_outside_inference(model: "nn.Module") -> None:
    """Have a model compute its cached position indices outside of inference mode.

    transformers caches them with the first batch. Autograd refuses tensors of inference mode, so a model that
    was evaluated first could not be trained.
    """
    for module in model.modules():
        if hasattr(module, "generate_relative_position_index"):
            module.register_forward_pre_hook(_make_index)


def _make_index(module: Any, arguments: tuple[Any, ...]) -> None:
    import torch

    with torch.inference_mode(False):
        module.generate_relative_position_index(arguments[0])
