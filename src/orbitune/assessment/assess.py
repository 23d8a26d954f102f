"""Compute a model on labelled tiles, and measure how well it does."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.assessment.files import check_folder, write_files
from orbitune.assessment.labelled_tiles import LabelledTiles, open_labelled
from orbitune.assessment.outputs import Outputs, compute_outputs
from orbitune.assessment.records import Assessment, NotSure, TrainingCopies
from orbitune.assessment.training_tiles import TrainingTiles, find_training_tiles
from orbitune.data.bad_files import BadFiles
from orbitune.evaluation.details.score_details import ScoreDetails
from orbitune.evaluation.details.seen_scores import score_others
from orbitune.inference.bundle import Bundle
from orbitune.inference.classifier import Classifier
from orbitune.models.lineage.overlap import SeenCounts
from orbitune.models.lineage.seen_file import SeenTiles, read_seen
from orbitune.recipe_paths import data_name
from orbitune.sources.manifest import ColumnSelection
from orbitune.sources.registry import find_source

_EXAMPLES = 3  # copies of training tiles that are named


@dataclass(frozen=True)
class Request:
    """What to assess; see `orbitune.assessment.evaluate.evaluate`.

    Attributes:
        stop: whether a file that is not a labelled tile is an error.
    """

    model: str | Path
    data: str
    split: str | None
    backbone: str | Path | None
    bands: Sequence[str | int] | None
    selection: ColumnSelection | None
    stop: bool
    progress: bool


def assess(request: Request, out: Path | None) -> Assessment:
    """Score a model on new data, and write what it got wrong.

    Args:
        request: the model and the data.
        out: folder to write into; None for none.

    Raises:
        OrbituneError: the model or the data cannot be read, or do not fit each other.
    """
    if out is not None:
        check_folder(out)
    source = find_source(request.data, request.selection, names=())
    bundle, bad = Bundle.open(request.model), BadFiles(stop=request.stop)
    if bundle.task.name == "single-label":
        source = replace(source, selection=replace(source.selection, undivided=True))
    seen = read_seen(bundle.place)  # before anything is computed: its file may be damaged
    with open_labelled(source, bundle.classes, task=bundle.task, split=request.split, bad=bad) as tiles:
        training = find_training_tiles(bundle, progress=request.progress)
        classifier = Classifier(request.model, backbone=request.backbone, bands=request.bands)
        outputs = compute_outputs(classifier, tiles, bad=bad, training=training, progress=request.progress)
        assessment = Assessment(
            model=bundle.name,
            recipe_hash=bundle.metadata.recipe_hash,
            data=data_name(request.data),
            source=source.description,
            split=request.split,
            notes=tiles.manifest.notes,
            skipped=len(bad.found),
            **measure(classifier, tiles, outputs=outputs, training=training, seen=seen),
        )
        if out is not None:
            write_files(out, assessment, classifier=classifier, tiles=tiles, outputs=outputs)
    return assessment


def measure(
    classifier: Classifier,
    tiles: LabelledTiles,
    *,
    outputs: Outputs,
    training: TrainingTiles | str,
    seen: SeenTiles | None,
) -> dict[str, Any]:
    """Return the measured fields of an `Assessment`.

    Args:
        classifier: the model.
        tiles: that it computed.
        outputs: what it computed.
        training: the tiles to compare with, or why they cannot be compared.
        seen: the tiles that the model has seen; None where not recorded.
    """
    bundle, labels, logits = classifier.bundle, outputs.labels, outputs.logits
    task, decision = bundle.task, bundle.decision
    details = ScoreDetails.measure(task, logits, labels=labels, classes=bundle.classes, decision=decision)
    correct = task.correct(logits, labels, decision=decision)
    measured: dict[str, Any] = {
        **{name: getattr(details, name) for name in ScoreDetails.model_fields},
        "absent_classes": tiles.absent,
        "one_label": task.name == "multi-label" and bool((labels.sum(1) == 1).all()),
        "not_sure": None if outputs.sure is None else _not_sure(outputs.sure, correct),
        "synthetic": bool(bundle.metadata.data.synthetic),
    }
    known = np.zeros(len(correct), bool)
    if seen is not None:
        overlap = seen.find(outputs.sums)
        known, counts = overlap.any, SeenCounts.of(overlap)
        measured |= {"seen": counts.trained, "validated": counts.validated}
    if isinstance(training, str):
        measured |= {"copies": None, "not_compared": training}
    else:
        assert outputs.fingerprints is not None
        found = training.find_copies(outputs.fingerprints)
        known[[new for _, new, _ in found]] = True
        copies = _copies(training, tiles, outputs=outputs, found=found, others=correct[~known])
        measured |= {"copies": copies, "not_compared": None}
    if known.any():
        measured["others"] = score_others(task, logits, labels=labels, seen=known, decision=decision)
    return measured


def _not_sure(sure: np.ndarray, correct: np.ndarray) -> NotSure:
    return NotSure(
        count=int((~sure).sum()),
        fraction=float((~sure).mean()),
        accuracy_of_sure=_mean(correct[sure]),
        accuracy_of_not_sure=_mean(correct[~sure]),
    )


def _copies(
    training: TrainingTiles,
    tiles: LabelledTiles,
    *,
    outputs: Outputs,
    found: list[tuple[str, int, bool]],
    others: np.ndarray,
) -> TrainingCopies:
    """Describe the tiles that are near-duplicates of training tiles.

    Args:
        training: the tiles that they were compared with.
        tiles: the new tiles.
        outputs: of these.
        found: as `TrainingTiles.find_copies` returns them.
        others: whether each tile is correct that the model has not seen, bool (n,).
    """
    return TrainingCopies(
        compared_with=training.title,
        count=len(found),
        identical=sum(identical for _, _, identical in found),
        accuracy_without=_mean(others),
        examples=tuple(
            (str(tiles.image(int(outputs.places[new])).name), known) for known, new, _ in found[:_EXAMPLES]
        ),
    )


def _mean(correct: np.ndarray) -> float | None:
    """Return the accuracy of some tiles; None without tiles."""
    return float(correct.mean()) if len(correct) else None
