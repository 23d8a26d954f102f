"""Training setup: the resolved recipe with backbone, tiles and splits.

Training, planning and evaluation use the same setup, so that they preprocess a tile in the same way.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from orbitune.data.labels.class_names import check_class_names
from orbitune.data.labels.early_checks import asks_of_tiles, check_labels
from orbitune.data.loader import TileLoader
from orbitune.data.recipe_tiles import column_selection, load_recipe_tiles, split_origin, split_recipe_tiles
from orbitune.data.sensor.augmentation import SensorAugmentation, smallest_window
from orbitune.data.tileset import TileSet, check_data
from orbitune.data.transform import Transform
from orbitune.errors import ModelError
from orbitune.evaluation.predict import forward_with_tta, predict_logits
from orbitune.evaluation.run_result import RunData
from orbitune.evaluation.tasks.early_checks import check_settings
from orbitune.evaluation.tasks.known import task_of
from orbitune.evaluation.tasks.task import Task
from orbitune.extras import require
from orbitune.models.backbones import Backbone
from orbitune.models.factory import check_fit, check_precision, check_trained_whole, resolve
from orbitune.models.files.location import check_unambiguous
from orbitune.models.lineage.fine_tuned import FineTuned, open_backbone
from orbitune.models.lineage.overlap import Overlap, count_by_split
from orbitune.models.lineage.seen_tiles import describe_held_out, find_held_out
from orbitune.models.methods import find_method
from orbitune.models.preprocessing import Preprocessing
from orbitune.recipe import Recipe
from orbitune.recipe_paths import is_synthetic
from orbitune.sources.band_names import COLOURS
from orbitune.training.class_balance import loss_weights
from orbitune.training.duration.defaults import resolve_length, steps_per_pass
from orbitune.training.preparation.notes import training_notes
from orbitune.training.stored.records import RunInputs

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from torch import Tensor, nn

    from orbitune.fastpath.activation_cache import ActivationLoader

_RGB_SAMPLE = 2048  # training tiles whose statistics a map of another scene is matched to


@dataclass(frozen=True)
class TrainingSetup:
    """Everything a run needs.

    Attributes:
        recipe: resolved; no setting is open.
        task: one label a tile, or several.
        splits: indices into the tiles for `train`, `validation` and `test`.
        notes: changes to the data that a user should know of.
        preprocessing: of a tile, with the side of the input in pixels.
        class_weights: of the loss, float32 (C,); None for equal ones.
        seen: held-out tiles that the backbone's runs have seen, by split; None where it is not known.
    """

    recipe: Recipe
    task: Task
    backbone: Backbone
    tiles: TileSet
    splits: dict[str, np.ndarray]
    notes: tuple[str, ...]
    preprocessing: Preprocessing
    class_weights: np.ndarray | None = None
    seen: dict[str, Overlap] | None = None

    def network(self, model: "nn.Module", attention: str | None = None) -> "nn.Module":
        """Return the network that computes a model on its device."""
        from orbitune.evaluation.network import make_network

        return make_network(
            model, self.recipe, backbone=self.backbone, transform=self.transform, attention=attention
        )

    def activation_loader(
        self, network: "nn.Module", loader: TileLoader, *, device: "torch.device", folder: Path | None = None
    ) -> "ActivationLoader":
        """Return a loader of cached activations of the frozen layers.

        Args:
            network: on the fast path.
            loader: of the tiles.
            device: where batches are wanted.
            folder: of the activations; by default in the cache.

        Raises:
            ModelError: nothing is frozen below it, or the fast path does not compute this model.
        """
        from orbitune.evaluation.network import require_fast_path

        require_fast_path("The activation cache (--cache-frozen)")
        from orbitune.fastpath.activation_cache import ActivationCacheKey, ActivationLoader
        from orbitune.fastpath.classifier import FastClassifier

        if not isinstance(network, FastClassifier) or network.frozen_depth == 0:
            raise ModelError(
                "There are no frozen layers below the trained ones to cache: use --method linear or "
                "--lora-top-layers, on the fast path, and tiles of three bands (with others, the patch "
                "embedding is trained)."
            )
        inputs = self.inputs()
        key = ActivationCacheKey(
            weights=f"{inputs.backbone_weights} {inputs.backbone_settings}",
            tiles=inputs.tiles,
            splits=inputs.splits,
            transform=self.transform,
            precision=f"{self.recipe.precision}, {network.plan.products}",
            attention=network.plan.attention,
            depth=network.frozen_depth,
            views=self.views,
            bits=self.recipe.cache_bits,
        )
        return ActivationLoader(
            key, loader, network=network, splits=self.splits, device=device, folder=folder
        )

    @cached_property
    def sensor_augmentation(self) -> SensorAugmentation:
        """Return the sensor augmentation of these tiles."""
        haze = SensorAugmentation.haze_of(self.tiles.wavelengths)
        if self.tiles.dtype == "uint8":
            return SensorAugmentation(haze)
        white = max(self.tiles.statistics(self.splits["train"]).high)
        return SensorAugmentation(haze, white=max(white, 1.0), largest=65535)

    @property
    def steps_per_pass(self) -> int:
        """Return the number of steps per pass, a smaller last batch included."""
        return steps_per_pass(self.recipe, len(self.splits["train"]))

    @property
    def tiles_per_epoch(self) -> int:
        """Return the number of training tiles per epoch, all passes counted."""
        return len(self.splits["train"]) * (self.recipe.passes or 1)

    @property
    def steps_per_epoch(self) -> int:
        """Return the number of steps per epoch, with all its passes."""
        return self.steps_per_pass * (self.recipe.passes or 1)

    @property
    def steps(self) -> int:
        """Return the number of steps of the whole run; the largest one if it may stop early."""
        return self.recipe.max_epochs * self.steps_per_epoch

    @property
    def views(self) -> int:
        """Return the number of flips and quarter turns that augmentation draws from."""
        if self.recipe.augment == "none":
            return 1
        height, width = self.tiles.tiles.shape[1:3]
        return 8 if height == width else 4

    def predict(
        self,
        network: "nn.Module",
        loader: "TileLoader | ActivationLoader",
        *,
        accelerator: "Accelerator",
        indices: np.ndarray,
        tta: str = "none",
        after_batch: Callable[[int], None] = lambda count: None,
    ) -> np.ndarray:
        """Return logits of the tiles at these indices, float32 (N, C).

        They are computed in the recipe's precision. With `tta` "flips" they are those of the mean probability
        over a tile's flips and turns. Under torchrun each process computes a part, and all
        receive the whole.

        Args:
            network: network of the model.
            loader: loader of tiles or of cached activations.
            accelerator: of this process.
            indices: tiles to predict, int (N,).
            tta: "none" or "flips".
            after_batch: called with the number of tiles of each batch.
        """
        from accelerate.utils import gather_object

        network.eval()

        def forward(batch: np.ndarray) -> "Tensor":
            return forward_with_tta(network, loader.tiles(batch), tta=tta, task=self.task)

        assert self.recipe.micro_batch is not None
        own = np.array_split(indices, accelerator.num_processes)[accelerator.process_index]
        some = own if len(own) else indices[:1]  # a process without tiles of its own still takes part
        logits = predict_logits(forward, some, batch_size=self.recipe.micro_batch, after_batch=after_batch)
        return np.concatenate(gather_object([logits[: len(own)]]))

    def inputs(self) -> RunInputs:
        """Return the hashes of what a recipe only names: tiles, splits, backbone."""
        splits = hashlib.sha256()
        for name, indices in self.splits.items():
            splits.update(name.encode() + indices.tobytes())
        return RunInputs(
            tiles=self.tiles.fingerprint,
            splits=splits.hexdigest(),
            backbone_weights=self.backbone.weights_hash,
            backbone_settings=self.backbone.settings_hash,
        )

    @cached_property
    def data(self) -> RunData:
        """Return the data as results and reports state it."""
        height, width = self.tiles.tiles.shape[1:3]
        return RunData(
            source=self.tiles.source,
            split=self.recipe.split,
            split_origin=split_origin(self.recipe, self.tiles),
            fold=self.recipe.fold,
            fingerprint=self.tiles.fingerprint,
            classes=self.tiles.classes,
            tile_size=(height, width),
            scale_max=self.tiles.scale_max,
            statistics=self.tiles.statistics(self._tiles_for_statistics),
            window=smallest_window(height) if self.recipe.augment == "sensor" else None,
            synthetic=is_synthetic(self.recipe.data),
            sizes={name: len(indices) for name, indices in self.splits.items()},
            notes=self.notes,
            **count_by_split(self.seen),
            skipped=len(self.tiles.skipped),
        )

    def trained_before(self, split: str) -> np.ndarray | None:
        """Return which tiles of a split the backbone's runs were trained on, bool (n,); None if not known."""
        if self.seen is None:
            return None
        found = self.seen.get(split)
        return np.zeros(len(self.splits[split]), bool) if found is None else found.trained

    @property
    def _tiles_for_statistics(self) -> np.ndarray:
        """Return the training tiles whose statistics are stored; of 8-bit RGB, for maps."""
        train = self.splits["train"]
        return train[:: -(-len(train) // _RGB_SAMPLE)] if self.tiles.is_rgb else train

    @property
    def transform(self) -> Transform:
        """Return the resizing and normalisation of tiles."""
        return self.preprocessing.transform


def prepare_training(recipe: Recipe, progress: bool = True) -> TrainingSetup:
    """Find the backbone, resolve the recipe, load the tiles and split them.

    Args:
        recipe: recipe with open settings.
        progress: whether to show progress on stderr.

    Returns:
        The resolved recipe with backbone, tiles and splits.

    Raises:
        OrbituneError: the backbone, the tiles or the splits are missing, invalid or do not fit the recipe.
    """
    require("train", purpose="training and scoring runs")
    find_method(recipe.method)
    recipe = recipe.anchored()
    backbone = open_backbone(recipe.backbone)
    if not asks_of_tiles(recipe):
        _ = backbone.settings_hash  # transformers may refuse the config.json: before tiles are decoded
    tiles = load_recipe_tiles(recipe, progress)
    splits, notes = split_recipe_tiles(recipe, tiles)
    check_class_names(tiles.classes)
    task = task_of(tiles)
    recipe = task.resolve(recipe)
    backbone = backbone.for_bands(tiles.bands)
    recipe = resolve(recipe, backbone, tile=tiles.tiles.shape[1:3])
    train = splits["train"]
    recipe = resolve_length(recipe, len(train))
    assert isinstance(recipe.image_size, int)
    preprocessing = _preprocessing(backbone, tiles, train=train).at_size(recipe.image_size)
    weights = loss_weights(recipe.class_weights, tiles.membership[train], classes=tiles.classes, task=task)
    seen = find_held_out(backbone, tiles, splits=splits)
    notes = (
        *tiles.notes,
        *notes,
        *training_notes(recipe, tiles, train=train, weights=weights),
        *((f"not on the fast path: {why}",) if (why := backbone.family.why_plain) else ()),
        *describe_held_out(seen, backbone, splits=splits),
        f"normalisation from {preprocessing.stated_by}",
    )
    return TrainingSetup(recipe, task, backbone, tiles, splits, notes, preprocessing, weights, seen)


def check_recipes(*recipes: Recipe, one_label: bool = False) -> None:
    """Check what recipes name, without importing what takes seconds; each data set and backbone once.

    What they choose of the tiles themselves, `orbitune.data.labels.early_checks.check_tiles` checks.

    Args:
        recipes: with open settings.
        one_label: whether each tile has to have one label.

    Raises:
        OrbituneError: there is no such backbone or data, an image size does not suit the backbone, the labels
            do not suit the split, or a setting is without effect.
    """
    for recipe in recipes:
        recipe.expect_used()
        check_trained_whole(recipe)
        check_precision(recipe)
        check_unambiguous(recipe.backbone)
    anchored = [recipe.anchored() for recipe in recipes]
    for data, selection in dict.fromkeys((each.data, column_selection(each)) for each in anchored):
        check_data(data, selection)  # first: an adapter of a backbone may have to be merged
    backbones = {name: open_backbone(name) for name in dict.fromkeys(each.backbone for each in anchored)}
    for backbone in backbones.values():
        backbone.check_weights()
    for recipe in anchored:
        check_fit(recipe, backbones[recipe.backbone])
    check_labels(anchored, one_label=one_label, check_settings=check_settings)


def _preprocessing(backbone: Backbone, tiles: TileSet, *, train: np.ndarray) -> Preprocessing:
    """Return the preprocessing of tiles.

    8-bit tiles of three bands are normalised as the checkpoint states, which was trained on such images, as
    are tiles of the bands that a backbone was fine-tuned on; others by the statistics of the training tiles.
    """
    stated, dtype = backbone.preprocessing, tiles.dtype
    colours = len(tiles.bands) == len(stated.bands) == len(COLOURS) and dtype == "uint8"
    own = (tiles.bands, dtype) == (stated.bands, stated.dtype) and isinstance(backbone, FineTuned)
    if colours or own:
        return stated.model_copy(update={"bands": tiles.bands})
    return stated.normalised_by(tiles.statistics(train), bands=tiles.bands, dtype=dtype)
