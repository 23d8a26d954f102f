"""Folder of a run: empty, resumable, finished or diverged; of one recipe."""

import json
import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from orbitune.errors import DivergedError, OrbituneError, RunError, counted
from orbitune.evaluation.run_result import FILE, EpochMetrics, RunResult
from orbitune.files import holds_files, remove_abandoned, write_json, write_text
from orbitune.machine.environment import Environment
from orbitune.recipe import Recipe
from orbitune.records import RecordError, unreadable
from orbitune.training.duration.extension import has_result, keep_state, lengthened, restore_state
from orbitune.training.stored.conflict import describe_conflict
from orbitune.training.stored.recipe import FILE as RECIPE
from orbitune.training.stored.recipe import has_trained, stored_recipe
from orbitune.training.stored.records import Divergence, RunInputs

_DIVERGED, _ENVIRONMENT, _INPUTS = "diverged.json", "environment.json", "inputs.json"
SKIPPED = "skipped-images.json"
BUDGET = "budget.json"  # how the recipe was fitted into a budget
TRACKING = "tracking"  # folder of the trackers
_BEFORE_TRAINING = (RECIPE, _INPUTS, _ENVIRONMENT, SKIPPED, BUDGET)
PATIENCE = 5.0  # seconds; a process that was asked to stop finishes its step first


