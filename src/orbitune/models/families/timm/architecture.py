"""The names and sizes of timm's architectures, read off their modules.

timm has more than a thousand architectures, which name their parts in many ways. A model without weights
tells the names; which image sizes it reads is found by computing shapes.
"""

import functools
import json
import re
from dataclasses import dataclass, replace
from typing import Any

from orbitune.errors import ModelError, first_line
from orbitune.models.families.family import Family
from orbitune.models.families.timm.config import Pretrained
from orbitune.models.families.timm.installed import import_timm
from orbitune.models.families.timm.parts import is_norm, layer_names, role_ends

BODY = "timm_model"  # of transformers' wrapper
# Arguments by which an architecture of one size reads others; the first that it knows is used.
_ANY_SIZE: tuple[dict[str, Any], ...] = ({}, {"dynamic_img_size": True})
_LARGEST = 1 << 16  # of a number among the arguments
# Arguments of timm's `create_model` that read files, and of the wrapper.
_REFUSED = {
    "cache_dir",
    "checkpoint_path",
    "features_only",
    "model_name",
    "num_classes",
    "out_indices",
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "scriptable",
}


@dataclass(frozen=True)
class Architecture:
    """An architecture of timm with its arguments.

    Attributes:
        arguments: more arguments, by which it reads several image sizes.
        heads, projections, norms, layers, grids: full names of the modules, see `Family`.
        last_norm: below the body.
        roles: ends of the names of the layers to adapt.
        width: number of features.
        channels: number of bands.
        image_size: side of the images of the checkpoint in pixels.
        step: number of pixels that image sizes are multiples of.
        smallest, largest: image sizes in pixels; None for no largest one.
    """

    arguments: dict[str, Any]
    heads: tuple[str, ...]
    projections: tuple[str, ...]
    norms: tuple[str, ...]
    layers: tuple[str, ...]
    grids: tuple[str, ...]
    last_norm: str | None
    roles: dict[str, tuple[str, ...]]
    width: int
    channels: int
    image_size: int
    step: int
    smallest: int
    largest: int | None


def describe(config: Any) -> Architecture:
    """Describe the architecture of a configuration.

    Args:
        config: of transformers' wrapper.

    Raises:
        ModelError: timm does not know it, or it is none that can be fine-tuned here.
        MissingExtraError: timm is not installed.
    """
    stated = Pretrained.model_validate(getattr(config, "pretrained_cfg", None) or {})
    own = {name for each in _ANY_SIZE for name in each}
    arguments = {name: value for name, value in (config.model_args or {}).items() if name not in own}
    return _describe(config.architecture, json.dumps(arguments, sort_keys=True), tuple(stated.input_size[1:]))


def configure(config: Any, channels: int | None) -> None:
    """Complete a configuration of the wrapper: arguments for several image sizes, and its sizes.

    Args:
        config: is changed.
        channels: number of bands to read, where it is not the checkpoint's.

    Raises:
        ModelError: as `describe`.
    """
    more = {} if channels is None else {"in_chans": channels}
    config.model_args = {**(config.model_args or {}), **more}
    found = describe(config)
    config.model_args |= found.arguments
    config.num_channels, config.hidden_size, config.image_size = (
        found.channels,
        found.width,
        found.image_size,
    )


def name_parts(family: Family, config: Any) -> Family:
    """Return the family with the names of an architecture's parts.

    Raises:
        ModelError: as `describe`.
    """
    found = describe(config)
    first, *others = found.projections
    return replace(
        family,
        heads=found.heads,
        roles=found.roles,
        grids=found.grids,
        last_norm=found.last_norm,
        other_norms=found.norms,
        layer_names="|".join(map(re.escape, found.layers)) or "(?!)",
        projection=first,
        other_projections=tuple(others),
    )


@functools.lru_cache(maxsize=64)
def _describe(architecture: str, arguments: str, image_size: tuple[int, int]) -> Architecture:
    timm = import_timm()
    given: dict[str, Any] = json.loads(arguments)
    whose = f"timm's architecture {architecture!r}"
    _check(architecture, given, known=timm.is_model(architecture))
    if len(set(image_size)) > 1:
        raise ModelError(f"{whose} is not supported: its images are not square.")
    size = image_size[0]
    reasons = []
    for more in _ANY_SIZE:
        try:
            model = _build(timm, architecture, {**given, **more})
            _run(model, size)
        except Exception as error:  # timm raises any type of error on arguments that do not fit
            reasons.append(first_line(error))
            continue
        reduction = _reduction(model) or size
        steps = (reduction, size) if size % reduction == 0 else (size,)
        if step := next((step for step in steps if _runs(model, size + step)), None):
            return _read(model, more, size=size, step=step, whose=whose)
    if len(reasons) == len(_ANY_SIZE):
        raise ModelError(f"{whose} cannot be built: {reasons[0]}.")
    return _read(_build(timm, architecture, given), {}, size=size, step=None, whose=whose)


