"""Pipeline of a map: plan it, label its parts, assemble the files."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from orbitune.mapping.areas.analysis import MapAnalysis
from orbitune.mapping.dense import DenseHead
from orbitune.mapping.dense_fit import fit_dense_head, measure_agreement
from orbitune.mapping.executors import EXECUTORS
from orbitune.mapping.map_plan import MapPlan, plan_map
from orbitune.mapping.map_report import Agreement, MapMetadata, MapReport
from orbitune.mapping.options import MapOptions
from orbitune.mapping.outputs.rasters import MapRasters
from orbitune.mapping.outputs.table import OUTPUTS, resolve_paths
from orbitune.mapping.part_store import PartStore, PlanFile
from orbitune.mapping.worker import Worker
from orbitune.progress import ProgressDisplay

Log = Callable[[str], None]
_LOGGER = logging.getLogger("orbitune")


def map_scene(
    source: str | Path,
    scene: str | Path,
    *,
    outputs: str | Path | Mapping[str, str | Path],
    options: MapOptions | None = None,
    backbone: str | None = None,
    progress: bool = True,
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
        scene: a path, a URL, or any name that rasterio opens.
        outputs: path of the map, or paths by name of the output, see `outputs.table.OUTPUTS`.
        options: see `MapOptions`; None for the defaults.
        backbone: hub id or folder of the backbone, if it has moved since training.
        progress: whether to show a progress bar on stderr.
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
    plan = plan_map(source, scene, paths=paths, options=options, backbone=backbone)
    analysis.check_classes(plan.bundle.classes)
    for line in plan.messages:
        log(line)
    store = PartStore.beside(paths["map"])
    plan = _resume(plan, store, log)
    plan, agreement = _run(plan, store, executor=options.executor, progress=progress, log=log)
    metadata = _assemble(plan, store, paths=paths, agreement=agreement)
    areas, change = analysis.report(paths["map"])
    store.clear()
    return MapReport(metadata=metadata, warnings=plan.warnings, change=change, **dict(areas))


def _resume(plan: MapPlan, store: PartStore, log: Log) -> MapPlan:
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
    plan: MapPlan, store: PartStore, *, executor: str, progress: bool, log: Log
) -> tuple[MapPlan, Agreement | None]:
    """Label the missing parts.

    For a dense map, also measure the agreement with tile-wise predictions.
    """
    worker = Worker(plan.spec)
    try:
        # All workers must use one attention kernel, as kernels differ in the last bits.
        plan = replace(plan, spec=replace(plan.spec, attention=worker.network.attention))
        worker.spec = plan.spec
        store.write_plan(PlanFile(key=plan.key, attention=plan.spec.attention))
        head = _dense_head(worker, store) if plan.dense else None
        if head:
            worker.use_dense_head(head)
        _label_parts(worker, head, store=store, executor=executor, progress=progress, log=log)
        return plan, measure_agreement(worker, store) if plan.dense else None
    finally:
        worker.close()


def _dense_head(worker: Worker, store: PartStore) -> DenseHead:
    """Return the stored dense head; fit and store it first if there is none."""
    if (head := store.read_head()) is None:
        head = fit_dense_head(worker)
        store.write_head(head)
    return head


def _label_parts(
    worker: Worker, head: DenseHead | None, *, store: PartStore, executor: str, progress: bool, log: Log
) -> None:
    """Label and store the parts that are missing."""
    count = worker.spec.parts
    missing = store.missing(count)
    if done := count - len(missing):
        log(f"going on after {done} of {count} parts")
    with ProgressDisplay(progress) as display, display.task("mapping", count, done=done) as task:
        for number, labels in EXECUTORS[executor](worker, head, numbers=missing) if missing else ():
            store.write(number, labels)
            task.advance()


def _assemble(
    plan: MapPlan, store: PartStore, *, paths: Mapping[str, Path], agreement: Agreement | None
) -> MapMetadata:
    """Write the outputs from the finished parts; return the final metadata."""
    metadata = plan.metadata.model_copy(update={"agreement": agreement})
    rasters = MapRasters(
        store=store,
        spec=plan.spec,
        grid=plan.grid,
        pixel_grid=plan.pixel_grid,
        metadata=metadata,
        map_file=paths["map"],
        overview=plan.spec.scaling(plan.sample.data),
    )
    for name, path in paths.items():
        OUTPUTS[name].write(rasters, path)
    return metadata
