"""Callbacks: what a program may observe of a run while it trains."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orbitune.evaluation.run_result import RunResult
    from orbitune.training.setup import TrainingSetup

logger = logging.getLogger(__name__)


class Callback:
    """Observer of a run; override the methods you need, pass an instance to `train`.

    Examples:
        >>> from orbitune import Recipe, train
        >>> class Printer(Callback):
        ...     def on_epoch_end(self, epoch, metrics):
        ...         print(epoch, metrics["validation_accuracy"])
        >>> recipe = Recipe(data="tiles", backbone="demo", epochs=1)
        >>> result = train(recipe, "runs/new", callbacks=[Printer()])

    Callbacks change no result. They are called in the first process of a distributed run alone, and not for a
    run that is finished already. An exception of a callback stops the run after its checkpoint was saved, and
    reaches the caller of `train`; the same call resumes the run.
    """

    def on_train_start(self, setup: "TrainingSetup") -> None:
        """Handle the start of training, or of a resumed part of it, before frozen layers are cached.

        Args:
            setup: the resolved recipe, backbone, tiles and splits.
        """

    def on_step_end(self, step: int, loss: float, *, learning_rate: float) -> None:
        """Handle an optimizer step.

        Args:
            step: number of steps so far, from 1. A resumed run continues from its last checkpoint, so the
                steps after it are reported again, with the same values.
            loss: mean training loss of the batch.
            learning_rate: of the first parameter group.
        """

    def on_epoch_end(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Handle an epoch and its validation.

        Args:
            epoch: from 1.
            metrics: as in the history of `RunResult`: train_loss, validation_accuracy and so on.
        """

    def on_checkpoint(self, step: int) -> None:
        """Handle a checkpoint that is about to be written.

        Args:
            step: number of steps so far.
        """

    def on_train_end(self, result: "RunResult") -> None:
        """Handle the end of a run, whose result has been saved.

        If the process ends before this returns, the next call of `train` with the same folder calls
        `on_train_start` and this method again.

        Args:
            result: scores, cost and history, as in result.json.
        """

    def on_exception(self, error: BaseException) -> None:
        """Handle a run that stops before its end.

        Args:
            error: why: `Interrupted`, `DivergedError`, or what failed. It is raised again afterwards.
        """


class CallbackList(Callback):
    """Several callbacks, called in turn."""

    def __init__(self, callbacks: Sequence[Callback] = ()) -> None:
        self._callbacks = tuple(callbacks)

    @contextmanager
    def reporting_exceptions(self) -> Iterator[None]:
        """Report an exception of the block to the callbacks, and raise it again."""
        try:
            yield
        except BaseException as error:
            self.on_exception(error)
            raise

    def on_train_start(self, setup: "TrainingSetup") -> None:
        """Pass the event to each callback."""
        for callback in self._callbacks:
            callback.on_train_start(setup)

    def on_step_end(self, step: int, loss: float, *, learning_rate: float) -> None:
        """Pass the event to each callback."""
        for callback in self._callbacks:
            callback.on_step_end(step, loss, learning_rate=learning_rate)

    def on_epoch_end(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Pass the event to each callback, with a copy of the metrics."""
        for callback in self._callbacks:
            callback.on_epoch_end(epoch, dict(metrics))

    def on_checkpoint(self, step: int) -> None:
        """Pass the event to each callback."""
        for callback in self._callbacks:
            callback.on_checkpoint(step)

    def on_train_end(self, result: "RunResult") -> None:
        """Pass the event to each callback."""
        for callback in self._callbacks:
            callback.on_train_end(result)

    def on_exception(self, error: BaseException) -> None:
        """Pass the event to each callback; log the failure of one."""
        for callback in self._callbacks:
            try:
                callback.on_exception(error)
            except Exception as fault:  # the first error is the one to report
                logger.warning("%s failed: %s", type(callback).__name__, fault)
