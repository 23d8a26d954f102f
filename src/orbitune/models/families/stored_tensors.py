"""Checks of a checkpoint's weight files, before tiles are decoded and libraries imported."""

from collections.abc import Sequence
from pathlib import Path

from orbitune.errors import ModelError
from orbitune.models.families.family import Family, is_head
from orbitune.models.families.tensor_shapes import (
    UnknownModelError,
    current_names,
    is_headless,
    tensor_shapes,
)
from orbitune.models.files.checkpoint_files import check_config, checkpoint_shapes
from orbitune.models.files.finite_weights import check_stored_finite


def check_stored(folder: Path, family: Family, *, name: str) -> None:
    """Check that weight files are whole and hold the tensors that the config.json beside them implies.

    The numbers of these tensors are to be finite; of a family that the fast path does not compute, those of
    all its body. Which tensors that has, and what unknown names mean, is left to transformers when it loads
    them.

    Args:
        folder: of the checkpoint.
        family: of the checkpoint.
        name: of the checkpoint, for messages.

    Raises:
        ModelError: there are no weights in safetensors, or they are cut off, incomplete, of other
            sizes or not finite.
    """
    stored, config = checkpoint_shapes(folder), check_config(folder)
    headless = is_headless(stored, family)
    meant = {tensor: current_names(tensor, family, headless=headless) for tensor in stored}
    try:
        needed = tensor_shapes(config, family, channels=config.num_channels, classes=1)
    except UnknownModelError:
        check_stored_finite(folder, name=name, needed=lambda tensor: _is_in_body(meant[tensor][0], family))
        return
    needed = {tensor: shape for tensor, shape in needed.items() if not _is_in_head(tensor, family)}
    found: dict[str, tuple[int, ...]] = {}
    for tensor, shape in stored.items():
        names = meant[tensor]
        part = (shape[0] // len(names), *shape[1:]) if shape else shape
        found |= dict.fromkeys(names, part)
    lost = [tensor for tensor, shape in needed.items() if found.get(tensor) != shape]
    others = [tensor for tensor in found.keys() - needed.keys() if not _is_optional(tensor, family)]
    if lost and not (others and any(tensor not in found for tensor in lost)):
        raise misfit(name, lost)
    check_stored_finite(folder, name=name, needed=lambda tensor: bool(needed.keys() & meant[tensor]))


def misfit(name: str, lost: Sequence[str]) -> ModelError:
    """Return the error of a checkpoint whose files lack tensors, or have them in other shapes."""
    one = len(lost) == 1
    tensors = f"the tensor {lost[0]} is" if one else f"{len(lost):,} tensors, such as {lost[0]}, are"
    return ModelError(
        f"The weights of {name} do not fit its config.json: {tensors} missing or of another shape. Download "
        "the checkpoint again."
    )


def _is_in_body(tensor: str, family: Family) -> bool:
    """Return whether a tensor is loaded: not that of a head, a text encoder or a decoder."""
    return tensor.startswith(f"{family.body}.") and not _is_optional(tensor, family)


def _is_optional(tensor: str, family: Family) -> bool:
    return _is_in_head(tensor, family) or tensor.endswith(family.unused)


def _is_in_head(tensor: str, family: Family) -> bool:
    module = tensor.rpartition(".")[0]
    return any(is_head(module, head) for head in family.heads)
