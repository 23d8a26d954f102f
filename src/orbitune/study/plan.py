"""What a run will cost, before it is trained: parameters counted, time and memory from a few real steps.

The steps are those of training itself, on real tiles and a full batch, so nothing is modelled.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from orbitune.data.loader import TileLoader
from orbitune.files import scratch
from orbitune.models.factory import image_size, plan_parameters
from orbitune.recipe import Recipe
from orbitune.resources import make_accelerator
from orbitune.study.child_processes import run_in_process
from orbitune.training.meter import peak_cuda_bytes, peak_rss_bytes, reset_peak_rss
from orbitune.training.run_folder import RunFolder
from orbitune.training.schedule import size_phases
from orbitune.training.setup import TrainingSetup, prepare_training
from orbitune.training.trainer import Trainer

STEPS = 5
SECONDS = 30.0  # no further step is begun after these
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Plan:
    """The expected cost of one run.

    Attributes:
        parameters: per part, see `orbitune.models.methods.count_parameters`.
        train_seconds, evaluation_seconds: of the whole run; a prefix that is kept is part of the former.
        prefix_bytes: what such a prefix takes on disk, 0 without one.
        peak_rss_bytes: of the process that trains; peak_cuda_bytes is None without a GPU.
        artefact_bytes: the saved weights.
        checkpoint_bytes: the most that the run folder needs besides, while it trains.
        steps_measured: how many steps the times rest on, and seconds_measured: how long they took in all.
        image_sizes: what the sizes `auto` and `native` are here, in pixels.
    """

    recipe: dict[str, Any]
    data: dict[str, Any]
    backbone: dict[str, Any]
    parameters: dict[str, int]
    seconds_per_epoch: float
    train_seconds: float
    evaluation_seconds: float
    images_per_second: float
    peak_rss_bytes: int
    peak_cuda_bytes: int | None
    artefact_bytes: int
    checkpoint_bytes: int
    tiles_bytes: int
    prefix_bytes: int
    steps_measured: int
    seconds_measured: float
    image_sizes: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def plan_run(recipe: Recipe, progress: bool = True) -> Plan:
    """Measure a few steps of this recipe in this process; nothing is kept.

    Peak memory is that of the process, so a figure to trust needs a process of its own.

    Raises:
        OrbituneError: as training would.
    """
    job = prepare_training(recipe, progress)
    reset_peak_rss()
    tile = job.tiles.tiles.shape[1:3]
    parameters = plan_parameters(job.recipe, job.backbone, job.tiles.classes)
    start = time.perf_counter()
    costs = _measure(job)
    seconds = time.perf_counter() - start
    sizes = {name: len(indices) for name, indices in job.splits.items()}
    epochs = job.recipe.epochs
    rows = job.views * sizes["train"] + sizes["validation"] + sizes["test"]
    train = job.tiles_per_epoch * costs.train * epochs + rows * costs.prefix
    return Plan(
        recipe=job.recipe.model_dump(mode="json"),
        data=job.data.to_json(),
        backbone=job.backbone.record.to_json(),
        parameters=parameters,
        seconds_per_epoch=train / epochs,
        train_seconds=train,
        evaluation_seconds=(sizes["validation"] * (epochs + 1) + sizes["test"]) * costs.evaluate,
        images_per_second=epochs * job.tiles_per_epoch / train,
        peak_rss_bytes=peak_rss_bytes(),
        peak_cuda_bytes=peak_cuda_bytes(),
        artefact_bytes=parameters["stored"] * FLOAT_BYTES,
        # The weights that are trained and AdamW's two averages, old and new; and the best.
        checkpoint_bytes=parameters["trainable"] * FLOAT_BYTES * 7,
        tiles_bytes=job.tiles.tiles.nbytes,
        prefix_bytes=rows * costs.prefix_bytes,
        steps_measured=costs.steps,
        seconds_measured=seconds,
        image_sizes={name: image_size(name, job.backbone, tile) for name in ("auto", "native")},
    )


@dataclass(frozen=True)
class _Costs:
    """Seconds for each tile that is trained on, evaluated, and kept in the prefix in one view; its bytes."""

    train: float
    evaluate: float
    prefix: float
    prefix_bytes: int
    steps: int


def _measure(job: TrainingSetup) -> _Costs:
    keeps = job.recipe.cache_frozen
    if keeps:  # a prefix of the few tiles that are measured
        count = (STEPS + 1) * job.recipe.batch_size
        job = replace(job, splits={name: indices[:count] for name, indices in job.splits.items()})
    with scratch() as temporary:
        folder = RunFolder(temporary / "plan", job.recipe, job.inputs())
        trainer = Trainer.build(job, folder, accelerator=make_accelerator())
        prefix, prefix_bytes = _keep_prefix(trainer, temporary / "prefix") if keeps else (0.0, 0)
        steps = job.recipe.epochs * job.steps_per_epoch
        firsts = [first for _, first in size_phases(job.recipe, steps)]
        train, measured = 0.0, 0
        for first, after in zip(firsts, [*firsts[1:], steps], strict=True):
            seconds = _step_seconds(trainer, first)
            train += statistics.median(seconds) * (after - first) / steps
            measured += len(seconds)
        part = job.splits["validation"][: job.recipe.batch_size]
        start = time.perf_counter()
        job.predict(trainer.network, trainer.loader, accelerator=trainer.accelerator, indices=part)
        evaluate = (time.perf_counter() - start) / len(part)
        return _Costs(train, evaluate, prefix, prefix_bytes, measured)


def _keep_prefix(trainer: Trainer, folder: Path) -> tuple[float, int]:
    """Give the trainer a prefix of its tiles; seconds and bytes of each state."""
    assert isinstance(trainer.loader, TileLoader)
    feed = trainer.setup.activation_loader(
        trainer.network, trainer.loader, trainer.accelerator.device, folder
    )
    start = time.perf_counter()
    feed.build(trainer.setup.recipe.micro_batch or 1)
    trainer.loader = feed
    return (time.perf_counter() - start) / feed.rows, feed.row_bytes


def _step_seconds(trainer: Trainer, first: int) -> list[float]:
    """Seconds per tile of a few steps from this one on."""
    trainer.state.step = first
    trainer.step()  # the first step also sets up the kernels
    seconds: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(seconds) < STEPS and (start := time.perf_counter()) < end:
        seen = trainer.state.seen
        trainer.step()
        seconds.append((time.perf_counter() - start) / (trainer.state.seen - seen))
    return seconds


def plan_methods(recipes: Sequence[Recipe], progress: bool = True) -> list[dict[str, Any]]:
    """Plans of several recipes; where there is more than one, each is made in a process of its own."""
    if len(recipes) == 1:
        return [plan_run(recipes[0], progress).to_json()]
    with scratch() as temporary:
        plans = []
        for recipe in recipes:
            file = temporary / f"{recipe.method}.yaml"
            recipe.save(file)
            plans += run_in_process("plan", file, "--methods", recipe.method)["plans"]
        return plans


def plan_table(plans: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and rows, one column per method."""
    parts = ("total", "backbone", "adapter", "head", "trainable")
    rows = [[f"parameters: {part}", *(f"{p['parameters'][part]:,}" for p in plans)] for part in parts]
    prefix = ["disk: prefix", *(f"{p['prefix_bytes'] / 1e6:,.1f} MB" for p in plans)]
    rows += [
        ["training, an epoch", *(f"{p['seconds_per_epoch']:,.0f} s" for p in plans)],
        ["training, in all", *(f"{p['train_seconds'] / 60:,.1f} min" for p in plans)],
        ["evaluation, in all", *(f"{p['evaluation_seconds'] / 60:,.1f} min" for p in plans)],
        ["training speed", *(f"{p['images_per_second']:,.0f} tiles/s" for p in plans)],
        ["peak memory", *(f"{p['peak_rss_bytes'] / 1e9:.2f} GB" for p in plans)],
        ["peak GPU memory", *(_gigabytes(p["peak_cuda_bytes"]) for p in plans)],
        ["disk: saved weights", *(f"{p['artefact_bytes'] / 1e6:,.1f} MB" for p in plans)],
        ["disk: checkpoint while training", *(f"{p['checkpoint_bytes'] / 1e6:,.1f} MB" for p in plans)],
        ["disk: decoded tiles", *(f"{p['tiles_bytes'] / 1e6:,.1f} MB" for p in plans)],
        *([prefix] if any(p["prefix_bytes"] for p in plans) else []),
        ["steps measured", *(str(p["steps_measured"]) for p in plans)],
    ]
    return ["", *(p["recipe"]["method"] for p in plans)], rows


def _gigabytes(count: int | None) -> str:
    return "no GPU" if count is None else f"{count / 1e9:.2f} GB"
