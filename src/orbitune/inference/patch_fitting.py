"""Fitting of a bundle's patch head to mosaics of training tiles."""

import numpy as np

from orbitune.data.augment import random_dihedral
from orbitune.data.transform import to_tensor
from orbitune.evaluation.conformal import lower_threshold
from orbitune.evaluation.ood import OODDetector
from orbitune.inference.bundle import Bundle
from orbitune.inference.bundle_model import BundleModel
from orbitune.inference.linear_head import LinearHead
from orbitune.inference.ood_fitting import BATCH, VIEW_ALARM_RATE, balanced_sample, draw_views
from orbitune.inference.patch_head import Confidence, PatchHead
from orbitune.progress import ProgressDisplay, ProgressTask
from orbitune.training.setup import TrainingSetup

_MOSAICS = 8000  # a multiple of _BATCH; with 2,560 maps of other scenes than EuroSAT's were slightly worse
_PATCHES = 4  # of each mosaic: its patches resemble each other
_BATCH = 64  # mosaics made at a time
_UNSURE_RATE = 0.02  # fraction of the views of validation tiles that are *not sure*
_VIEWS = 8000  # of training and of validation tiles; with 2,000 the limit for probabilities varies by 0.007


def fit_patch_head(bundle: Bundle, setup: TrainingSetup, *, display: ProgressDisplay) -> PatchHead | None:
    """Fit a patch head; its limits and calibration come from views of validation tiles.

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
        head = LinearHead.fit(*_draw_patches(model, setup, task))
    random = np.random.default_rng(0)
    train = balanced_sample(setup.splits["train"], setup.tiles.labels, random=random)
    held_out = random.permutation(setup.splits["validation"])
    train, held_out = np.resize(train, _VIEWS), np.resize(held_out, _VIEWS)  # several views of a tile
    _, known = _label_views(model, setup, head=head, indices=train, display=display)
    logits, new = _label_views(model, setup, head=head, indices=held_out, display=display)
    labels, confidence = setup.tiles.labels, np.exp(logits.max(1))
    return PatchHead(
        head,
        OODDetector.fit(known, labels[train], held_out=new, false_alarm_rate=VIEW_ALARM_RATE),
        Confidence.fit(confidence, logits.argmax(1) == labels[held_out]),
        min_confidence=lower_threshold(confidence, _UNSURE_RATE),
    )


def _label_views(
    model: BundleModel,
    setup: TrainingSetup,
    *,
    head: LinearHead,
    indices: np.ndarray,
    display: ProgressDisplay,
) -> tuple[np.ndarray, np.ndarray]:
    """Return what `BundleModel.label_windows` does, of a view of each tile at the indices."""
    parts = []
    with display.task("views of tiles", len(indices)) as task:
        for start in range(0, len(indices), BATCH):
            tiles = setup.tiles.read(indices[start : start + BATCH])
            parts.append(model.label_windows(head, draw_views(tiles, setup, seed=start)))
            task.advance(len(tiles))
    logits, means = (np.concatenate(part) for part in zip(*parts, strict=True))
    return logits, means


def _draw_patches(
    model: BundleModel, setup: TrainingSetup, task: ProgressTask
) -> tuple[np.ndarray, np.ndarray]:
    """Return patches of `_MOSAICS` mosaics: features, float32 (N, D), and probabilities, float32 (N, C)."""
    import torch

    random = np.random.default_rng(0)
    train, labels = setup.splits["train"], np.eye(len(setup.tiles.classes), dtype=np.float32)
    parts = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(0, _MOSAICS, _BATCH):
            drawn = random.choice(train, (_BATCH, 4))
            tiles = to_tensor(setup.tiles.read(drawn.ravel()), torch.device("cpu"))
            mosaics, fractions = setup.sensor_augmentation.usable_mosaics(
                random_dihedral(tiles), model.patches
            )
            truth = fractions.numpy() @ labels[setup.tiles.labels[drawn]]
            found = model.patch_features(mosaics.numpy().astype(setup.tiles.tiles.dtype))
            kept = random.permuted(np.tile(np.arange(found.shape[1]), (len(drawn), 1)), axis=1)[:, :_PATCHES]
            parts.append(
                [
                    np.take_along_axis(each, kept[..., None], 1).reshape(-1, each.shape[2])
                    for each in (found, truth)
                ]
            )
            task.advance(len(drawn))
    features, targets = (np.concatenate(part) for part in zip(*parts, strict=True))
    return features, targets
