"""Which modules of timm's models are blocks and normalisations, and which layers PEFT can adapt."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

# The blocks of ViTs, of EfficientNets, of hierarchical networks, of ResNets and of RegNets.
_LAYERS = (
    r"blocks\.\d+(\.\d+)?|(layers|stages)\.\d+(\.blocks)?\.\d+|layer\d+\.\d+|s\d+\.b\d+|cls_attn_blocks\.\d+"
)
_PROJECTIONS = {
    "qkv": "qkv",
    "kv": "kv",
    **{name: name[0] for name in ("q", "k", "v", "q_proj", "k_proj", "v_proj")},
}
_MLP = {"mlp.fc1": "fc1", "mlp.fc1_g": "fc1", "mlp.fc1_x": "up", "mlp.fc2": "fc2"}


def is_norm(module: "nn.Module") -> bool:
    """Return whether a module is a normalisation with parameters."""
    return (
        "norm" in type(module).__name__.lower() and next(module.parameters(recurse=False), None) is not None
    )


def layer_names(names: list[str]) -> list[str]:
    """Return the names of a model's blocks, in their order; none where they are named in another way."""
    found = [name for name in names if re.fullmatch(_LAYERS, name)]
    around = {name.rpartition(".")[0] for name in found}
    return [name for name in found if name not in around]


def role_ends(model: Any, layers: list[str], *, of: set[str]) -> dict[str, tuple[str, ...]]:
    """Return the ends of the names of all layers that PEFT can adapt, by role.

    Attention and MLP have the roles of all families; the role of any other layer is its name within a block.
    """
    roles: dict[str, str] = {}
    for name in _adaptable(model, of=of):
        layer = next((each for each in layers if name.startswith(f"{each}.")), None)
        if layers and layer is None:
            continue
        inside = name.removeprefix(f"{layer}.") if layer else name
        for role, end in _canonical(inside):
            taken = roles.setdefault(role, end)
            if not f".{inside}".endswith(f".{taken}"):
                roles.setdefault(inside, inside)
    return {role: (end,) for role, end in roles.items()}


def _adaptable(model: Any, *, of: set[str]) -> Iterator[str]:
    """Yield which modules are linear layers and plain convolutions, which PEFT adapts and merges exactly."""
    from torch import nn

    for name, module in model.named_modules():
        plain = type(module) is nn.Conv2d and module.groups == 1 and module.dilation == (1, 1)
        if name in of and (plain or isinstance(module, nn.Linear)):
            yield name


def _canonical(inside: str) -> list[tuple[str, str]]:
    """Return the roles of a layer, each with an end of its name."""
    *around, last = inside.split(".")
    if last in _PROJECTIONS:
        return [(role, last) for role in _PROJECTIONS[last]]
    if last == "proj" and around and re.search("attn|attention|xca", around[-1]):
        return [("o", f"{around[-1]}.proj")]
    end = f"{around[-1]}.{last}" if around else last
    if end in _MLP and "rel_pos" not in inside:
        return [(_MLP[end], end)]
    return [(inside, inside)]
