"""The device that a model is computed on."""

from typing import TYPE_CHECKING

from orbitune.errors import ModelError, first_line

if TYPE_CHECKING:
    import torch


def find_device(name: "str | torch.device | None" = None) -> "torch.device":
    """Return a device of torch.

    Args:
        name: such as cpu, cuda or cuda:1; None for the GPU if there is one.

    Raises:
        ModelError: there is no such device.
    """
    import torch

    if name is None:
        name = next((kind for kind in ("cuda", "mps") if getattr(torch, kind).is_available()), "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch raises both for a GPU that is not there
        raise ModelError(f"The device {name} cannot be used: {first_line(error)}.") from None
    return device
