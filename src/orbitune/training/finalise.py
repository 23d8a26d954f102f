"""The end of a run: the test split is read, once, with the best weights; the model is saved and proven.

result.json is the last file written, so a run that is killed here does this again and nothing else.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from orbitune.evaluation.calibration import fit_temperature
from orbitune.evaluation.metrics import SplitScores, score
from orbitune.evaluation.run_result import Cost, ReloadCheck, RunResult
from orbitune.evaluation.saved_outputs import Predictions, write_predictions
from orbitune.models.checkpoint_io import prove_saved, save_model, tolerance
from orbitune.models.factory import build
from orbitune.models.metadata import ModelMetadata, TrainingData
from orbitune.models.methods import count_parameters, find_method
from orbitune.progress import ProgressDisplay
from orbitune.training.checkpoint import load_best
from orbitune.training.meter import folder_bytes, peak_cuda_bytes, peak_rss_bytes
from orbitune.training.trainer import Trainer, check_outputs

if TYPE_CHECKING:
    from torch import nn

PROOF_TILES = 8


def finish(trainer: Trainer, display: ProgressDisplay) -> RunResult:
    """Score the best weights on validation and test, save the model, prove it, write the result.

    Raises:
        DivergedError: the best weights, or their outputs, are not finite.
        RunError: what was saved does not load again, or gives other outputs.
    """
    accelerator = trainer.accelerator
    accelerator.wait_for_everyone()  # until the first process has written the best weights
    trainer.progress.test_reads += 1
    trainer.save()  # a run that is killed from here on has read the test split, and must say so
    load_best(trainer.folder.best, trainer.model, trainer.progress.best_epoch)
    with trainer.folder.keeping_divergence():
        with trainer.meter.phase("evaluation"):
            tta = trainer.job.recipe.tta
            logits = {split: trainer.logits(split, display, tta) for split in ("validation", "test")}
        if accelerator.is_main_process:
            _conclude(trainer, logits)
    accelerator.wait_for_everyone()
    return RunResult.load(trainer.folder.path)


def _conclude(trainer: Trainer, logits: dict[str, np.ndarray]) -> None:
    job, folder = trainer.job, trainer.folder
    scores = {split: score(logits[split], trainer.labels(split), job.tiles.classes) for split in logits}
    saved = folder.path / find_method(job.recipe.method).folder
    plain = _plain_model(trainer)
    temperature = fit_temperature(logits["validation"], trainer.labels("validation"))
    save_model(plain, saved, job.backbone, _metadata(trainer, scores, temperature))
    proof = _prove(trainer, plain, saved)
    write_predictions(folder.path, _predictions(trainer, logits), job.recipe.hash)
    trainer.meter.count_run()
    peak = max(trainer.progress.peak_rss_bytes, peak_rss_bytes())
    result = RunResult(
        recipe=job.recipe,
        recipe_hash=job.recipe.hash,
        parameters=count_parameters(plain, job.backbone.family),
        backbone=job.backbone.record,
        preprocessing=job.preprocessing,
        data=job.data,
        best_epoch=trainer.progress.best_epoch,
        validation=scores["validation"],
        test=scores["test"],
        test_reads=trainer.progress.test_reads,
        history=tuple(trainer.progress.history),
        cost=_cost(trainer, peak, folder_bytes(saved)),
        compute=trainer.computation(),
        proof=proof,
    )
    result.save(folder.path)
    folder.drop_checkpoint()


def _plain_model(trainer: Trainer) -> "nn.Module":
    """The best weights in a model of fp32 on the CPU; the trained one may hold frozen weights of less."""
    job = trainer.job
    model = build(job.recipe, job.backbone, job.tiles.classes)
    load_best(trainer.folder.best, model, trainer.progress.best_epoch)
    return model.eval()


def _prove(trainer: Trainer, model: "nn.Module", saved: Path) -> ReloadCheck:
    """Compare the saved model, reloaded in a fresh process, with this one on a fixed batch, in fp32."""
    import torch

    job = trainer.job
    pixels = job.transform(torch.from_numpy(job.tiles.read(job.splits["validation"][:PROOF_TILES])))
    with torch.inference_mode():
        logits = model(pixel_values=pixels, **job.backbone.family.forward).logits
    check_outputs(logits.numpy())
    difference = prove_saved(saved, job.backbone, pixels, logits)
    return ReloadCheck(tolerance=tolerance(logits), largest_difference=difference)


def _metadata(trainer: Trainer, scores: dict[str, SplitScores], temperature: float) -> ModelMetadata:
    """Return what goes beside the weights, so that they can be used without the run."""
    job = trainer.job
    return ModelMetadata(
        method=job.recipe.method,
        classes=job.tiles.classes,
        preprocessing=job.preprocessing,
        backbone=job.backbone.record,
        data=TrainingData(fingerprint=job.tiles.fingerprint, split_files=job.recipe.split_files),
        recipe_hash=job.recipe.hash,
        scores={split: values.summary() for split, values in scores.items()},
        temperature=temperature,
    )


def _predictions(trainer: Trainer, logits: dict[str, np.ndarray]) -> dict[str, Predictions]:
    """Return the run's predictions by split."""
    splits = trainer.job.splits
    return {
        split: Predictions(splits[split], trainer.labels(split), values) for split, values in logits.items()
    }


def _cost(trainer: Trainer, peak_rss_bytes: int, artefact_bytes: int) -> Cost:
    """Return time by phase, energy, speed, memory and size; the time of each epoch is in the history."""
    totals, epochs = trainer.meter.totals, trainer.job.recipe.epochs
    # A prefix that this run computed is part of what its epochs took.
    seconds = totals["train_seconds"] + totals.get("prefix_seconds", 0.0)
    return Cost.model_validate(
        {
            **trainer.meter.seconds(),
            **trainer.meter.energy(),
            "seconds_per_epoch": seconds / epochs,
            "images_per_second": epochs * trainer.job.tiles_per_epoch / seconds,
            "prefix_reused": trainer.job.recipe.cache_frozen and not trainer.progress.prefix_built,
            "peak_rss_bytes": peak_rss_bytes,
            "peak_cuda_bytes": peak_cuda_bytes(),
            "artefact_bytes": artefact_bytes,
            "resumed": trainer.progress.resumed,
        }
    )
