"""Functions that apply each fine-tuning method to a loaded classifier.

They use PEFT where it has the method. All read the same settings, `Recipe.lora`. A method whose own size is
not a rank derives it from the rank, so that the default is what its authors compare with LoRA of rank 8, and
a higher rank is a larger update.
"""

from typing import TYPE_CHECKING, Any

from orbitune.errors import ModelError, first_line
from orbitune.models.families.family import (
    Family,
    available_roles,
    layer_names,
    resolve_targets,
    trained_whole,
    vision_config,
)
from orbitune.recipe import Recipe
from orbitune.recipe_settings import ATTENTION

if TYPE_CHECKING:
    from torch import nn

TOP_LAYERS = 2  # how many the method `topk` trains where the recipe does not say


def full(model: "nn.Module", family: Family, *, recipe: Recipe) -> "nn.Module":
    """Train every weight that plays a part in classification."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.endswith(family.unused))
    return model


def linear(model: "nn.Module", family: Family, *, recipe: Recipe) -> "nn.Module":
    """Train the head."""
    return _train_modules(model, family, names=trained_whole(model, family))


def norm(model: "nn.Module", family: Family, *, recipe: Recipe) -> "nn.Module":
    """Train the head, and scale and shift of all layer normalisations."""
    return _train_modules(model, family, names=[*trained_whole(model, family), *family.norm_names])


def topk(model: "nn.Module", family: Family, *, recipe: Recipe) -> "nn.Module":
    """Train the head, the last layers whole, and the last normalisation."""
    layers = _last_layers(model, family, count=recipe.lora.top_layers or TOP_LAYERS)
    last = [f"{family.body}.{family.last_norm}"] if family.last_norm else []
    return _train_modules(model, family, names=[*trained_whole(model, family), *layers, *last])


def bitfit(model: "nn.Module", family: Family, *, recipe: Recipe) -> "nn.Module":
    """Train the head and all biases."""
    return _train_modules(model, family, names=trained_whole(model, family), bias="all")


def _train_modules(model: "nn.Module", family: Family, *, names: list[str], **more: Any) -> "nn.Module":
    """Train whole modules in a PEFT model without adapted layers."""
    from peft import LoraConfig
    from peft.tuners.tuners_utils import DUMMY_TARGET_MODULES

    config = LoraConfig(target_modules=DUMMY_TARGET_MODULES, modules_to_save=names, **more)
    return _peft(model, config, family=family)


def lora(model: "nn.Module", family: Family, *, recipe: Recipe, **more: Any) -> "nn.Module":
    """Train the head and low-rank updates, scaled by alpha / rank (LoRA).

    Args:
        more: settings of PEFT's LoraConfig that override the recipe's.
    """
    from peft import LoraConfig

    convolutions = more.get("init_lora_weights") is None  # PiSSA decomposes matrices
    settings = recipe.lora
    values = _adapter_settings(model, family, recipe=recipe, convolutions=convolutions)
    values |= {"r": settings.rank, "lora_alpha": settings.alpha, "lora_dropout": settings.dropout}
    return _peft(model, LoraConfig(**{**values, **more}), family=family)


def rslora(model: "nn.Module", family: Family, *, recipe: Recipe) -> "nn.Module":
    """Train the head and LoRA scaled by alpha / sqrt(rank) (rsLoRA)."""
    return lora(model, family, recipe=recipe, use_rslora=True)


def loraall(model: "nn.Module", family: Family, *, recipe: Recipe) -> "nn.Module":
    """Train the head and LoRA of all linear layers, and of convolutions where the network has them."""
    if recipe.lora.targets not in (ATTENTION, ("all",)):
        raise ModelError("Method loraall adapts all layers; leave out --lora-targets, or choose method lora.")
    settings = recipe.lora.model_copy(update={"targets": ("all",)})
    return lora(model, family, recipe=recipe.model_copy(update={"lora": settings}))


def dora(model: "nn.Module", family: Family, *, recipe: Recipe) -> "nn.Module":
    """Train the head, LoRA of the directions of weight rows, and their norms (DoRA)."""
    return lora(model, family, recipe=recipe, use_dora=True)


def pissa(model: "nn.Module", family: Family, *, recipe: Recipe) -> "nn.Module":
    """Train the head and LoRA that starts from the largest singular values (PiSSA).

    The frozen weights lose these values. What is saved is a plain LoRA of twice the rank over the original
    weights, W + B A - B0 A0, so that they can be shared with other adapters; see
    `orbitune.models.methods.state_to_save`. (PEFT's own conversion would leave out the head.)
    """
    from peft.tuners.lora import Linear

    # Without weights there is nothing to decompose; the shapes are LoRA's.
    start = True if next(model.parameters()).is_meta else "pissa"
    # Dropout would take away parts of the pretrained weights themselves.
    adapted: Any = lora(model, family, recipe=recipe, init_lora_weights=start, lora_dropout=0.0)
    for layer in adapted.modules():
        if isinstance(layer, Linear):
            for name in ("lora_A", "lora_B"):
                first = getattr(layer, name)["default"].weight.detach().clone()
                layer.register_buffer(f"first_{name}", first, persistent=False)
    config = adapted.peft_config["default"]
    config.r, config.lora_alpha, config.init_lora_weights = 2 * config.r, 2 * config.lora_alpha, True
    return adapted


def adalora(model: "nn.Module", family: Family, *, recipe: Recipe) -> "nn.Module":
    """Train the head and LoRA as singular triplets of 1.5 x final rank (AdaLoRA).

    Masked triplets stay in the file, as zeros. `orbitune.models.adalora` has the schedule.
    """
    from peft import AdaLoraConfig

    settings = recipe.lora
    config = AdaLoraConfig(
        **_adapter_settings(model, family, recipe=recipe),
        target_r=settings.rank,
        init_r=settings.rank + (settings.rank + 1) // 2,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        total_step=1,  # PEFT asks for it here; the schedule knows it
    )
    adapted = _peft(model, config, family=family)
    for name, parameter in adapted.named_parameters():
        if ".ranknum." in name:  # a constant, which PEFT would train on the meta device
            parameter.requires_grad_(False)
    return adapted


def vera(model: "nn.Module", family: Family, *, recipe: Recipe) -> "nn.Module":
    """Train the head and two vectors per layer on shared random matrices (VeRA).

    The authors compare rank 256 with LoRA's 8. The matrices are saved, as random draws may differ between
    versions of torch.
    """
    from peft import VeraConfig

    config = VeraConfig(
        **_adapter_settings(model, family, recipe=recipe, convolutions=False),
        r=32 * recipe.lora.rank,
        vera_dropout=recipe.lora.dropout,
        save_projection=True,
    )
    return _peft(model, config, family=family)


def randlora(model: "nn.Module", family: Family, *, recipe: Recipe) -> "nn.Module":
    """Train the head and scales of shared random bases of full rank (RandLoRA).

    PEFT's defaults, bases of rank 32 and a factor of 20, correspond to the default rank and alpha. With a
    lower rank there are more bases, and more scales.
    """
    from peft import RandLoraConfig

    settings = recipe.lora
    rank = max(1, 256 // settings.rank)
    config = RandLoraConfig(
        **_adapter_settings(model, family, recipe=recipe, convolutions=False),
        r=rank,
        randlora_alpha=10 * settings.alpha * rank // settings.rank,
        randlora_dropout=settings.dropout,
    )
    return _peft(model, config, family=family)


def fourierft(model: Any, family: Family, *, recipe: Recipe) -> "nn.Module":
    """Train the head and a few Fourier coefficients of the updates (FourierFT).

    The number of coefficients is 128 times the rank: 1,024 at the default, which the authors compare with
    LoRA of rank 8. Their scaling for ViT-Base is 300 at the default alpha and rank; it grows with the width,
    because the inverse transform divides by the layer's size.
    """
    from peft import FourierFTConfig

    settings = recipe.lora
    scaling = 150 * settings.alpha / settings.rank * vision_config(model.config).hidden_size / 768
    config = FourierFTConfig(
        **_adapter_settings(model, family, recipe=recipe, convolutions=False),
        n_frequency=128 * settings.rank,
        scaling=scaling,
        init_weights=True,
    )
    return _peft(model, config, family=family)


def oft(model: Any, family: Family, *, recipe: Recipe) -> "nn.Module":
    """Train the head and rotations of blocks of a layer's inputs (OFT).

    Blocks of 4 times the rank have about as many parameters as LoRA of that rank.

    Raises:
        ModelError: the block size does not divide the width of the backbone, or PEFT cannot rotate the inputs
            of its layers.
    """
    from peft import OFTConfig

    block = 4 * recipe.lora.rank
    settings = _adapter_settings(model, family, recipe=recipe, convolutions=False)
    ends = tuple(settings["target_modules"])
    layers: dict[str, Any] = {n: module for n, module in model.named_modules() if n.endswith(ends)}
    if read := [
        name for name in family.grids if name in layers
    ]:  # PEFT takes their inputs for a convolution's
        raise ModelError(
            f"PEFT's OFT cannot rotate the inputs of {read[0]}, which are grids (B, H, W, D). Choose other "
            "targets, or another method."
        )
    widths = {layer.in_features for layer in layers.values()}
    if undivided := sorted(width for width in widths if width % block):
        raise ModelError(
            f"OFT rotates blocks of 4 * rank = {block} inputs, which do not divide a width of "
            f"{undivided[0]}; choose another rank."
        )
    return _peft(model, OFTConfig(**settings, oft_block_size=block), family=family)


def ia3(model: "nn.Module", family: Family, *, recipe: Recipe) -> "nn.Module":
    """Train the head and scales of keys, values and the MLP's hidden units ((IA)3)."""
    from peft import IA3Config

    layers = _adapted_layers(model, family, recipe=recipe)
    available = available_roles(model, family)
    # In networks without attention, the outputs of all other layers are scaled.
    outputs = tuple(filter(available.get, ("k", "v"))) or tuple(role for role in available if role != "fc2")
    inputs = tuple(filter(available.get, ("fc2",)))
    attention, mlp = (
        resolve_targets(model, family, targets=roles, layers=layers) if roles else []
        for roles in (outputs, inputs)
    )
    config = IA3Config(
        target_modules=[*attention, *mlp],
        feedforward_modules=mlp,
        modules_to_save=trained_whole(model, family),
    )
    return _peft(model, config, family=family)


def _adapter_settings(
    model: "nn.Module", family: Family, *, recipe: Recipe, convolutions: bool = True
) -> dict[str, Any]:
    """Return the common settings of PEFT's configurations.

    Args:
        model: the backbone.
        family: of the backbone.
        recipe: settings of the method.
        convolutions: whether PEFT has the method for convolutions.
    """
    layers = _adapted_layers(model, family, recipe=recipe)
    return {
        "target_modules": resolve_targets(
            model, family, targets=recipe.lora.targets, layers=layers, convolutions=convolutions
        ),
        "bias": recipe.lora.bias,
        # Without this PEFT would neither train nor save the new head.
        "modules_to_save": trained_whole(model, family),
    }


def _adapted_layers(model: "nn.Module", family: Family, *, recipe: Recipe) -> list[str]:
    """Return the names of the layers that a recipe adapts; none for all."""
    count = recipe.lora.top_layers
    return [] if count is None else _last_layers(model, family, count=count)


def _last_layers(model: "nn.Module", family: Family, *, count: int) -> list[str]:
    """Return the names of the last `count` layers, such as `vit.layers.11`."""
    layers = layer_names(model, family)
    if count > len(layers):
        raise ModelError(f"The backbone has {len(layers)} layers, fewer than --lora-top-layers {count}.")
    return layers[-count:]


def _peft(model: Any, config: Any, *, family: Family) -> "nn.Module":
    """Wrap a model by PEFT."""
    from peft import get_peft_model

    try:
        adapted = get_peft_model(model, config)
    except ValueError as error:
        raise ModelError(f"PEFT cannot adapt this backbone: {first_line(error)}") from None
    for name, parameter in adapted.named_parameters():
        if name.endswith(family.unused):  # such as biases, of which PEFT trains all or none
            parameter.requires_grad_(False)
    return adapted
