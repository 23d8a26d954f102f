"""Fitting of a bundle's patch head to mosaics of training tiles."""

from dataclasses import dataclass

import numpy as np

from orbitune.data.augment import random_dihedral
from orbitune.data.transform import to_tensor
from orbitune.evaluation.calibration import fit_temperature
from orbitune.evaluation.conformal import lower_threshold
from orbitune.evaluation.ood import OODDetector
from orbitune.inference.bundle import Bundle
from orbitune.inference.bundle_model import BundleModel
from orbitune.inference.linear_head import LinearHead
from orbitune.inference.ood_fitting import BATCH, SAMPLE, VIEW_ALARM_RATE, draw_views
from orbitune.inference.patch_head import PatchHead, window_logits
from orbitune.progress import ProgressDisplay, ProgressTask
from orbitune.training.setup import TrainingSetup

_MOSAICS = 8000  # a multiple of _BATCH; with 2,560 maps of other scenes than EuroSAT's were slightly worse
_PATCHES = 4  # of each mosaic: those of one mosaic are much alike
_BATCH = 64  # mosaics made at a time
_SINGLE = 0.999  # share of a class from which a mosaic shows that class alone
_UNSURE_RATE = 0.02  # fraction of the views of validation tiles that are *not sure*
_MIN_VIEWS = 250  # of which five are *not sure*


def fit_patch_head(bundle: Bundle, setup: TrainingSetup, *, display: ProgressDisplay) -> PatchHead | None:
    """Fit a patch head; its limits and temperature come from views of validation tiles.

    Args:
        bundle: the model.
        setup: tiles and splits of its run.
        display: shows the progress.

    Returns:
        The head; None for a model that was not trained with views of smaller windows, that gives several
        labels, or that is not computed on the fast path.
    """
    if setup.recipe.augment != "sensor" or bundle.task.name != "single-label":
        return None
    model = BundleModel(bundle, setup.recipe.backbone)
    if not model.plan.fast:
        return None
    with display.task("mosaics", _MOSAICS) as task:
        drawn = _draw_patches(model, setup, task)
    head = LinearHead.fit(drawn.features, drawn.targets)
    held_out = np.random.default_rng(0).permutation(setup.splits["validation"])[:SAMPLE]
    held_out = np.resize(held_out, max(len(held_out), _MIN_VIEWS))  # several views of each of few tiles
    means, logits = [], []
    with display.task("views of validation tiles", len(held_out)) as task:
        for start in range(0, len(held_out), BATCH):
            tiles = setup.tiles.read(held_out[start : start + BATCH])
            features = model.patch_features(draw_views(tiles, setup, seed=start))
            means.append(features.mean(1))
            logits.append(window_logits(head, features))
            task.advance(len(tiles))
    detector = OODDetector.fit(
        drawn.means, drawn.labels, held_out=np.concatenate(means), false_alarm_rate=VIEW_ALARM_RATE
    )
    of_views = np.concatenate(logits)
    return PatchHead(
        head,
        detector,
        min_confidence=lower_threshold(np.exp(of_views.max(1)), _UNSURE_RATE),
        temperature=fit_temperature(of_views, setup.tiles.labels[held_out]),
    )


@dataclass(frozen=True)
class _Drawn:
    """Patches of mosaics of training tiles.

    Attributes:
        features: of patches, float32 (N, D).
        targets: their class probabilities, float32 (N, C).
        means: mean features of the mosaics that show a single class, float32 (M, D).
        labels: class indices of these, int64 (M,).
    """

    features: np.ndarray
    targets: np.ndarray
    means: np.ndarray
    labels: np.ndarray


def _draw_patches(model: BundleModel, setup: TrainingSetup, task: ProgressTask) -> _Drawn:
    """Return patches of `_MOSAICS` mosaics."""
    import torch

    random = np.random.default_rng(0)
    train, labels = setup.splits["train"], np.eye(len(setup.tiles.classes), dtype=np.float32)
    parts = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(0, _MOSAICS, _BATCH):
            drawn = random.choice(train, (_BATCH, 4))
            tiles = to_tensor(setup.tiles.read(drawn.ravel()), torch.device("cpu"))
            mosaics, shares = setup.sensor_augmentation.usable_mosaics(random_dihedral(tiles), model.patches)
            truth = shares.numpy() @ labels[setup.tiles.labels[drawn]]
            found = model.patch_features(mosaics.numpy().astype(setup.tiles.tiles.dtype))
            kept = random.permuted(np.tile(np.arange(found.shape[1]), (len(drawn), 1)), axis=1)[:, :_PATCHES]
            of_patches = [
                np.take_along_axis(each, kept[..., None], 1).reshape(-1, each.shape[2])
                for each in (found, truth)
            ]
            single = truth.mean(1).max(1) > _SINGLE
            parts.append((*of_patches, found[single].mean(1), truth[single].mean(1).argmax(1)))
            task.advance(len(drawn))
    return _Drawn(*(np.concatenate(part) for part in zip(*parts, strict=True)))