def _check(architecture: str, arguments: dict[str, Any], *, known: bool) -> None:
    """Check the name and the arguments of an architecture, before timm follows them to files or the hub."""
    if not (known and re.fullmatch(r"\w+", architecture)):
        raise ModelError(
            f"timm's architecture {architecture!r} is not known to the installed timm. Update it, or check "
            "the config.json."
        )
    for name, value in arguments.items():
        values = value if isinstance(value, list) else [value]
        if name in _REFUSED or not all(
            each is None or isinstance(each, bool | int | float | str) for each in values
        ):
            raise ModelError(f"The model_args of timm's {architecture!r} set {name}, which is not supported.")
        if any(isinstance(each, int | float) and not abs(each) <= _LARGEST for each in values):
            raise ModelError(f"The model_args of timm's {architecture!r} set {name} to {value}.")


def _build(timm: Any, architecture: str, arguments: dict[str, Any]) -> Any:
    """Build a model without weights, with a head of two classes."""
    import torch

    with torch.device("meta"):
        return timm.create_model(architecture, pretrained=False, num_classes=2, **arguments).eval()


def _run(model: Any, size: int) -> None:
    """Compute shapes for an image.

    Raises:
        Exception: of any type, where the model does not read images of this size.
    """
    import torch

    with torch.inference_mode():
        model(torch.empty(1, _channels(model), size, size, device="meta"))


def _runs(model: Any, size: int) -> bool:
    try:
        _run(model, size)
    except Exception:  # see `_run`
        return False
    return True


def _channels(model: Any) -> int:
    """Return the number of bands that the first convolution reads."""
    names = _stated(model, "first_conv")
    if not names:
        raise ValueError("it names no convolution that reads pixels")
    return int(model.get_submodule(names[0]).in_channels)


def _stated(model: Any, key: str) -> list[str]:
    """Return names of modules, which timm states as one name or several."""
    names = model.pretrained_cfg.get(key) or []
    return [names] if isinstance(names, str) else list(names)


def _reduction(model: Any) -> int | None:
    """Return the number of pixels along a side of the last features."""
    stages = getattr(model, "feature_info", None) or []
    reduction = dict(stages[-1]).get("reduction") if len(stages) else None
    return reduction if isinstance(reduction, int) else None


def _read(model: Any, more: dict[str, Any], *, size: int, step: int | None, whose: str) -> Architecture:
    """Read the names of a model's parts."""
    from torch import nn

    heads, projections = _stated(model, "classifier"), _stated(model, "first_conv")
    if odd := [name for name in heads if not isinstance(model.get_submodule(name), nn.Linear)]:
        kind = type(model.get_submodule(odd[0])).__name__
        raise ModelError(f"{whose} is not supported: its head is no linear layer ({kind}).")
    called = _called(model, size)
    if not heads or any(called.get(head) != 2 for head in heads):
        raise ModelError(f"{whose} is not supported: its head reads more than one vector an image.")
    names = [name for name, _ in model.named_modules()]
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    norms = [name for name, module in model.named_modules() if is_norm(module)]
    layers = layer_names(names)
    end = names.index(layers[-1]) if layers else 0
    outside = [name for name in norms if names.index(name) > end and not name.startswith(tuple(layers))]
    smallest = size if step is None else _smallest(model, step, size=size)
    return Architecture(
        arguments=more,
        heads=tuple(f"{BODY}.{name}" for name in heads),
        projections=tuple(projections),
        norms=tuple(f"{BODY}.{name}" for name in norms),
        layers=tuple(f"{BODY}.{name}" for name in layers),
        grids=tuple(f"{BODY}.{name}" for name in linear if called.get(name) == 4),
        last_norm=outside[-1] if outside else None,
        roles=role_ends(model, layers, of=called.keys() - {*heads, *projections}),
        width=int(model.get_submodule(heads[0]).in_features),
        channels=_channels(model),
        image_size=size,
        step=step or size,
        smallest=smallest,
        largest=size if step is None else None,
    )


def _called(model: Any, size: int) -> dict[str, int]:
    """Return the names of the layers that a forward pass calls, with the dimensions of their inputs.

    Some blocks read the weight of a layer in place of calling it. PEFT would adapt such a layer to no effect.
    """
    called: dict[str, int] = {}

    def note(name: str, module: Any, inputs: Any) -> None:
        called[name] = inputs[0].ndim

    handles = [
        module.register_forward_pre_hook(functools.partial(note, name))
        for name, module in model.named_modules()
        if hasattr(module, "weight")
    ]
    _run(model, size)
    for handle in handles:
        handle.remove()
    return called


def _smallest(model: Any, step: int, *, size: int) -> int:
    """Return the smallest multiple of `step` that a model reads.

    Batch normalisation needs several features of an image in training.
    """
    from torch.nn.modules.batchnorm import _BatchNorm

    batches = any(isinstance(module, _BatchNorm) for module in model.modules())
    first = step if not batches or step == size else 2 * step
    return next(each for each in range(first, size + 1, step) if each == size or _runs(model, each))
