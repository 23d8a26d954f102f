"""What training needs of batch normalisation."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def keep_frozen_statistics(model: "nn.Module") -> None:
    """Have frozen batch normalisations use their stored statistics in training too.

    An adapter does not hold them. If training changed them, the saved adapter over the checkpoint would give
    other outputs.
    """
    from torch.nn.modules.batchnorm import _BatchNorm

    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.register_forward_pre_hook(_leave_training_mode_if_frozen)


def _leave_training_mode_if_frozen(module: Any, arguments: tuple[Any, ...]) -> None:
    if module.weight is None or not module.weight.requires_grad:
        module.eval()
