"""Pipeline of a map: plan it, label its parts, assemble the files."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from orbitune.mapping.areas.analysis import MapAnalysis
from orbitune.mapping.dense.agreement import measure_agreement
from orbitune.mapping.dense.fit import fit_dense_head
from orbitune.mapping.dense.predictor import DenseFit
from orbitune.mapping.executors import EXECUTORS
from orbitune.mapping.label_sets.areas import label_set_areas
from orbitune.mapping.map_plan import MapPlan, plan_map
from orbitune.mapping.map_quality import measure_quality
from orbitune.mapping.map_report import MapReport, SieveRecord
from orbitune.mapping.options import MapOptions
from orbitune.mapping.outputs.rasters import MapRasters
from orbitune.mapping.outputs.sieve import sieve_rasters
from orbitune.mapping.outputs.table import OUTPUTS, resolve_paths
from orbitune.mapping.part_store import PartStore, PlanFile
from orbitune.mapping.smoothing import SmoothedParts
from orbitune.mapping.worker import Worker
from orbitune.progress import OnProgress, ProgressDisplay

Log = Callable[[str], None]
_LOGGER = logging.getLogger("orbitune")


def map_scene(
    source: str | Path,
    scene: str | Path | Sequence[str | Path],
    *,
    outputs: str | Path | Mapping[str, str | Path],
    options: MapOptions | None = None,
    backbone: str | None = None,
    progress: bool = True,
    on_progress: OnProgress = lambda done, parts: None,
    log: Log = _LOGGER.info,
    **settings: Any,
) -> MapReport:
    """Make a land-cover map of a scene.

    To continue an interrupted map, make the same call again. The files have the same bytes as those of an
    uninterrupted map.

    Examples:
        >>> from orbitune import map_scene
        >>> outputs = {"map": "map.tif", "polygons": "map.gpkg"}
        >>> report = map_scene("bundle", "scene.tif", outputs=outputs, stride=16)
        >>> {area.name: area.hectares for area in report.areas}

    Args:
        source: a bundle, a finished run, or a bundle's hub id.
        scene: a path, a URL, or any name that rasterio opens; or several of them for one map on the grid of
            the first. Where scenes overlap, the first with data counts.
        outputs: path of the map, or paths by name of the output, see `outputs.table.OUTPUTS`.
        options: see `MapOptions`; None for the defaults.
        backbone: hub id or folder of the backbone, if it has moved since training.
        progress: whether to show a progress bar on stderr.
        on_progress: called with the number of finished parts and of all, after each part.
        log: called with each message, one line without a line break.
        **settings: single options by name, such as `stride=16`; they override those of `options`.

    Returns:
        Metadata, areas by class, and warnings.

    Raises:
        OrbituneError: the model or the scene cannot be used with these options, or a file cannot be written.
        TypeError: there is no option of such a name.
    """
    options = replace(options or MapOptions(), **settings)
    analysis = MapAnalysis.open(options)
    paths = resolve_paths(outputs)
    scenes = [scene] if isinstance(scene, (str, os.PathLike)) else list(scene)
    plan = plan_map(source, scenes, paths=paths, options=options, backbone=backbone)
    analysis.check_classes(plan.bundle.classes)
    analysis.check_places(plan.native_grid)
    for line in plan.messages:
        log(line)
    store = PartStore.beside(paths["map"])
    plan = _resume(plan, store, log=log)
    plan = _run(plan, store, executor=options.executor, progress=progress, on_progress=on_progress, log=log)
    rasters = _rasters(plan, _finished(plan, store), map_file=paths["map"])
    if options.min_area is not None:
        rasters = sieve_rasters(rasters, options.min_area)
        log(_sieve_message(rasters.metadata.sieve))
    for name, path in paths.items():
        OUTPUTS[name].write(rasters, path)
    if rasters.label_sets:
        areas, change = label_set_areas(rasters), None
    else:
        areas, change = analysis.report(paths["map"])
    store.clear()
    quality = rasters.metadata.quality
    warnings = (*plan.warnings, *(quality.warnings() if quality else ()), *areas.warnings)
    found = {**dict(areas), "warnings": warnings}
    return MapReport(metadata=rasters.metadata, change=change, **found)


def _resume(plan: MapPlan, store: PartStore, *, log: Log) -> MapPlan:
    """Return the plan with the attention kernel of stored parts.

    Remove parts of another map.
    """
    stored = store.read_plan()
    if stored is None or stored.key != plan.key:
        if stored:
            log("the unfinished map of this name has other inputs or options: starting anew")
        store.clear()
        return plan
    return replace(plan, spec=replace(plan.spec, attention=stored.attention))


def _run(
    plan: MapPlan, store: PartStore, *, executor: str, progress: bool, on_progress: OnProgress, log: Log
) -> MapPlan:
    """Label the missing parts.

    Returns:
        The plan with the attention kernel; for a dense map, its metadata have the number of labelled points
        that it was fitted to, and the agreement with tile-wise predictions.
    """
    worker = Worker(plan.spec)
    try:
        # All workers must use one attention kernel, as kernels differ in the last bits.
        plan = replace(plan, spec=replace(plan.spec, attention=worker.network.attention))
        worker.spec = plan.spec
        store.write_plan(PlanFile(key=plan.key, attention=plan.spec.attention))
        fit = _fit_dense(worker, store, log=log) if plan.dense else None
        if fit:
            worker.use_dense(fit)
        _label_parts(
            worker,
            fit,
            store=store,
            executor=executor,
            progress=progress,
            on_progress=on_progress,
            log=log,
        )
        if fit is None:
            return plan
        agreement = measure_agreement(worker, _finished(plan, store), fitted=fit.cells)
        found = {"labelled_points": fit.labelled_points, "agreement": agreement}
        return replace(plan, metadata=plan.metadata.model_copy(update=found))
    finally:
        worker.close()


def _fit_dense(worker: Worker, store: PartStore, *, log: Log) -> DenseFit:
    """Return the stored dense head; fit and store it first if there is none."""
    if (fit := store.read_fit()) is None:
        fit = fit_dense_head(worker)
        store.write_fit(fit)
    adaptation = worker.bundle.metadata.adaptation
    if worker.spec.adapted and adaptation and adaptation.places:
        log(_adaptation_message(fit.labelled_points, len(adaptation.places)))
    return fit


def _adaptation_message(fitted: int, count: int) -> str:
    """Return a line on how many of a model's labelled points shape the dense labels."""
    if fitted:
        return f"fitted also to {fitted:,} of the {count:,} labelled points of the adaptation"
    return (
        f"not fitted to the {count:,} labelled points of the adaptation: too few of them lie in the mapped "
        "area, or all are of one class"
    )


