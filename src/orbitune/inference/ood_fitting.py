"""Fitting of a bundle's OOD detector, with thresholds that the validation tiles can hold."""

import logging
from collections.abc import Callable
from functools import partial
from math import ceil
from typing import Protocol

import numpy as np

from orbitune.data.labels.membership import kinds
from orbitune.data.transform import to_tensor
from orbitune.errors import RunError
from orbitune.evaluation.calibration import probabilities
from orbitune.evaluation.conformal import (
    FEWEST_BEYOND,
    can_hold,
    lower_threshold,
    smallest_rate,
    upper_threshold,
)
from orbitune.evaluation.ood import MEASURE, OODDetector
from orbitune.inference.bundle import OOD_DETECTOR_FILE, Bundle
from orbitune.inference.bundle_model import BundleModel
from orbitune.models.metadata import OODThreshold
from orbitune.progress import ProgressDisplay
from orbitune.training.setup import TrainingSetup

SAMPLE = 2000  # training tiles that are measured, and validation tiles; more changed nothing on EuroSAT
BATCH = 256  # tiles read at a time
# Fraction of the views of tiles beyond each limit for cells of a map, see `OODThreshold`. The limit of whole
# tiles, set on tiles as they are, would give most cells of another scene no class.
VIEW_ALARM_RATE = 0.03
FALSE_ALARM_RATE = 0.01
HIGHEST_DEFAULT_RATE = 0.25  # a detector that calls more tiles *not sure* is made on request only

_LOGGER = logging.getLogger(__name__)


