"""What several image sizes need of transformers' Swin."""

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def keep_windows(model: "nn.Module") -> None:
    """Have a model choose its windows for each batch anew.

    A layer of transformers whose input is no larger than its window shrinks the window and stops shifting
    it, and would not for later, larger batches either.
    """
    for module in model.modules():
        if hasattr(module, "set_shift_and_window_size"):
            sizes = {"window_size": module.window_size, "shift_size": module.shift_size}
            module.register_forward_pre_hook(partial(_restore, sizes))


def _restore(sizes: dict[str, Any], module: Any, arguments: tuple[Any, ...]) -> None:
    vars(module).update(sizes)
