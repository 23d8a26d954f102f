"""Expected cost of a run: parameter counts, and time and memory of a few steps.

The steps are those of training itself, on real tiles and full batches; nothing is modelled.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orbitune.data.labels.early_checks import check_tiles
from orbitune.data.loader import TileLoader
from orbitune.files import scratch
from orbitune.models.factory import image_size, plan_parameters
from orbitune.processes.child_processes import run_module
from orbitune.processes.launcher import ForkServer
from orbitune.recipe import Recipe
from orbitune.reporting.formatting import duration
from orbitune.resources import make_accelerator
from orbitune.study.arms import arm_name, backbone_labels
from orbitune.study.records import Plan
from orbitune.study.tune.cost import cost_rows, search_cost
from orbitune.training.meter import peak_cuda_bytes, peak_rss_bytes, reset_peak_rss
from orbitune.training.run_folder import RunFolder
from orbitune.training.schedule import phase_starts
from orbitune.training.setup import TrainingSetup, check_recipes, prepare_training
from orbitune.training.trainer import Trainer

STEPS = 5
LEAST_STEPS = 3  # enough if they took LONG_SECONDS together: long steps vary less
LONG_SECONDS = 2.0
MAX_SECONDS = 30.0  # no further step is started after these
FLOAT_BYTES = 4


def plan_run(recipe: Recipe, progress: bool = True) -> Plan:
    """Measure a few training steps of a recipe in this process; nothing is stored.

    Peak memory is that of the whole process: for a reliable figure call it in a fresh process.

    Examples:
        >>> from orbitune import Recipe, plan_run
        >>> plan = plan_run(Recipe(data="tiles", backbone="demo"))
        >>> plan.train_seconds, plan.peak_rss_bytes

    Args:
        recipe: what would be trained.
        progress: show a progress bar while tiles are decoded.

    Returns:
        Expected time, memory and storage of the run.

    Raises:
        OrbituneError: as training would.
    """
    setup = prepare_training(recipe, progress)
    begin = time.perf_counter()
    prepare_training(recipe, progress=False)  # again, as the first one may have decoded the tiles
    prepared = time.perf_counter() - begin
    reset_peak_rss()
    tile = setup.tiles.tiles.shape[1:3]
    parameters = plan_parameters(setup.recipe, setup.backbone, classes=setup.tiles.classes)
    start = time.perf_counter()
    costs = _measure(setup)
    seconds = time.perf_counter() - start
    sizes = {name: len(indices) for name, indices in setup.splits.items()}
    epochs = setup.recipe.max_epochs
    rows = setup.views * sizes["train"] + sizes["validation"] + sizes["test"]
    train = setup.tiles_per_epoch * costs.train * epochs + rows * costs.cache
    scored = sizes["validation"] + sizes["test"]  # at the end; over all layers where the cache is rounded
    frozen = scored * costs.cache if setup.recipe.cache_bits else 0.0
    return Plan(
        recipe=setup.recipe,
        data=setup.data,
        backbone=setup.backbone.record,
        parameters=parameters,
        seconds_per_epoch=train / epochs,
        train_seconds=train,
        evaluation_seconds=(sizes["validation"] * epochs + scored) * costs.evaluate + frozen,
        start_seconds=prepared + costs.start,
        images_per_second=epochs * setup.tiles_per_epoch / train,
        peak_rss_bytes=peak_rss_bytes(),
        peak_cuda_bytes=peak_cuda_bytes(),
        artefact_bytes=parameters.stored_bytes,
        # Trained weights and AdamW's two moments, old and new checkpoint; and the best weights.
        checkpoint_bytes=parameters.trainable * FLOAT_BYTES * 7,
        tiles_bytes=setup.tiles.tiles.nbytes,
        cache_bytes=rows * costs.cache_bytes,
        steps_measured=costs.steps,
        seconds_measured=seconds,
        image_sizes={name: image_size(name, setup.backbone, tile=tile) for name in ("auto", "native")},
    )


@dataclass(frozen=True)
class _Costs:
    """Seconds per tile trained, evaluated and cached; bytes per cached tile; seconds of the set-up."""

    start: float
    train: float
    evaluate: float
    cache: float
    cache_bytes: int
    steps: int


def _measure(setup: TrainingSetup) -> _Costs:
    """Measure training steps per phase of the schedule, an evaluation batch, and the cache."""
    cached = setup.recipe.cache_frozen
    if cached:  # of the few tiles that are measured
        count = (STEPS + 1) * setup.recipe.batch_size
        setup = replace(setup, splits={name: indices[:count] for name, indices in setup.splits.items()})
    with scratch() as temporary:
        begin = time.perf_counter()
        folder = RunFolder(temporary / "plan", setup.recipe, inputs=setup.inputs())
        trainer = Trainer.build(setup, folder, accelerator=make_accelerator())
        set_up = time.perf_counter() - begin
        cache, cache_bytes = _build_cache(trainer, temporary / "cache") if cached else (0.0, 0)
        steps = setup.steps
        firsts = phase_starts(setup.recipe, steps)
        train, measured = 0.0, 0
        for first, after in zip(firsts, [*firsts[1:], steps], strict=True):
            seconds = _step_seconds(trainer, first, most=min(STEPS, after - first))
            train += statistics.median(seconds) * (after - first) / steps
            measured += len(seconds)
        part = setup.splits["validation"][: setup.recipe.batch_size]
        start = time.perf_counter()
        setup.predict(trainer.network, trainer.loader, accelerator=trainer.accelerator, indices=part)
        evaluate = (time.perf_counter() - start) / len(part)
        return _Costs(set_up, train, evaluate, cache, cache_bytes, measured)


def _build_cache(trainer: Trainer, folder: Path) -> tuple[float, int]:
    """Give the trainer an activation cache; return its seconds and bytes per row."""
    assert isinstance(trainer.loader, TileLoader)
    loader = trainer.setup.activation_loader(
        trainer.network, trainer.loader, device=trainer.accelerator.device, folder=folder
    )
    start = time.perf_counter()
    loader.build(trainer.setup.recipe.micro_batch or 1)
    trainer.loader = loader
    return (time.perf_counter() - start) / loader.rows, loader.row_bytes


def _step_seconds(trainer: Trainer, first: int, *, most: int) -> list[float]:
    """Return the seconds per tile of a few steps from step `first` on.

    Args:
        trainer: of the run that is planned.
        first: number of the first step.
        most: largest number of steps to measure; a run of fewer steps needs no more.
    """
    trainer.state.step = first
    trainer.step()  # warm-up: the first step also sets up the kernels
    trainer.state.step = first  # so that no measured step belongs to the next phase
    seconds: list[float] = []
    begin = time.perf_counter()
    while len(seconds) < most:
        start = time.perf_counter()
        if start - begin > (LONG_SECONDS if len(seconds) >= LEAST_STEPS else MAX_SECONDS):
            break
        seen = trainer.state.seen
        trainer.step()
        seconds.append((time.perf_counter() - start) / (trainer.state.seen - seen))
    return seconds


def plan_methods(recipes: Sequence[Recipe], progress: bool = True) -> list[Plan]:
    """Return the plan of each recipe; several are measured in a process of its own each.

    Args:
        recipes: one per method and backbone.
        progress: whether to show progress on stderr.

    Returns:
        Plans in the order of the recipes.

    Raises:
        OrbituneError: as `plan_run`.
    """
    if len(recipes) == 1:
        return [plan_run(recipes[0], progress)]
    check_recipes(*recipes)
    check_tiles([recipe.anchored() for recipe in recipes], progress=progress)
    with ForkServer.spawn() as server:
        return [plan_apart(recipe, server) for recipe in recipes]


def plan_apart(recipe: Recipe, server: ForkServer) -> Plan:
    """Return the plan of a recipe, measured in a process of its own.

    Args:
        recipe: what would be trained.
        server: forks the process.

    Raises:
        OrbituneError: as `plan_run`.
    """
    with scratch() as temporary:
        file = temporary / "recipe.yaml"
        recipe.save(file)
        options = ("--recipe", str(file), "--methods", recipe.method, "--json")
        return Plan.from_json(run_module("orbitune", "plan", *options, server=server)["plans"][0])


def plan_table(plans: Sequence[Plan], *, tune: int = 0) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a table with one column per method and backbone.

    Args:
        plans: one per method and backbone.
        tune: number of learning rates that a search tries first; 0 for no rows about it.
    """
    labels = backbone_labels(list(dict.fromkeys(plan.recipe.backbone for plan in plans)))
    parts = ("total", "backbone", "adapter", "head", "trainable")
    counts = [plan.parameters.to_json() for plan in plans]
    rows = [[f"parameters: {part}", *(f"{each[part]:,}" for each in counts)] for part in parts]
    early = any(plan.recipe.patience for plan in plans)  # they may stop before their last epoch
    cache = ["disk: activation cache", *(f"{plan.cache_bytes / 1e6:,.1f} MB" for plan in plans)]
    rows += [
        ["training, per epoch", *(f"{plan.seconds_per_epoch:,.0f} s" for plan in plans)],
        [
            f"training, {'at most' if early else 'total'}",
            *(duration(plan.train_seconds) for plan in plans),
        ],
        ["evaluation, total", *(duration(plan.evaluation_seconds) for plan in plans)],
        ["training speed", *(f"{plan.images_per_second:,.0f} tiles/s" for plan in plans)],
        ["peak memory", *(f"{plan.peak_rss_bytes / 1e9:.2f} GB" for plan in plans)],
        ["peak GPU memory", *(_gigabytes(plan.peak_cuda_bytes) for plan in plans)],
        ["disk: saved weights", *(f"{plan.artefact_bytes / 1e6:,.1f} MB" for plan in plans)],
        ["disk: checkpoint while training", *(f"{plan.checkpoint_bytes / 1e6:,.1f} MB" for plan in plans)],
        ["disk: decoded tiles", *(f"{plan.tiles_bytes / 1e6:,.1f} MB" for plan in plans)],
        *([cache] if any(plan.cache_bytes for plan in plans) else []),
        *(cost_rows([search_cost(tune, plan) for plan in plans]) if tune else []),
        ["steps measured", *(str(plan.steps_measured) for plan in plans)],
    ]
    if len(labels) > 1:
        rows.insert(0, ["image size", *(f"{plan.recipe.image_size} px" for plan in plans)])
    return ["", *(arm_name(plan.recipe.method, labels[plan.recipe.backbone]) for plan in plans)], rows


def _gigabytes(count: int | None) -> str:
    return "no GPU" if count is None else f"{count / 1e9:.2f} GB"
