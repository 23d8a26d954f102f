"""A training run: start it in a folder, or resume its last checkpoint."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orbitune.errors import OrbituneError
from orbitune.evaluation.run_result import RunResult
from orbitune.evaluation.saved_outputs import open_model, read_predictions
from orbitune.machine.environment import Environment
from orbitune.models.files.location import check_unambiguous
from orbitune.progress import ProgressDisplay
from orbitune.recipe import Recipe
from orbitune.reporting.run_sentences import describe_start
from orbitune.resources import make_accelerator
from orbitune.training.callbacks import Callback, CallbackList
from orbitune.training.duration.extension import continue_recipe
from orbitune.training.finalise import finalise
from orbitune.training.meter import reset_peak_rss
from orbitune.training.preparation.frozen_cache import cache_frozen_layers
from orbitune.training.preparation.notes import cheaper_steps
from orbitune.training.run_folder import RunFolder
from orbitune.training.setup import TrainingSetup, prepare_training
from orbitune.training.stored.conflict import stated_settings
from orbitune.training.stored.recipe import check_block_size
from orbitune.training.trainer import Trainer

if TYPE_CHECKING:
    from accelerate import Accelerator


def train(
    recipe: Recipe, out: str | Path, *, callbacks: Sequence[Callback] = (), progress: bool = True
) -> RunResult:
    """Train a recipe in the folder `out`, from the start or from its last checkpoint.

    Examples:
        >>> from orbitune import Recipe, train
        >>> result = train(Recipe(data="tiles", backbone="demo", epochs=1), "runs/new")
        >>> result.test.accuracy, result.test.interval

    Args:
        recipe: the settings; those left open are resolved, and the folder keeps the resolved recipe.
        out: the run folder. A finished run is not repeated: its result is returned. A recipe of more epochs
            extends it from its last state; then the schedule starts anew, see `restarts` of the recipe.
        callbacks: observers of the run, see `orbitune.training.callbacks.Callback`.
        progress: show progress on stderr.

    Returns:
        Scores, cost and history of the run, as in its result.json.

    Raises:
        OrbituneError: the recipe does not fit the data, the backbone or the folder.
        DivergedError: the loss is not finite; the folder keeps a note of it.
        Interrupted: SIGINT arrived; the same call resumes the run.
    """
    with open_run(recipe, out, progress=progress) as run:
        leads = run.accelerator.is_main_process
        observers = CallbackList(callbacks if leads else ())
        if not run.folder.finished:
            with observers.reporting_exceptions():
                result = finalise(run.fit(callbacks=observers))
        else:
            result = _stored_result(run)
            if not run.folder.checkpoint.exists():
                return result
            observers.on_train_start(run.setup)  # an earlier process ended before `on_train_end`
        observers.on_train_end(result)
        if leads:
            run.folder.close(len(result.history))
        return result


def _stored_result(run: "ActiveRun") -> RunResult:
    """Return the checked result of a finished run, with the inputs' present paths."""
    folder = run.folder.path
    result = RunResult.load(folder)
    open_model(folder, result)
    for split in ("validation", "test"):
        read_predictions(folder, split, classes=len(result.data.classes))
    moved = result.at(run.setup.recipe.path_fields)
    if moved != result:
        moved.save(folder)
    return moved


@dataclass(frozen=True)
class ActiveRun:
    """A run that this process trains in its locked folder."""

    setup: TrainingSetup
    folder: RunFolder
    accelerator: "Accelerator"
    display: ProgressDisplay

    def fit(self, epochs: int | None = None, *, callbacks: Callback | None = None) -> Trainer:
        """Train from the start or the last checkpoint to the last epoch or `epochs`.

        Raises:
            DivergedError: the loss is not finite, now or in an earlier attempt.
            Interrupted: SIGINT arrived; the state is saved.
        """
        with self.folder.recording_divergence():
            reset_peak_rss()  # decoding came before, and belongs to no method
            if self.accelerator.is_main_process:
                self.folder.write_environment(Environment.measure(), self.setup.tiles.skipped)
            trainer = Trainer.build(
                self.setup,
                self.folder,
                accelerator=self.accelerator,
                display=self.display,
                callbacks=callbacks,
            )
            data, recipe, device = self.setup.data, self.setup.recipe, str(self.accelerator.device)
            for line in (
                *describe_start(data, recipe, compute=trainer.computation(), device=device),
                *cheaper_steps(recipe, len(self.setup.splits["train"])),
            ):
                self.display.print(line)
            with trainer.interrupt:
                trainer.callbacks.on_train_start(self.setup)
                if recipe.cache_frozen:  # for minutes, in which a run may be interrupted
                    cache_frozen_layers(trainer)
                trainer.fit(epochs)
            return trainer


@contextmanager
def open_run(recipe: Recipe, out: str | Path, *, progress: bool) -> Iterator[ActiveRun]:
    """Prepare a recipe and lock its run folder against other processes.

    Raises:
        OrbituneError: see `train`.
    """
    check_unambiguous(recipe.backbone)
    check_block_size(recipe, Path(out))
    setup = prepare_training(continue_recipe(recipe, Path(out)), progress)
    accelerator = make_accelerator()
    is_new = not Path(out).exists()
    with accelerator.main_process_first():
        folder = RunFolder(out, setup.recipe, inputs=setup.inputs(), stated=stated_settings(recipe))
    leads = accelerator.is_main_process
    with folder.locked() if leads else nullcontext(), ProgressDisplay(progress and leads) as display:
        if folder.extended:
            display.print(f"extends the finished run to {setup.recipe.epochs} epochs")
        try:
            yield ActiveRun(setup, folder, accelerator, display)
        except OrbituneError:
            if leads and is_new:
                folder.remove_if_untrained()
            raise
