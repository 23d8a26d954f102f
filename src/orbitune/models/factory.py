"""Model factory: resolve a recipe's open settings, build and check the model."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from orbitune.data.augment import kept_patches
from orbitune.errors import ModelError
from orbitune.machine.gpu import may_have_gpu
from orbitune.models.backbones import Backbone, empty_model, load_weights
from orbitune.models.families.family import Family, layer_names, token_count
from orbitune.models.lineage.fine_tuned import open_backbone
from orbitune.models.metadata import ParameterCounts
from orbitune.models.methods import METHODS, count_parameters, find_method
from orbitune.models.token_merging import check_merging
from orbitune.recipe import Recipe
from orbitune.recipe_paths import SCRATCH
from orbitune.records import Record

if TYPE_CHECKING:
    from torch import nn


# Activations of a layer that a processor's caches hold well, in numbers; measured with ViT-Tiny and DINOv2-S.
_CACHED = 1 << 20
SCRATCH_RATE = 2e-3  # of random weights; those of methods are for pretrained ones
_AUTO = 1.75  # times the tiles' own size: 112 pixels for EuroSAT
_NEEDS_TF32 = "Precision tf32 needs an NVIDIA GPU of the Ampere generation or later. Choose bf16 or fp32."


def check_precision(recipe: Recipe) -> None:
    """Check that there may be the GPU that a precision needs, without importing torch.

    Raises:
        ModelError: there is none for tf32.
    """
    if recipe.precision == "tf32" and not may_have_gpu():
        raise ModelError(_NEEDS_TF32)


def resolve(recipe: Recipe, backbone: Backbone, *, tile: Sequence[int] = ()) -> Recipe:
    """Resolve a recipe's open settings.

    Args:
        recipe: with None, `native` or `auto` for open settings.
        backbone: the checkpoint.
        tile: height and width of the tiles in pixels, for `native` and `auto` sizes.

    Raises:
        ModelError: an image size is no multiple of the backbone's patch size, or there is no GPU with TF32.
    """
    from orbitune.models.precision import has_tf32

    check_trained_whole(recipe)
    asked = recipe.sizes or ((recipe.image_size, 1.0),)
    sizes = tuple((image_size(size, backbone, tile=tile), fraction) for size, fraction in asked)
    size = sizes[-1][0]
    recipe = recipe.replace(image_size=size, sizes=sizes if recipe.sizes else None)
    check_fit(recipe, backbone)
    if recipe.precision == "tf32" and not has_tf32():
        raise ModelError(_NEEDS_TF32)
    if recipe.patch_dropout and (backbone.family.rotary or backbone.family.why_plain):
        raise ModelError(
            f"Patches of {backbone.family.title} cannot be left out (--patch-dropout): its attention depends "
            "on where each one is. Leave it out."
        )
    return recipe.replace(
        learning_rate=recipe.learning_rate or default_learning_rate(recipe),
        precision=recipe.precision or native_precision(),
        augment=recipe.augment or ("flips" if recipe.cache_frozen else "sensor"),
        micro_batch=min(
            recipe.batch_size, recipe.micro_batch or _micro_batch(size, recipe, backbone=backbone)
        ),
    )


def default_learning_rate(recipe: Recipe) -> float:
    """Return the learning rate of a recipe that names none: the method's, or that of random weights."""
    return SCRATCH_RATE if recipe.backbone == SCRATCH else find_method(recipe.method).learning_rate


def check_trained_whole(recipe: Recipe) -> None:
    """Check that a recipe trains all weights of a network whose weights are random.

    Raises:
        ModelError: it trains some of them.
    """
    if recipe.backbone == SCRATCH and recipe.method != "full":
        raise ModelError(
            f"The weights of --backbone {SCRATCH} are random, so all of them have to be trained: pass "
            f"--method full, not {recipe.method}."
        )


