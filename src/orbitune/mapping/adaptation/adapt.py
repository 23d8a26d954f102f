"""Adaptation of a bundle to a scene: refit and validate its head."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.data.georeference import RESOLUTION
from orbitune.errors import DataError
from orbitune.evaluation.calibration import fit_temperature
from orbitune.files import replacing
from orbitune.inference.bundle import Bundle
from orbitune.inference.linear_head import LinearHead
from orbitune.inference.model_card import write_model_card
from orbitune.inference.output_places import check_place
from orbitune.integrity import file_hash
from orbitune.mapping.adaptation.labelled_windows import LabelledWindows
from orbitune.mapping.adaptation.refit import cell_logits, refit_head, window_features
from orbitune.mapping.adaptation.seen_points import earlier_places, find_earlier, find_seen_windows
from orbitune.mapping.adaptation.validation import score_points, split_folds
from orbitune.mapping.areas.reference_points import TRUE_CLASS, ReferencePoints
from orbitune.mapping.map_plan import MapPlan, plan_map
from orbitune.mapping.options import MapOptions
from orbitune.mapping.scene.radiometry import MATCH
from orbitune.mapping.seeds import check_seed
from orbitune.mapping.worker import Worker
from orbitune.models.checkpoint_io import write_metadata
from orbitune.models.families.family import Family
from orbitune.models.files.head_tensors import read_head, write_head
from orbitune.models.lineage.adaptation import Adaptation, AdaptationScores, LabelledPlace
from orbitune.models.lineage.carrying import carry_backbone, copy_saved
from orbitune.models.lineage.seen_file import copy_seen
from orbitune.models.lineage.shipping import strip_paths
from orbitune.models.metadata import FILE, WeightStorage
from orbitune.sources.band_names import BandChoice
from orbitune.suggestions import taken

logger = logging.getLogger(__name__)

Log = Callable[[str], None]


def adapt(
    source: str | Path,
    scene: str | Path,
    *,
    points: str | Path | None,
    out: str | Path,
    field: str = TRUE_CLASS,
    bands: Sequence[BandChoice] | None = None,
    scale: str = MATCH,
    resolution: float = RESOLUTION,
    seed: int = 0,
    backbone: str | None = None,
    progress: bool = True,
    log: Log = lambda line: None,
) -> Bundle:
    """Refit the head of a bundle to labelled points of a scene.

    The features stay as they are, and with them the OOD detector. The new head is regularised towards that of
    the bundle, and answers for windows of every size: a patch head is left out. The accuracies before and
    after are of points that were held out, by cross-validation; the stored head is fitted to all points.

    Examples:
        >>> from orbitune import adapt
        >>> adapted = adapt("bundle", "scene.tif", points="labels.gpkg", out="adapted")
        >>> scores = adapted.metadata.adaptation.scores
        >>> scores.before.accuracy, scores.after.accuracy

    Args:
        source: a bundle, a finished run, or a bundle's hub id.
        scene: a path, a URL, or any name that rasterio opens.
        points: vector file of points, such as a labelled sample of `draw_sample`.
        out: folder of the new bundle; it must not exist.
        field: name of the field with the true class of a point.
        bands: see `MapOptions`.
        scale: see `MapOptions`.
        resolution: see `MapOptions`, in metres.
        seed: of the folds.
        backbone: hub id or folder of the backbone, if it has moved since training.
        progress: whether to show a progress bar on stderr.
        log: called with each message, one line without a line break.

    Returns:
        The new bundle.

    Raises:
        OrbituneError: an input cannot be used, there are too few points, or the folder cannot be written.
    """
    out = Path(out)
    check_place(out)
    if out.exists():
        raise DataError(taken(out))
    check_seed(seed)
    if points is None:
        raise DataError(
            "Give labelled points (--points): orbitune map-sample --by uncertainty lists the places of a map "
            "that teach most."
        )
    Bundle.open(source).require_single_label("Adaptations")
    labelled = ReferencePoints.read(points, field, sample=False)
    options = MapOptions(bands=bands, scale=scale, resolution=resolution, mode="tiles")
    plan = plan_map(source, [scene], paths={}, options=options, backbone=backbone)
    labelled.check_classes(plan.bundle.classes)
    for line in plan.messages:
        log(line)
    for line in plan.warnings:
        logger.warning(line)
    fitted = _fit(plan, labelled, seed=seed, progress=progress)
    for line in fitted.warnings(plan.bundle.classes):
        logger.warning(line)
    _write(out, plan, fitted=fitted)
    return Bundle.open(out)


@dataclass(frozen=True)
class _FittedHead:
    """A head that was fitted to points, and its validation.

    Attributes:
        head: fitted to all points.
        family: of the backbone.
        temperature: fitted on held-out points.
        scores: of held-out points.
        places: the points.
        earlier: points of the scene that the parent was adapted to.
        scene_sha256: see `Scene.digest`.
        left_out: number of points that were not used.
        close: number of points near one of another cell, see `LabelledWindows.count_close`.
    """

    head: LinearHead
    family: Family
    temperature: float
    scores: AdaptationScores
    places: tuple[LabelledPlace, ...]
    earlier: tuple[LabelledPlace, ...]
    scene_sha256: str | None
    left_out: int
    close: int

    def counts(self, classes: Sequence[str]) -> dict[str, int]:
        """Return the number of points of each class."""
        labels = [place.label for place in self.places]
        return {name: labels.count(name) for name in classes}

    def warnings(self, classes: Sequence[str]) -> list[str]:
        """Return lines on points left out or too close, and classes without points."""
        counts = self.counts(classes)
        missing = [name for name in classes if not counts[name]]
        lines = [line] if (line := self.scores.warning()) else []
        if self.left_out:
            lines.append(
                f"{self.left_out:,} points have no class, or lie outside the scene or where it has no data: "
                "left out"
            )
        if self.close:
            lines.append(
                f"{self.close:,} points lie so near to others that their windows overlap: the accuracies are "
                "too high for places further away"
            )
        if self.scores.gain_interval[0] <= 0:
            lines.append(
                "the held-out points do not show that the new head is better than the old one: label more "
                "points, or keep the old bundle"
            )
        if missing:
            lines.append(
                f"no points of {', '.join(missing)}: the new head hardly predicts them, so label some if the "
                "scene has any"
            )
        return lines


def _fit(plan: MapPlan, labelled: ReferencePoints, *, seed: int, progress: bool) -> _FittedHead:
    """Fit the head of a plan's bundle to points, and validate it."""
    worker = Worker(plan.spec)
    try:
        windows = LabelledWindows.read(worker, labelled)
        folds = split_folds(windows, seed)
        features = window_features(worker.network, windows, progress=progress)
        [scene] = worker.scene.scenes
        scene_sha256 = scene.digest()
        earlier = earlier_places(worker.bundle.metadata.adaptation, scene_sha256)
        seen, refitted = find_seen_windows(worker, windows), find_earlier(worker, windows, places=earlier)
    finally:
        worker.close()
    bundle, labels = worker.bundle, windows.labels
    family = bundle.backbone(plan.spec.backbone).family
    start = LinearHead(*read_head(bundle.folder, family))
    if (patch_head := bundle.patch_head(windows.side)) and worker.network.plan.fast:
        before = worker.network.label_windows(patch_head.head, windows.tiles[:, 0])[0]
    else:
        before = cell_logits(start, features, tta=bundle.tta)
    after = np.empty_like(before)
    for fit, held_out in folds:
        head = refit_head(start, features[fit], labels=labels[fit])
        after[held_out] = cell_logits(head, features[held_out], tta=bundle.tta)
    return _FittedHead(
        head=refit_head(start, features, labels=labels),
        family=family,
        temperature=fit_temperature(after, labels),
        scores=score_points(
            before,
            after,
            labels=labels,
            classes=bundle.classes,
            folds=len(folds),
            seen=seen,
            refitted=refitted,
        ),
        earlier=earlier,
        places=_places(labelled, windows.used),
        scene_sha256=scene_sha256,
        left_out=labelled.unlabelled + windows.left_out,
        close=windows.count_close(),
    )