def _label_parts(
    worker: Worker,
    fit: DenseFit | None,
    *,
    store: PartStore,
    executor: str,
    progress: bool,
    on_progress: OnProgress,
    log: Log,
) -> None:
    """Label and store the parts that are missing."""
    count = worker.spec.parts
    missing = store.missing(count)
    if done := count - len(missing):
        log(f"going on after {done} of {count} parts")
    with ProgressDisplay(progress) as display, display.task("mapping", count, done=done) as task:
        for number, labels in EXECUTORS[executor](worker, fit, numbers=missing) if missing else ():
            store.write(number, labels)
            task.advance()
            done += 1
            on_progress(done, count)


def _finished(plan: MapPlan, store: PartStore) -> PartStore:
    """Return the store of a map's parts that reads final labels."""
    if (smoothing := plan.spec.smoothing) is None:
        return store
    return SmoothedParts(store.folder, count=plan.spec.parts, smoothing=smoothing)


def _rasters(plan: MapPlan, store: PartStore, *, map_file: Path) -> MapRasters:
    """Return the rasters of the finished parts."""
    label_sets = plan.metadata.thresholds is not None
    quality = measure_quality(store, plan.spec.parts, label_sets=label_sets)
    return MapRasters(
        store=store,
        spec=plan.spec,
        grid=plan.grid,
        native_grid=plan.native_grid,
        pixel_grid=plan.pixel_grid,
        metadata=plan.metadata.model_copy(update={"quality": quality}),
        map_file=map_file,
        overview=plan.overview.filled(0),
    )


def _sieve_message(sieve: SieveRecord | None) -> str:
    """Return a line about what the sieve changed."""
    assert sieve is not None  # called after the sieve alone
    left = f"; {sieve.remaining:,} have no class around them and stay" if sieve.remaining else ""
    return (
        f"sieve: {sieve.patches:,} patches below {sieve.min_hectares:g} ha ({sieve.hectares:,.1f} ha in all) "
        f"took the class around them{left}"
    )