class RunFolder:
    """Paths and state of a run.

    Args:
        path: the folder; created if missing.
        recipe: the resolved recipe.
        inputs: hashes of what the recipe names, see `TrainingSetup.inputs`.
        stated: settings that the user stated, for messages; None for all.

    Raises:
        RunError: the folder belongs to a run of another recipe or other inputs that has trained, holds files
            that are no run, or a run that cannot be extended.

    Attributes:
        extended: whether a finished run in the folder is extended from now on.
    """

    def __init__(
        self,
        path: str | Path,
        recipe: Recipe,
        *,
        inputs: RunInputs,
        stated: Collection[str] | None = None,
    ) -> None:
        self.path = Path(path)
        self.checkpoint = self.path / "checkpoint" / "state.safetensors"
        self.best = self.path / "checkpoint" / "best.safetensors"
        self._recipe = recipe
        if not self._is_run() and self.path.exists() and holds_files(self.path, besides=(BUDGET,)):
            raise RunError(f"{path} exists and is not a run of Orbitune. Choose another --out.")
        known = stored_recipe(self.path)
        longer = lengthened(known, recipe) if known and has_result(self.path, known) else None
        differences = recipe.differences(longer or known) if known else []
        self.extended = longer is not None and not differences
        if known and self._is_void(differences, inputs):
            known = None
        if differences and known:
            raise RunError(
                describe_conflict(
                    self.path,
                    differences,
                    stated=stated,
                    extended=longer is not None,
                    diverged=(self.path / _DIVERGED).is_file(),
                )
            )
        if known is None:
            recipe.save(self.path / RECIPE)
        self._claim(inputs)
        if self.extended:
            restore_state(self.path, self._checkpoint_files)
        # The paths are of the same content, at another place.
        if known and (self.extended or known.path_fields != recipe.path_fields):
            recipe.save(self.path / RECIPE)

    def _is_run(self) -> bool:
        """Return whether the folder holds a run: a recipe alone may be one that the user wrote."""
        begun = (self.path / _INPUTS).is_file() or has_trained(self.path)
        return begun and (self.path / RECIPE).is_file()

    def _is_void(self, differences: Sequence[object], inputs: RunInputs) -> bool:
        """Remove what an attempt left that ended before it trained, if this run is not the same.

        A folder with further files is left as it is.

        Returns:
            Whether the folder is now as a new one.

        Raises:
            RunError: another process has just begun to train in it.
        """
        file = self.path / _INPUTS
        if not self._is_untrained() or not (differences or (file.is_file() and _changed(self.path, inputs))):
            return False
        with self._locked():
            if not self._is_untrained():
                return False
            for name in _BEFORE_TRAINING:
                (self.path / name).unlink(missing_ok=True)
            shutil.rmtree(self.path / TRACKING, ignore_errors=True)
        return True

    def _is_untrained(self) -> bool:
        """Return whether the folder holds nothing but what a run writes before it trains."""
        before = {*_BEFORE_TRAINING, TRACKING, self.checkpoint.parent.name}
        return not (has_trained(self.path) or holds_files(self.path, besides=before))

    def remove_if_untrained(self) -> None:
        """Remove the folder of a run that was refused before it trained anything."""
        if self._is_untrained():
            shutil.rmtree(self.path)

    def _claim(self, inputs: RunInputs) -> None:
        file = self.path / _INPUTS
        if not file.is_file():  # nothing is trained before it is written
            inputs.write(file)
        check_inputs(self.path, inputs)

    @property
    def finished(self) -> bool:
        """Return whether the run is complete; result.json is the last file written.

        A run that is being extended keeps the result of its fewer epochs until then.
        """
        return has_result(self.path, self._recipe)

    @property
    def _checkpoint_files(self) -> tuple[Path, Path]:
        return self.best, self.checkpoint

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out; the lock ends with the process.

        Raises:
            RunError: another process works in this folder, or has made it that of another recipe.
        """
        with self._locked():
            kept = stored_recipe(self.path)
            if kept is None or self._recipe.differences(kept):
                raise RunError(
                    f"{self.path} has become the folder of a run of another recipe since this one began. "
                    "Choose another --out."
                )
            self._drop_leftovers()
            yield

    @contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import Timeout

        try:
            with self._acquire_lock():
                yield
        except Timeout:
            raise RunError(f"{self.path} is in use by another process; wait for it, or stop it.") from None

    def _acquire_lock(self) -> AbstractContextManager[Any]:
        """Return the lock, held.

        Raises:
            filelock.Timeout: another process holds it.
        """
        from filelock import FileLock

        until = time.monotonic() + PATIENCE
        while True:
            self.checkpoint.parent.mkdir(exist_ok=True)
            try:
                return FileLock(self.checkpoint.parent / "lock").acquire(max(0.0, until - time.monotonic()))
            except FileNotFoundError:
                pass  # the process that held it finished the run and removed the folder

    @contextmanager
    def recording_divergence(self) -> Iterator[None]:
        """Store a divergence of the block; raise at once if one is stored.

        That of an extension is not stored: the folder is that of the finished run again.

        Raises:
            DivergedError: it diverged, now or before.
        """
        if before := divergence(self.path):
            self.drop_checkpoint()
            raise DivergedError(f"{before} An earlier attempt ended so too; remove {self.path} to try again.")
        try:
            yield
        except DivergedError as error:
            self.drop_checkpoint()
            if (self.path / FILE).is_file():
                epochs = self._undo_extension()
                raise DivergedError(
                    f"{error} The finished run of {counted(epochs, 'epoch')} stays as it was."
                ) from None
            Divergence(error=str(error)).write(self.path / _DIVERGED)
            raise

    def _undo_extension(self) -> int:
        """Restore the log and the recipe of the finished run; return its number of epochs."""
        result = RunResult.load(self.path)
        self.write_log(result.history)
        result.recipe.model_copy(update=self._recipe.path_fields).save(self.path / RECIPE)
        return len(result.history)

    def _drop_leftovers(self) -> None:
        """Remove the temporary files of a process that was killed while it wrote them."""
        for folder in (self.path, self.checkpoint.parent):
            remove_abandoned(folder)

    def close(self, epochs: int) -> None:
        """Keep the state of the finished run, see `keep_state`, and remove all else of its checkpoint."""
        keep_state(self.path, self._checkpoint_files, recipe=self._recipe, epochs=epochs)
        self.drop_checkpoint()

    def drop_checkpoint(self) -> None:
        """Remove what only an unfinished run needs."""
        shutil.rmtree(self.checkpoint.parent, ignore_errors=True)

    def write_environment(self, environment: Environment, skipped: tuple[tuple[str, str], ...]) -> None:
        """Write the environment of the run and the images it skipped."""
        environment.write(self.path / _ENVIRONMENT)
        if skipped:
            lines = [{"file": name, "reason": reason} for name, reason in skipped]
            write_json(self.path / SKIPPED, lines)

    def write_log(self, history: Sequence[EpochMetrics]) -> None:
        """Write log.jsonl, one line per epoch, as a whole."""
        write_text(self.path / "log.jsonl", log_text(history))


def log_text(history: Sequence[EpochMetrics]) -> str:
    """Return the content of log.jsonl for these epochs."""
    return "".join(json.dumps(entry.to_json()) + "\n" for entry in history)


def epoch_line(metrics: EpochMetrics, epochs: int) -> str:
    """Return the metrics of an epoch as a line for people."""
    return (
        f"epoch {metrics.epoch}/{epochs}  "
        f"train loss {metrics.train_loss:.4f}, accuracy {metrics.train_accuracy:.2%}  "
        f"validation loss {metrics.validation_loss:.4f}, {describe_validation(metrics)}  "
        f"({metrics.train_seconds:.0f} s)"
    )


def describe_validation(metrics: EpochMetrics) -> str:
    """Return the validation scores of an epoch in words."""
    macro = f"macro-F1 {metrics.validation_macro_f1:.3f}"
    if metrics.validation_map is None:
        return f"accuracy {metrics.validation_accuracy:.2%}, {macro}"
    return f"mAP {metrics.validation_map:.3f}, micro-F1 {metrics.validation_micro_f1:.3f}, {macro}"


def read_environment(folder: Path) -> Environment:
    """Read the environment of a run.

    Raises:
        RunError: it is missing or damaged.
    """
    file = folder / _ENVIRONMENT
    try:
        return Environment.read(file)
    except RecordError as error:
        raise RunError(f"{file} {error}") from None
    except OrbituneError as error:
        raise RunError(f"{error} Restore it, or train the run again.") from None


def divergence(folder: Path) -> str | None:
    """Return the message with which this run diverged; None if it did not.

    Raises:
        RunError: diverged.json is damaged or of a newer version.
    """
    file = folder / _DIVERGED
    try:
        return Divergence.read(file).error if file.is_file() else None
    except (OrbituneError, RecordError) as error:
        raise unreadable(file, error, damaged="is damaged; remove it to continue the run.") from None


def check_inputs(folder: Path, inputs: RunInputs) -> None:
    """Compare the stored hashes of a run's inputs with those of now.

    Raises:
        RunError: some have changed; the message names them.
    """
    if changed := _changed(folder, inputs):
        raise RunError(
            f"The {' and '.join(changed)} of {folder} are no longer the same: its data, split files or "
            f"backbone were changed since it began. Restore them, or train again with another --out."
        )


def _changed(folder: Path, inputs: RunInputs) -> list[str]:
    """Return which inputs of a run are no longer those of now.

    Raises:
        RunError: as `read_inputs`.
    """
    return inputs.differences(read_inputs(folder))


def read_inputs(folder: Path) -> RunInputs:
    """Return the stored hashes of a run's inputs.

    Raises:
        RunError: inputs.json is missing, damaged or of a newer version.
    """
    file = folder / _INPUTS
    try:
        return RunInputs.read(file)
    except (OrbituneError, RecordError) as error:
        remedy = "is damaged. Restore it, or train again with another --out."
        raise unreadable(file, error, damaged=remedy) from None
