"""The classification head in the weight files of a saved model."""

from pathlib import Path

import numpy as np

from orbitune.errors import ModelError
from orbitune.models.families.family import Family, is_head
from orbitune.models.files.checkpoint_files import read_tensors, stored_shapes


def read_head(folder: Path, family: Family) -> tuple[np.ndarray, np.ndarray]:
    """Read the head of a saved model.

    The two heads of a distilled DeiT, whose mean is the output, are read as one head on the concatenation of
    their inputs.

    Args:
        folder: a saved model, see `checkpoint_io.save_model`.
        family: of its backbone.

    Returns:
        Weight, float32 (C, D), and bias, float32 (C,).

    Raises:
        ModelError: the folder holds no head, or a file is damaged.
    """
    heads = _find_heads(folder, family)
    stored = {name: tensor for file in {*heads.values()} for name, tensor in read_tensors(file).items()}
    found = [stored[name].float().numpy() for name in heads]
    return np.concatenate(found[::2], 1) / len(found[::2]), np.mean(found[1::2], 0)


def write_head(folder: Path, family: Family, *, weight: np.ndarray, bias: np.ndarray) -> None:
    """Replace the head of a saved model; its dtype and all other tensors stay.

    Args:
        folder: a saved model whose files may be changed.
        family: of its backbone.
        weight, bias: as `read_head` returns them.

    Raises:
        ModelError: the folder holds no head, a file is damaged, or a number is too large for the dtype.
    """
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    heads = _find_heads(folder, family)
    count = len(heads) // 2
    values = [each for part in np.split(count * weight, count, 1) for each in (part, bias)]
    new = {name: torch.from_numpy(value.copy()) for name, value in zip(heads, values, strict=True)}
    for file in {*heads.values()}:
        tensors = read_tensors(file)
        with safe_open(file, "pt") as opened:
            header = opened.metadata()
        for name in new.keys() & tensors.keys():
            tensors[name] = new[name].to(tensors[name].dtype)
            if not tensors[name].isfinite().all():
                raise ModelError(f"The new head is too large for {tensors[name].dtype}: use a float32 model.")
        save_file(tensors, file, header or {"format": "pt"})


def _find_heads(folder: Path, family: Family) -> dict[str, Path]:
    """Return the file of each head's weight and bias, heads in the family's order."""
    files = {name: file for file in sorted(folder.glob("*.safetensors")) for name in stored_shapes(file)}
    modules = {name.removesuffix(".weight") for name in files if name.endswith(".weight")}
    heads = [module for head in family.heads for module in sorted(modules) if is_head(module, head)]
    names = [f"{module}.{kind}" for module in heads for kind in ("weight", "bias")]
    if not names or not all(name in files for name in names):
        raise ModelError(f"{folder} holds no classification head with weights of its own.")
    return {name: files[name] for name in names}
