"""Scores of a merged adapter beside its parents."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from orbitune.evaluation.metrics import score
from orbitune.inference.bundle import Bundle
from orbitune.models.lineage.merging import MergeScore
from orbitune.models.lineage.overlap import ENOUGH
from orbitune.models.lineage.seen_tiles import find_own

_LOGGER = logging.getLogger(__name__)


def score_merged(runs: Sequence[Path], bundles: Sequence[Bundle], *, progress: bool) -> list[MergeScore]:
    """Return accuracy and macro-F1 of each adapter on the validation tiles of each run.

    Tiles that one of the runs was trained on are warned of, and left out in `MergeScore.unseen`.

    Args:
        runs: the folders of the two parents.
        bundles: the parents and the merged adapter.
        progress: show progress on stderr.

    Raises:
        OrbituneError: the tiles or the backbone of a run have changed.
    """
    from orbitune.inference.bundle_model import BundleModel
    from orbitune.training.evaluate import reopen

    rows = []
    for run in runs:
        _, setup = reopen(run, progress)
        indices = setup.splits["validation"]
        tiles, labels = setup.tiles.read(indices), setup.tiles.labels[indices]
        models = (BundleModel(bundle, setup.recipe.backbone) for bundle in bundles)
        logits = np.stack([model.compute(tiles)[0] for model in models])
        overlaps = [find_own(place, setup.tiles, indices=indices) for place in runs]
        seen = [overlap.trained for overlap in overlaps if overlap is not None]
        rows.append(
            _score(
                run.resolve().name,
                logits,
                labels=labels,
                classes=bundles[0].classes,
                split=setup.data.split_name,
                seen=np.logical_or(*seen) if len(seen) == len(runs) else None,
            )
        )
    for row in rows:
        if line := row.warning():
            _LOGGER.warning(line)
    return rows


def _score(
    run: str,
    logits: np.ndarray,
    *,
    labels: np.ndarray,
    classes: Sequence[str],
    split: str,
    seen: np.ndarray | None = None,
) -> MergeScore:
    """Return the scores of three adapters on tiles of a run.

    Args:
        run: name of the run.
        logits: float (3, N, C).
        labels: true classes, int (N,).
        classes: C names.
        split: what the split of the run is called.
        seen: tiles that one of the parents was trained on, bool (N,); None where it is not known.
    """
    scores = [score(each, labels, classes=classes) for each in logits]
    one, other, merged = (each.accuracy for each in scores)
    unseen = None
    if seen is not None and seen.any() and (~seen).sum() >= ENOUGH:
        unseen = _score(
            run, logits[:, ~seen], labels=labels[~seen], classes=classes, split=split, seen=seen[~seen]
        )
    return MergeScore(
        tiles=run,
        one=one,
        other=other,
        merged=merged,
        macro_f1=tuple(each.macro_f1 for each in scores),
        split=split,
        count=len(labels),
        seen=None if seen is None else int(seen.sum()),
        unseen=unseen,
    )
