"""The network that computes a model: uint8 tiles in, float32 logits out.

The fast path (`orbitune.fastpath`) is optional: without that package, and for models that it cannot compute,
the forward pass of transformers and PEFT is used.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from orbitune.data.augment import drop_patches
from orbitune.data.transform import Transform
from orbitune.errors import ModelError
from orbitune.evaluation.merged_layers import patches_merged
from orbitune.models.backbones import Backbone
from orbitune.models.checkpoint_io import load_saved, trained_backbone
from orbitune.models.compute_plan import ComputePlan
from orbitune.models.families.family import Family, body_of, head_names, token_count
from orbitune.models.inputs.positions import leading_tokens
from orbitune.models.metadata import ModelMetadata
from orbitune.models.precision import DTYPES, set_products
from orbitune.recipe import Recipe

if TYPE_CHECKING:
    from orbitune.fastpath.classifier import FastClassifier

NO_FAST_PATH = "the package orbitune.fastpath is not installed"


class PlainClassifier(nn.Module):
    """Tiles to logits by the forward pass of transformers and PEFT.

    Runs under autocast in half precision.

    Args:
        model: classifier of transformers, wrapped by PEFT or not.
        family: names of the model's parts.
        transform: resizing and normalisation of tiles.
        plan: dtype, and why the fast path is not used.
        patch_dropout: fraction of the patches that training leaves out, see `drop_patches`.
        merge_after: numbers of layers, from 1, after which training merges patches, see
            `orbitune.models.token_merging`; for models whose head reads the class token alone.

    Attributes:
        frozen_layers: number of first layers that get no gradient, nor do the embeddings below them; 0 to
            compute all gradients.
        merging: whether training merges patches, of a model that has `merge_after`.
    """

    plan: ComputePlan
    transform: Transform

    def __init__(
        self,
        model: nn.Module,
        family: Family,
        *,
        transform: Transform,
        plan: ComputePlan,
        patch_dropout: float = 0.0,
        merge_after: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.model = model
        self.plan = plan
        self.transform = transform
        self._patch_dropout = patch_dropout
        self._merge_after = merge_after
        self.frozen_layers, self.merging = 0, True
        self._arguments = family.forward
        base: Any = model.get_base_model() if hasattr(model, "peft_config") else model  # type: ignore[operator]
        # Lists, because assigning modules would register them a second time.
        self.heads = [base.get_submodule(name) for name in head_names(base, family)]
        self._body, self._projection = [body_of(base, family)], family.projection
        self._layers_name = family.layers

    def forward(self, tiles: Tensor, size: int | None = None) -> Tensor:
        """Return logits, float32 (B, C).

        Args:
            tiles: uint8 (B, H, W, 3).
            size: side in pixels to resize tiles to, if not the transform's own.
        """
        size = size or self.transform.size
        pixels = self.transform.with_size(size)(tiles)
        dtype = self.plan.dtype
        set_products(tiles.device, self.plan.tf32)
        with (
            self._patches_dropped(size),
            self._first_layers_frozen(),
            self._patches_merged(),
            torch.autocast(tiles.device.type, dtype, enabled=dtype != torch.float32),
        ):
            return self.model(pixel_values=pixels, **self._arguments).logits.float()

    @contextmanager
    def _patches_dropped(self, size: int) -> Iterator[None]:
        """Leave out patches behind the embeddings while the model trains on inputs of `size` pixels."""
        if not (self._patch_dropout and self.training):
            yield
            return
        [body] = self._body
        patches = (size // body.get_submodule(self._projection).kernel_size[0]) ** 2
        handle = body.embeddings.register_forward_hook(
            lambda module, inputs, tokens: drop_patches(
                tokens, self._patch_dropout, prefix_tokens=tokens.shape[1] - patches
            )
        )
        try:
            yield
        finally:
            handle.remove()

    def _patches_merged(self) -> AbstractContextManager[None]:
        """Merge patches before some of the layers while the model trains."""
        [body] = self._body
        if not (self._merge_after and self.training and self.merging):
            return nullcontext()
        layers, prefix = body.get_submodule(self._layers_name), len(leading_tokens(body.embeddings))
        return patches_merged(layers, self._merge_after, prefix_tokens=prefix)

    @contextmanager
    def _first_layers_frozen(self) -> Iterator[None]:
        """Let no gradient pass below the first layer that is still trained."""
        if not self.frozen_layers:
            yield
            return
        [body] = self._body
        first = body.get_submodule(self._layers_name)[self.frozen_layers]
        handle = first.register_forward_pre_hook(lambda module, inputs: (inputs[0].detach(), *inputs[1:]))
        try:
            yield
        finally:
            handle.remove()

    def features(self, tiles: Tensor) -> list[Tensor]:
        """Return the input of each head, float32 (B, D), of uint8 tiles (B, H, W, 3)."""
        inputs: list[Tensor] = []
        handles = [
            head.register_forward_pre_hook(lambda module, arguments: inputs.append(arguments[0].float()))
            for head in self.heads
        ]
        try:
            self(tiles)
        finally:
            for handle in handles:
                handle.remove()
        return inputs


def plain_network(
    model: nn.Module, family: Family, *, transform: Transform, dtype: torch.dtype = torch.float32
) -> PlainClassifier:
    """Return the network that computes a model by its own forward pass.

    See `PlainClassifier`.

    Args:
        model: classifier of transformers or PEFT.
        family: its backbone family.
        transform: preprocessing of the tiles.
        dtype: dtype of autocast; float32 for none.

    Returns:
        A module: uint8 tiles to float32 logits.
    """
    plan = ComputePlan(False, dtype, "transformers")
    return PlainClassifier(model, family, transform=transform, plan=plan)


def fast_path() -> ModuleType | None:
    """Return the module that plans the fast path.

    Returns None if `orbitune.fastpath` is not installed.
    """
    try:
        from orbitune.fastpath import dispatch
    except ModuleNotFoundError as error:
        if error.name != "orbitune.fastpath":
            raise
        return None
    return dispatch


def require_fast_path(feature: str) -> None:
    """Check that the fast path is installed.

    Args:
        feature: what needs it, as the subject of the message.

    Raises:
        ModelError: it is not.
    """
    if fast_path() is None:
        raise ModelError(f"{feature} needs the fast path, but {NO_FAST_PATH}.")


def fast_network(
    model: nn.Module,
    family: Family,
    *,
    transform: Transform,
    dtype: torch.dtype,
    attention: str = "plain",
    merge_after: Sequence[int] = (),
) -> "FastClassifier":
    """Return the fast path of a model, without checking that it can train.

    Args:
        model: classifier of transformers, wrapped by PEFT or not; frozen layers are cast to `dtype`.
        family: names of the model's parts.
        transform: resizing and normalisation of tiles.
        dtype: dtype of activations and frozen weights.
        attention: attention kernel, `plain` or `sdpa`.
        merge_after: numbers of layers, from 1, after which training merges tokens.
    """
    from orbitune.fastpath.classifier import FastClassifier
    from orbitune.fastpath.dispatch import plan_fast_path

    plan = plan_fast_path(model, family, dtype=dtype, attention=attention)
    return FastClassifier(model, family, transform=transform, plan=plan, merge_after=merge_after)


def plan_network(
    model: nn.Module, recipe: Recipe, *, backbone: Backbone, size: int, attention: str | None = None
) -> ComputePlan:
    """Return how a model on its device is computed.

    For the arguments see `make_network`.
    """
    dtype, tf32 = DTYPES[str(recipe.precision)], recipe.precision == "tf32"
    dispatch = fast_path()
    if not recipe.fast or dispatch is None:
        why = NO_FAST_PATH if recipe.fast else None
        return ComputePlan(False, dtype, "transformers", why_not_fast=why, tf32=tf32)
    tokens = token_count(size, backbone.step)
    plan: ComputePlan = dispatch.plan_compute(
        model, backbone.family, dtype=dtype, tokens=tokens, attention=attention
    )
    return dataclasses.replace(plan, tf32=tf32)


def load_model(folder: Path, recipe: Recipe, *, backbone: Backbone, metadata: ModelMetadata) -> nn.Module:
    """Load a saved model for `make_network`, in fp32 and evaluation mode.

    Where the fast path can compute it, transformers and PEFT are not imported, and the model has no forward
    pass of its own.

    Args:
        folder: saved model, whose files were compared with their hashes.
        recipe: that of `make_network`.
        backbone: backbone of the model.
        metadata: of the saved model.

    Raises:
        ModelError: the backbone's weights are not those the adapter was trained on, or files are damaged.
    """
    dispatch, model = fast_path() if recipe.fast else None, None
    if dispatch:
        backbone = trained_backbone(folder, backbone, metadata=metadata)
        model = dispatch.read_saved(folder, backbone, classes=len(metadata.classes))
    return model or load_saved(folder, backbone, metadata=metadata)


def make_network(
    model: nn.Module,
    recipe: Recipe,
    *,
    backbone: Backbone,
    transform: Transform,
    attention: str | None = None,
) -> "PlainClassifier | FastClassifier":
    """Return the network that computes a model on its device.

    Frozen layers of the model may be cast to half precision.

    Args:
        model: classifier of transformers, wrapped by PEFT or not.
        recipe: resolved; its precision, `fast`, `checkpointing`, `patch_dropout` and `merge_tokens` count.
        backbone: backbone of the model.
        transform: resizing and normalisation of tiles.
        attention: attention kernel of an earlier part of the same run; None for the faster one.

    Returns:
        `FastClassifier` or `PlainClassifier`, with the attribute `plan`: a module from uint8 tiles
        (B, H, W, 3) to float32 logits (B, C).
    """
    plan = plan_network(model, recipe, backbone=backbone, size=transform.size, attention=attention)
    if not plan.fast:
        if recipe.checkpointing:
            # Reentrant checkpointing would give adapters no gradient.
            model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
        return PlainClassifier(
            model,
            backbone.family,
            transform=transform,
            plan=plan,
            patch_dropout=recipe.patch_dropout,
            merge_after=recipe.merge_tokens or (),
        )
    from orbitune.fastpath.allocator import keep_freed_memory
    from orbitune.fastpath.classifier import FastClassifier
    from orbitune.fastpath.dispatch import FastPlan

    assert isinstance(plan, FastPlan)
    if next(model.parameters()).device.type == "cpu":
        keep_freed_memory()
    return FastClassifier(
        model,
        backbone.family,
        transform=transform,
        plan=plan,
        checkpointing=recipe.checkpointing,
        patch_dropout=recipe.patch_dropout,
        merge_after=recipe.merge_tokens or (),
    )
