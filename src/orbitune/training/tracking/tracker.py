"""Base class of experiment trackers."""

import logging
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict

from orbitune.errors import Interrupted, OrbituneError, RunError, first_line
from orbitune.extras import require
from orbitune.records import RecordError, StoredRecord, flatten
from orbitune.training.callbacks import Callback
from orbitune.training.run_folder import TRACKING

if TYPE_CHECKING:
    from orbitune.evaluation.run_result import RunResult
    from orbitune.training.setup import TrainingSetup

logger = logging.getLogger(__name__)

SEND_SECONDS = 5.0  # between two transfers of metrics

Row = tuple[int, dict[str, float]]  # a step and its metrics


class TrackerState(StoredRecord):
    """What a tracker has received of a run; mutable.

    Attributes:
        run_id: of the tracker's run.
        step, epoch: the last ones whose metrics were sent.
        finished: whether the test scores were sent too.
        settings: the recipe that the tracker has, as text; None in files of earlier versions.
    """

    model_config = ConfigDict(frozen=False)

    UNVERSIONED: ClassVar[int | None] = 1

    run_id: str | None = None
    step: int = 0
    epoch: int = 0
    finished: bool = False
    settings: dict[str, str] | None = None


class Tracker(Callback):
    """Callback that sends the metrics of a run to a tracker, each once.

    The folder `tracking` of the run stores the id of the tracker's run and the last step sent, so that a
    resumed run continues there. Metrics are sent before each checkpoint, so that a killed run resumes
    without a gap. A tracker that fails during training is dropped with a warning.

    Attributes:
        name: as in `trackers.TRACKERS`.
        modules: of the extra `tracking` that it needs.
    """

    name: ClassVar[str]
    modules: ClassVar[tuple[str, ...]]

    def __init__(self, run_folder: str | Path) -> None:
        """Check that the tracker is installed; nothing is written before training starts.

        Raises:
            MissingExtraError: it is not.
        """
        require("tracking", *self.modules, purpose=f"tracking with {self.name}")
        self.run_folder = Path(run_folder)
        self.folder = self.run_folder / TRACKING
        self._rows: list[Row] = []
        self._sent_at = 0.0
        self._works = False

    @abstractmethod
    def start(self, recipe: dict[str, Any], run_id: str | None, *, first_step: int) -> str:
        """Begin or continue the run of the tracker.

        Args:
            recipe: the settings, by name; those of LoRA as lora.NAME.
            run_id: what it returned when the run began; None where it begins now.
            first_step: the first step that was not sent yet.

        Returns:
            The name under which it finds this run again.
        """

    @abstractmethod
    def change(self, settings: dict[str, Any], *, step: int) -> None:
        """Record the new values of settings, as of an extended run.

        Args:
            settings: the changed ones, as in `start`.
            step: the last step before the change.
        """

    @abstractmethod
    def send(self, rows: Sequence[Row]) -> None:
        """Send metrics, whose steps never fall."""

    @abstractmethod
    def finish(self, status: str) -> None:
        """End the run of the tracker as FINISHED, FAILED or KILLED."""

    def on_train_start(self, setup: "TrainingSetup") -> None:
        """Begin the tracker's run, or continue that of the run folder."""
        self._steps_per_epoch = setup.steps_per_epoch
        self._state = self._read_state()
        extended = self._state.epoch in (setup.recipe.restarts or ())
        if self._state.finished and not extended:
            return
        self._state.finished = False
        self.folder.mkdir(exist_ok=True)
        recipe = flatten(setup.recipe.model_dump(mode="json"))
        settings = {name: str(value) for name, value in recipe.items()}
        known, self._state.settings = self._state.settings, settings
        try:
            self._state.run_id = self.start(recipe, self._state.run_id, first_step=self._state.step + 1)
            if known is not None and settings != known:
                changed = {name: value for name, value in recipe.items() if settings[name] != known.get(name)}
                self.change(changed, step=self._state.step)
        except Exception as error:
            raise RunError(f"Tracking with {self.name} cannot start: {first_line(error)}.") from error
        self._works = True
        self._keep_state()

    def on_step_end(self, step: int, loss: float, *, learning_rate: float) -> None:
        """Collect the metrics of a step; send those collected now and then."""
        if step > self._state.step:
            self._state.step = step
            self._rows.append((step, {"train/loss": loss, "train/learning_rate": learning_rate}))
        if time.monotonic() - self._sent_at > SEND_SECONDS:
            self._transfer()

    def on_epoch_end(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Collect and send the metrics of an epoch."""
        if epoch > self._state.epoch:
            self._state.epoch = epoch
            named = {
                "epoch": float(epoch),
                "epoch/train_loss": metrics["train_loss"],
                "epoch/train_accuracy": metrics["train_accuracy"],
                "epoch/validation_loss": metrics["validation_loss"],
                "epoch/validation_accuracy": metrics["validation_accuracy"],
                "epoch/validation_macro_f1": metrics["validation_macro_f1"],
            }
            several = ("validation_map", "validation_micro_f1")  # of several labels a tile
            named |= {f"epoch/{name}": metrics[name] for name in several if name in metrics}
            self._rows.append((epoch * self._steps_per_epoch, named))
        self._transfer()

    def on_checkpoint(self, step: int) -> None:
        """Send the metrics, so that none is missing where a run resumes."""
        self._transfer()

    def on_train_end(self, result: "RunResult") -> None:
        """Send the final scores, and end the run as finished."""
        scores = {
            f"test/{name.lower().replace('-', '_')}": value for name, value in result.test.headline().items()
        }
        self._rows.append((self._state.step, scores))
        self._state.finished = True
        self._transfer()
        self._end("FINISHED")

    def on_exception(self, error: BaseException) -> None:
        """End the run as killed or failed."""
        self._transfer()
        self._end("KILLED" if isinstance(error, (Interrupted, KeyboardInterrupt)) else "FAILED")

    def _transfer(self) -> None:
        """Send the rows that wait, and keep what was sent."""
        self._sent_at = time.monotonic()
        if not (self._works and self._rows):
            return
        try:
            self.send(self._rows)
        except Exception as error:
            self._give_up(error)
        self._rows = []
        if self._works:
            self._keep_state()

    def _end(self, status: str) -> None:
        if self._works:
            try:
                self.finish(status)
            except Exception as error:
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._works = False
        logger.warning("Tracking with %s stopped: %s. Training continues.", self.name, first_line(error))

    def _keep_state(self) -> None:
        self._state.write(self._state_file)

    @property
    def _state_file(self) -> Path:
        return self.folder / f"{self.name}.json"

    def _read_state(self) -> TrackerState:
        """Return the stored state; a new one where it is missing or damaged."""
        try:
            return TrackerState.read(self._state_file)
        except (OrbituneError, RecordError):
            return TrackerState()