class FeatureModel(Protocol):
    """A model that `BundleModel` computes, or an exported graph of it."""

    def compute(self, tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return outputs, float32 (B, C), and features, float32 (B, D), of tiles (B, H, W, bands)."""


def choose_rate(asked: float | None, tiles: int) -> float | None:
    """Return the false-alarm rate of the detector; None for no detector.

    Args:
        asked: by the user; None for the default.
        tiles: number of validation tiles.

    Raises:
        RunError: the tiles are too few for what was asked for.
    """
    smallest = smallest_rate(tiles)
    if asked is not None:
        if can_hold(asked, tiles):
            return asked
        held = f"{smallest:g} is the smallest" if smallest < 0.5 else "none below 0.5 is one"
        raise RunError(
            f"A false-alarm rate of {asked:g} needs {ceil(FEWEST_BEYOND / asked):,} validation tiles, and "
            f"the run has {tiles:,}: {held} that they hold (--false-alarm-rate)."
        )
    if can_hold(FALSE_ALARM_RATE, tiles):
        return FALSE_ALARM_RATE
    if smallest > HIGHEST_DEFAULT_RATE:
        _LOGGER.warning(
            "no tile will be not sure: %d validation tiles hold no false-alarm rate below %g %%",
            tiles,
            100 * smallest,
        )
        return None
    _LOGGER.warning(
        "up to %g %% of tiles like the training tiles will be not sure: %d validation tiles hold no lower "
        "false-alarm rate, and %g %% would need %d",
        100 * smallest,
        tiles,
        100 * FALSE_ALARM_RATE,
        ceil(FEWEST_BEYOND / FALSE_ALARM_RATE),
    )
    return smallest


def fit_detector(
    bundle: Bundle, setup: TrainingSetup, *, rate: float, display: ProgressDisplay
) -> OODThreshold:
    """Fit the OOD detector on training tiles; set its threshold on validation tiles."""
    model = BundleModel(bundle, setup.recipe.backbone)
    detector, train, held_out = fit_on_features(model, setup, rate=rate, display=display)
    detector.save(bundle.folder / OOD_DETECTOR_FILE)
    return OODThreshold(
        **map_limits(
            model,
            setup,
            detector=detector,
            held_out=held_out,
            calibrate=partial(probabilities, temperature=bundle.temperature),
            display=display,
        ),
        measure=MEASURE,
        threshold=detector.threshold,
        false_alarm_rate=rate,
        training_tiles=len(train),
        validation_tiles=len(held_out),
        bytes=(bundle.folder / OOD_DETECTOR_FILE).stat().st_size,
    )


def fit_on_features(
    model: FeatureModel, setup: TrainingSetup, *, rate: float, display: ProgressDisplay
) -> tuple[OODDetector, np.ndarray, np.ndarray]:
    """Fit an OOD detector to the features of a model, on tiles of the run.

    Args:
        model: whose features are measured.
        setup: tiles and splits of the run.
        rate: false-alarm rate, 0..1.
        display: shows the progress.

    Returns:
        The detector, and the indices of the training tiles it was fitted on and of the validation tiles that
        its threshold was set on, int (N,).
    """
    random = np.random.default_rng(0)
    groups = kinds(setup.tiles.labels)
    train = balanced_sample(setup.splits["train"], groups, random=random)
    held_out = random.permutation(setup.splits["validation"])[: max(SAMPLE, ceil(FEWEST_BEYOND / rate))]
    features = compute_outputs(model, setup, indices=train, title="training tiles", display=display)[1]
    new = compute_outputs(model, setup, indices=held_out, title="validation tiles", display=display)[1]
    return OODDetector.fit(features, groups[train], held_out=new, false_alarm_rate=rate), train, held_out


def map_limits(
    model: FeatureModel,
    setup: TrainingSetup,
    *,
    detector: OODDetector,
    held_out: np.ndarray,
    calibrate: Callable[[np.ndarray], np.ndarray],
    display: ProgressDisplay,
) -> dict[str, float]:
    """Return the limits for cells of a map, from views of held-out tiles.

    They are empty where the model was trained without views. Views of a tile are no further tiles, so there
    is one of each; few tiles have limits for the smallest rate that they hold, as in `choose_rate`.

    Args:
        model: whose outputs are measured.
        setup: tiles of the run.
        detector: fitted to the features of the model.
        held_out: indices of the validation tiles, int (N,).
        calibrate: returns calibrated probabilities, float (B, C), of the model's outputs (B, C).
        display: shows the progress.
    """
    if setup.recipe.augment != "sensor":
        return {}
    rate = max(VIEW_ALARM_RATE, smallest_rate(len(held_out)))
    if rate > VIEW_ALARM_RATE:
        _LOGGER.warning(
            "up to %g %% of the views of tiles lie beyond each limit for cells of a map, not %g %%: %d "
            "validation tiles hold no lower rate",
            100 * rate,
            100 * VIEW_ALARM_RATE,
            len(held_out),
        )
    outputs, features = compute_outputs(
        model, setup, indices=held_out, title="views of validation tiles", display=display, views=True
    )
    predicted = calibrate(outputs)
    correct = predicted.argmax(1) == setup.tiles.labels[held_out]
    confidence = predicted.max(1)
    lowest = lower_threshold(confidence, rate)
    return {
        "view_threshold": upper_threshold(detector.scores(features), rate),
        "min_confidence": lowest,
        "risk": float((~correct[confidence >= lowest]).mean()),
    }


def balanced_sample(indices: np.ndarray, labels: np.ndarray, *, random: np.random.Generator) -> np.ndarray:
    """Draw at most SAMPLE indices, balanced over the classes where possible."""
    indices = random.permutation(indices)
    present = np.unique(labels[indices])
    per_class = max(1, SAMPLE // len(present))
    return np.concatenate([indices[labels[indices] == label][:per_class] for label in present])


def compute_outputs(
    model: FeatureModel,
    setup: TrainingSetup,
    *,
    indices: np.ndarray,
    title: str,
    display: ProgressDisplay,
    views: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Compute logits and features of some of the run's tiles, or of their views."""
    parts = []
    with display.task(title, len(indices)) as task:
        for start in range(0, len(indices), BATCH):
            batch = indices[start : start + BATCH]
            tiles = setup.tiles.read(batch)
            parts.append(model.compute(draw_views(tiles, setup, seed=start) if views else tiles))
            task.advance(len(batch))
    logits, features = (np.concatenate(part) for part in zip(*parts, strict=True))
    return logits, features


def draw_views(tiles: np.ndarray, setup: TrainingSetup, *, seed: int) -> np.ndarray:
    """Return a view of each tile, none of them corrupted, see `SensorAugmentation`."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        views = setup.sensor_augmentation.usable_views(to_tensor(tiles, torch.device("cpu")))
    return views.numpy().astype(tiles.dtype)