def _places(labelled: ReferencePoints, used: np.ndarray) -> tuple[LabelledPlace, ...]:
    """Return the points that were used, with their classes."""
    coordinates = labelled.coordinates("EPSG:4326")[:, used].T.tolist()
    return tuple(
        LabelledPlace(longitude=longitude, latitude=latitude, label=label)
        for (longitude, latitude), label in zip(coordinates, labelled.labels[used].tolist(), strict=True)
    )


def _write(out: Path, plan: MapPlan, *, fitted: _FittedHead) -> None:
    """Write the bundle of a plan with another head."""
    bundle, parent = plan.bundle, plan.bundle.metadata
    adaptation = Adaptation(
        parent=bundle.name,
        parent_sha256=file_hash(bundle.folder / FILE),
        scene=plan.metadata.scene,
        scene_sha256=fitted.scene_sha256,
        window=plan.spec.cells.tile,
        points={name: count for name, count in fitted.counts(bundle.classes).items() if count},
        left_out=fitted.left_out,
        places=fitted.places,
        earlier=fitted.earlier,
        scores=fitted.scores,
    )
    changed: dict[str, Any] = {
        "made_by": f"orbitune {version('orbitune')}",
        "scores": {},  # the parent's, with its confusions and the effect of its storage, are of its own head
        "confusion": None,
        "temperature": fitted.temperature,
        "ood_detector": parent.ood_detector and parent.ood_detector.model_copy(update={"risk": None}),
        "storage": parent.storage and WeightStorage(dtype=parent.storage.dtype),
        "adaptation": adaptation,
    }
    metadata = parent.model_copy(update=changed)
    with replacing(out) as folder:
        folder.mkdir()
        copy_saved(bundle.folder, folder)
        copy_seen(bundle.place, folder)
        backbone = bundle.backbone(plan.spec.backbone)
        carry_backbone(folder, backbone)
        write_head(folder, fitted.family, weight=fitted.head.weight, bias=fitted.head.bias)
        metadata = strip_paths(folder, metadata, backbone=backbone)
        write_metadata(folder, metadata)
        write_model_card(folder, metadata, family=fitted.family)
