"""One run: train a recipe in a folder, from the start or from where it was stopped."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from orbitune.evaluation.run_result import RunResult
from orbitune.evaluation.saved_outputs import open_model, read_predictions
from orbitune.progress import ProgressDisplay
from orbitune.recipe import Recipe
from orbitune.resources import make_accelerator
from orbitune.training.meter import environment, reset_peak_rss
from orbitune.training.run_folder import RunFolder
from orbitune.training.setup import TrainingSetup, prepare_training

if TYPE_CHECKING:
    from accelerate import Accelerator


from orbitune.training.finalise import finish
from orbitune.training.trainer import Trainer


def train(recipe: Recipe, out: str | Path, progress: bool = True) -> RunResult:
    """Run one recipe in the folder `out`, from the start or from where it was stopped.

    Args:
        recipe: what to do; open settings are resolved, and the folder keeps the resolved recipe.
        out: the run folder. A finished run is not repeated, its result is returned.
        progress: show a progress bar on stderr.

    Raises:
        OrbituneError: the recipe does not fit the data, the backbone or the folder.
        DivergedError: the loss is no longer finite; the folder keeps that it was so.
        Interrupted: SIGINT arrived.
    """
    with open_run(recipe, out, progress) as (job, folder, accelerator, display):
        if folder.finished:
            folder.drop_checkpoint()
            return _kept_result(job, folder)
        return finish(fit(job, folder, accelerator, display), display)


def _kept_result(job: TrainingSetup, folder: RunFolder) -> RunResult:
    """Return the checked result of a finished run, with the present places of its inputs."""
    result = RunResult.load(folder.path)
    open_model(folder.path, result)
    for split in ("validation", "test"):
        read_predictions(folder.path, split, len(result.data.classes))
    recipe = result.recipe.model_copy(update=job.recipe.places)
    if recipe != result.recipe:
        result = result.model_copy(update={"recipe": recipe})
        result.save(folder.path)
    return result


@contextmanager
def open_run(
    recipe: Recipe, out: str | Path, progress: bool
) -> "Iterator[tuple[TrainingSetup, RunFolder, Accelerator, ProgressDisplay]]":
    """The job of a recipe and the folder of its run, which no other process works in meanwhile."""
    job = prepare_training(recipe, progress)
    accelerator = make_accelerator()
    with accelerator.main_process_first():
        folder = RunFolder(out, job.recipe, job.inputs())
    leads = accelerator.is_main_process
    with folder.locked() if leads else nullcontext(), ProgressDisplay(progress and leads) as display:
        yield job, folder, accelerator, display


def fit(
    job: TrainingSetup,
    folder: RunFolder,
    accelerator: "Accelerator",
    display: ProgressDisplay,
    epochs: int | None = None,
) -> "Trainer":
    """Train from the start, or the last checkpoint, to the last epoch or the one asked for."""
    with folder.keeping_divergence():
        reset_peak_rss()  # decoding came before, and belongs to no method
        if accelerator.is_main_process:
            folder.write_facts(environment(), job.tiles.skipped)
        trainer = Trainer.build(job, folder, accelerator)
        with trainer.stop_on_sigint():
            if job.recipe.cache_frozen:
                trainer.keep_prefix(display)
            trainer.fit(display, epochs)
        return trainer
