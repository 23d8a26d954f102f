"""End of a run: test scores, saved model, checks and result.

result.json is written last, so a run that is killed here repeats this part and nothing else.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from orbitune.data.loader import TileLoader
from orbitune.data.transform import to_tensor
from orbitune.evaluation.details.seen_scores import with_seen
from orbitune.evaluation.metrics import SplitScores
from orbitune.evaluation.run_result import FILE, Cost, ReloadCheck, RunResult
from orbitune.evaluation.saved_outputs import Predictions, write_predictions
from orbitune.evaluation.tasks.task import Decision
from orbitune.models.checkpoint_io import save_model, tolerance, verify_saved
from orbitune.models.factory import build
from orbitune.models.lineage.seen_tiles import write_seen
from orbitune.models.lineage.training_data import TrainingData
from orbitune.models.metadata import ModelMetadata
from orbitune.models.methods import count_parameters, find_method
from orbitune.training.checkpoint import load_best
from orbitune.training.checks import check_outputs
from orbitune.training.meter import folder_bytes, peak_cuda_bytes, peak_rss_bytes
from orbitune.training.trainer import Trainer

if TYPE_CHECKING:
    from torch import nn

CHECK_TILES = 8


def finalise(trainer: Trainer) -> RunResult:
    """Score the best weights, save and check the model, write the result.

    Raises:
        DivergedError: the best weights, or their outputs, are not finite.
        RunError: the saved model does not load, or gives other outputs.
    """
    accelerator = trainer.accelerator
    accelerator.wait_for_everyone()  # until the first process has written the best weights
    _count_test_read(trainer)
    load_best(trainer.folder.best, trainer.model, epoch=trainer.best_epoch)
    if trainer.setup.recipe.cache_bits:  # scores are those of the saved model, whose states have all bits
        trainer.loader = TileLoader(trainer.setup.tiles, accelerator.device)
    with trainer.folder.recording_divergence():
        with trainer.meter.phase("evaluation"):
            tta, task = trainer.setup.recipe.tta, trainer.setup.task
            logits = {split: task.storable(trainer.logits(split, tta)) for split in ("validation", "test")}
        if accelerator.is_main_process:
            _write_outputs(trainer, logits)
    accelerator.wait_for_everyone()
    return RunResult.load(trainer.folder.path)


def _count_test_read(trainer: Trainer) -> None:
    """Count a read of the test split before it happens, as the run may be killed after it."""
    # The result of a run that is being extended may count more than its state, as of `orbitune evaluate`.
    state, folder = trainer.state, trainer.folder.path
    stored = RunResult.load(folder) if (folder / FILE).is_file() else None
    state.test_reads = max(state.test_reads, stored.test_reads if stored else 0) + 1
    trainer.save()
    if stored and trainer.accelerator.is_main_process:
        stored.model_copy(update={"test_reads": state.test_reads}).save(folder)


def _write_outputs(trainer: Trainer, logits: dict[str, np.ndarray]) -> None:
    setup, folder = trainer.setup, trainer.folder
    task, classes = setup.task, setup.tiles.classes
    decision = task.fit_decision(logits["validation"], trainer.labels("validation"))
    scores = {
        split: with_seen(
            task.score(each, trainer.labels(split), classes=classes, decision=decision),
            (setup.seen or {}).get(split),
            task=task,
            logits=each,
            labels=trainer.labels(split),
            decision=decision,
        )
        for split, each in logits.items()
    }
    saved = folder.path / find_method(setup.recipe.method).folder
    plain = _plain_model(trainer)
    save_model(plain, saved, backbone=setup.backbone, metadata=_metadata(trainer, scores, decision=decision))
    check = _check_reload(trainer, plain, saved=saved)
    write_seen(folder.path, setup.tiles, splits=setup.splits, backbone=setup.backbone)
    write_predictions(folder.path, _predictions(trainer, logits), recipe_hash=setup.recipe.hash)
    trainer.meter.update_totals()
    peak = max(trainer.state.peak_rss_bytes, peak_rss_bytes())
    result = RunResult(
        recipe=setup.recipe,
        recipe_hash=setup.recipe.hash,
        parameters=count_parameters(plain, setup.backbone.family),
        backbone=setup.backbone.record,
        preprocessing=setup.preprocessing,
        data=setup.data,
        best_epoch=trainer.best_epoch,
        validation=scores["validation"],
        test=scores["test"],
        test_reads=trainer.state.test_reads,
        history=tuple(trainer.state.history),
        cost=_cost(trainer, peak, artefact_bytes=folder_bytes(saved)),
        compute=trainer.computation(),
        reload_check=check,
    )
    result.save(folder.path)


def _plain_model(trainer: Trainer) -> "nn.Module":
    """Return the best weights in an fp32 model on the CPU."""
    setup = trainer.setup
    model = build(setup.recipe, setup.backbone, classes=setup.tiles.classes)
    load_best(trainer.folder.best, model, epoch=trainer.best_epoch)
    model.config.problem_type = setup.task.problem_type  # type: ignore[union-attr]
    return model.eval()


def _check_reload(trainer: Trainer, model: "nn.Module", *, saved: Path) -> ReloadCheck:
    """Compare the model, reloaded in another process, with this one in fp32."""
    import torch

    setup = trainer.setup
    pixels = setup.transform(to_tensor(setup.tiles.read(setup.splits["validation"][:CHECK_TILES])))
    with torch.inference_mode():
        logits = model(pixel_values=pixels, **setup.backbone.family.forward).logits
    check_outputs(logits.numpy())
    difference = verify_saved(saved, setup.backbone, pixels=pixels, logits=logits)
    return ReloadCheck(tolerance=tolerance(logits), largest_difference=difference)


def _metadata(trainer: Trainer, scores: dict[str, SplitScores], *, decision: Decision) -> ModelMetadata:
    """Return what goes beside the weights, so that they can be used without the run."""
    setup = trainer.setup
    return ModelMetadata(
        method=setup.recipe.method,
        task=setup.task.name,
        classes=setup.tiles.classes,
        preprocessing=setup.preprocessing,
        backbone=setup.backbone.record,
        data=TrainingData(fingerprint=setup.tiles.fingerprint, split_files=setup.recipe.split_files),
        recipe_hash=setup.recipe.hash,
        scores={split: values.summary() for split, values in scores.items()},
        temperature=decision.temperature,
        offsets=decision.offsets,
        thresholds=decision.thresholds,
    )


def _predictions(trainer: Trainer, logits: dict[str, np.ndarray]) -> dict[str, Predictions]:
    """Return the run's predictions by split."""
    splits = trainer.setup.splits
    return {
        split: Predictions(splits[split], trainer.labels(split), values) for split, values in logits.items()
    }


def _cost(trainer: Trainer, peak_rss_bytes: int, *, artefact_bytes: int) -> Cost:
    """Return time by phase, energy, speed, memory and size."""
    totals, epochs = trainer.meter.totals, len(trainer.state.history)
    # Activations that this run computed for the cache are part of the time of its epochs.
    seconds = totals["train_seconds"] + totals.get("cache_seconds", 0.0)
    return Cost.model_validate(
        {
            **trainer.meter.seconds(),
            **trainer.meter.energy(),
            "seconds_per_epoch": seconds / epochs,
            "images_per_second": epochs * trainer.setup.tiles_per_epoch / seconds,
            "cache_reused": trainer.setup.recipe.cache_frozen and not trainer.state.cache_built,
            "peak_rss_bytes": peak_rss_bytes,
            "peak_cuda_bytes": peak_cuda_bytes(),
            "artefact_bytes": artefact_bytes,
            "resumed": trainer.state.resumed,
        }
    )