def image_size(asked: int | str | None, backbone: Backbone, *, tile: Sequence[int]) -> int:
    """Return an image size in pixels for a number, `native`, `auto`, `half` (of `auto`) or None."""
    step = backbone.step
    if asked == "half":
        half = image_size("auto", backbone, tile=tile) / 2
        return max(math.ceil(half / step) * step, backbone.smallest)
    if asked == "native":
        return max(-(-max(tile) // step) * step, backbone.smallest)
    if asked == "auto":
        return min(max(backbone.smallest, round(_AUTO * max(tile) / step) * step), backbone.image_size)
    return int(asked or backbone.image_size)


def check_fit(recipe: Recipe, backbone: Backbone) -> None:
    """Check that image sizes, token merging and layer freezing of a recipe suit the backbone.

    Raises:
        ModelError: see `check_sizes` and `check_merging`; or layers that should be frozen do not follow one
            another alike.
    """
    check_sizes(recipe, backbone)
    sizes = [size for size in _image_sizes(recipe) if isinstance(size, int)]
    if recipe.merge_tokens:
        patches = kept_patches((min(sizes) // backbone.step) ** 2, recipe.patch_dropout) if sizes else None
        check_merging(recipe.merge_tokens, backbone, patches=patches)
    family = backbone.family
    if recipe.freeze_layers and family.why_plain:
        raise ModelError(
            f"The first layers of {family.title} cannot be frozen while training (--freeze-layers): "
            f"{family.why_plain}. Leave it out."
        )


def _image_sizes(recipe: Recipe) -> list[int | str | None]:
    """Return all image sizes that a recipe states."""
    return [recipe.image_size, *(size for size, _ in recipe.sizes or ())]


def check_sizes(recipe: Recipe, backbone: Backbone) -> None:
    """Check that the image sizes that a recipe states suit the backbone.

    Raises:
        ModelError: one is no multiple of its patches, or smaller than it can read.
    """
    step, smallest = backbone.step, backbone.smallest
    for size in _image_sizes(recipe):
        if not isinstance(size, int) or (size % step == 0 and smallest <= size <= (backbone.largest or size)):
            continue
        if backbone.largest == smallest:
            raise ModelError(
                f"An image size of {size} does not suit {backbone.name}, which reads {smallest} pixels "
                f"alone; use {smallest}."
            )
        below = size // step * step
        fits = f"{below} or {below + step}" if below >= smallest else f"{max(smallest, below + step)}"
        least = f" and whose smallest size is {smallest}" if smallest > step else ""
        raise ModelError(
            f"An image size of {size} does not suit {backbone.name}, whose patches are {step} pixels "
            f"wide{least}; use {fits}."
        )


def _check_frozen_layers(model: "nn.Module", family: Family, *, recipe: Recipe) -> None:
    """Check that freezing layers leaves some that are trained, and freezes some that were.

    Raises:
        ModelError: it freezes all layers, or none that the method trains.
    """
    counts = [count for count, _ in recipe.freeze_layers or ()]
    if not counts:
        return
    layers = [model.get_submodule(name) for name in layer_names(model, family)]
    if counts[-1] >= len(layers):
        raise ModelError(
            f"--freeze-layers {counts[-1]} leaves no layer to train, as the backbone has {len(layers)}: "
            f"freeze at most {len(layers) - 1}."
        )
    trained = [any(p.requires_grad for p in layer.parameters()) for layer in layers]
    if not any(trained[: counts[0]]):
        raise ModelError(
            f"--freeze-layers {counts[0]} is without effect: the first layer that is trained is number "
            f"{trained.index(True) + 1}."
        )


def _check_kept_head(backbone: Backbone, classes: Sequence[str]) -> None:
    """Check that the head of a backbone has these classes, for a recipe that keeps it.

    Raises:
        ModelError: it has others, or there is no head.
    """
    own = tuple(name for _, name in sorted((backbone.config.id2label or {}).items()))
    if own != tuple(classes):
        raise ModelError(
            f"The head of {backbone.name} cannot be kept (--keep-head): its classes are {', '.join(own)}, "
            f"those of the tiles are {', '.join(classes)}."
        )


def _micro_batch(size: int, recipe: Recipe, *, backbone: Backbone) -> int:
    """Return the micro-batch size: what fits a CPU's caches; on a GPU the batch."""
    import torch

    if torch.cuda.is_available():
        return recipe.batch_size
    a_tile = int(token_count(size, backbone.step) * (1 - recipe.patch_dropout)) * backbone.width
    return 1 << max(0, (_CACHED // max(1, a_tile)).bit_length() - 1)


def native_precision() -> str:
    """Return the fastest precision that the GPU or processor multiplies natively.

    Returns:
        bf16; fp16 on an older GPU; fp32 on an older processor.
    """
    import torch

    from orbitune.models.precision import has_instructions

    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if has_instructions(torch.bfloat16) else "fp32"


def build(recipe: Recipe, backbone: Backbone, *, classes: tuple[str, ...]) -> "nn.Module":
    """Load a backbone and apply the method of a recipe.

    Args:
        recipe: resolved, see `resolve`.
        backbone: the checkpoint.
        classes: class names, in the order of the logits.

    Returns:
        A model of transformers, wrapped by PEFT where the method is one of PEFT's; in fp32, on the CPU.

    Raises:
        ModelError: the weights cannot be loaded, the head that should be kept has other classes, or the
            counts differ from those of `plan_parameters`, or layers that should be frozen cannot be.
    """
    method = find_method(recipe.method)
    if recipe.keep_head:
        _check_kept_head(backbone, classes)
    loaded = load_weights(backbone, classes, seed=recipe.seed, keep_head=recipe.keep_head)
    model = method.apply(loaded, backbone.family, recipe=recipe)
    _check_frozen_layers(model, backbone.family, recipe=recipe)
    built, planned = (
        count_parameters(model, backbone.family),
        plan_parameters(recipe, backbone, classes=classes),
    )
    if built != planned:
        raise ModelError(f"The model differs from its plan: {built} parameters, not {planned}.")
    return model


def plan_parameters(recipe: Recipe, backbone: Backbone, *, classes: tuple[str, ...]) -> ParameterCounts:
    """Count the parameters of a recipe's model, without loading weights."""
    model = find_method(recipe.method).apply(empty_model(backbone, classes), backbone.family, recipe=recipe)
    return count_parameters(model, backbone.family)


class MethodDescription(Record):
    """A fine-tuning method, with its parameter counts on a backbone.

    Attributes:
        name, title, summary, paper, folder, learning_rate: see `orbitune.models.methods.Method`.
        merges: whether the adapter can be merged into the backbone.
        parameters: None without a backbone.
    """

    name: str
    title: str
    summary: str
    paper: str
    folder: str
    learning_rate: float
    merges: bool
    parameters: ParameterCounts | None


def describe_methods(backbone: str | None, classes: int) -> list[MethodDescription]:
    """Describe every method, with its parameter counts if a backbone is given.

    No weights are loaded. Methods that cannot adapt the backbone are left out.

    Args:
        backbone: hub id, folder or `demo`; None to count no parameters.
        classes: number of classes of the head.

    Raises:
        OrbituneError: the backbone cannot be found.
    """
    found = None if backbone is None else open_backbone(backbone)
    names = tuple(map(str, range(classes)))
    described = []
    for method in METHODS.values():
        recipe = Recipe(method=method.name)
        try:
            parameters = None if found is None else plan_parameters(recipe, found, classes=names)
        except ModelError:
            if method.peft_type is None:  # it adapts every backbone
                raise
            continue
        described.append(
            MethodDescription(
                name=method.name,
                title=method.title,
                summary=method.summary,
                paper=method.paper,
                folder=method.folder,
                learning_rate=method.learning_rate,
                merges=method.folder == "adapter",
                parameters=parameters,
            )
        )
    return described
