"""Fit a recipe into a memory and a time budget, by measured plans.

Memory is saved first by what changes no result (smaller micro-batches, activation checkpointing), then by
smaller images. Time is saved by smaller images, then by fewer passes and epochs, and at last by adapting
only the top layers over cached activations. Every change is reported with its reason.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orbitune.errors import ModelError, OrbituneError, RunError
from orbitune.models.factory import check_fit
from orbitune.models.lineage.fine_tuned import open_backbone
from orbitune.processes.launcher import ForkServer
from orbitune.recipe import UNCACHED, Recipe
from orbitune.recipe_settings import option_of
from orbitune.records import RecordError, unreadable
from orbitune.reporting.formatting import duration
from orbitune.study.budget_records import Budget, StoredFit
from orbitune.study.plan import plan_apart
from orbitune.study.records import Plan
from orbitune.training.callbacks import Callback
from orbitune.training.run_folder import BUDGET
from orbitune.training.setup import check_recipes
from orbitune.training.stored.recipe import has_trained

if TYPE_CHECKING:
    from orbitune.training.setup import TrainingSetup

MEMORY_MARGIN = 0.95  # fraction of the budget that is planned for: a run allocates in another order
MIN_EPOCH_FRACTION = 0.75  # with fewer of the requested epochs left, smaller images cost less accuracy
TOP_LAYERS = 4

Measure = Callable[[Recipe], tuple[Plan, float]]


@dataclass
class BudgetFit:
    """A recipe while it is fitted into a budget.

    Attributes:
        recipe: the recipe with all changes so far.
        measure: returns the plan of a recipe and the further seconds that a run takes.
        plan: measured plan of the current recipe.
        overhead: seconds of a run besides training and evaluation.
        choices: changes and their reasons, one sentence each.
    """

    recipe: Recipe
    measure: Measure
    plan: Plan = field(init=False)
    overhead: float = field(init=False)
    choices: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.change()

    def change(self, **settings: Any) -> None:
        """Change settings of the recipe and measure it again."""
        self.recipe = self.recipe.replace(**settings)
        self.plan, self.overhead = self.measure(self.recipe)

    @property
    def resolved(self) -> Recipe:
        """Recipe with all open settings filled in."""
        return self.plan.recipe

    @property
    def memory(self) -> int:
        """Peak memory in bytes: the GPU's where there is one, else the process's."""
        return int(self.plan.peak_cuda_bytes or self.plan.peak_rss_bytes)

    @property
    def seconds(self) -> float:
        """Duration of the whole run."""
        return self.plan.seconds + self.overhead

    def affordable_epochs(self, limit: float) -> int:
        """Return the number of epochs that fit into `limit` seconds."""
        fixed = self.seconds - self.resolved.max_epochs * self.plan.epoch_seconds
        return int((limit - fixed) / self.plan.epoch_seconds)

    def smaller_sizes(self) -> list[str]:
        """Return which of `auto` and `native` are smaller than the current image size and suit the recipe."""
        current = self.resolved.image_size
        assert isinstance(current, int)
        return [name for name, side in self.plan.image_sizes.items() if side < current and self._suits(side)]

    def _suits(self, side: int) -> bool:
        """Return whether images of this side have patches enough to merge as often as the recipe says."""
        if not self.recipe.merge_tokens:
            return True
        try:
            check_fit(self.recipe.replace(image_size=side, sizes=None), open_backbone(self.recipe.backbone))
        except ModelError:
            return False
        return True

    def shrink_images(self, size: str, reason: str) -> None:
        """Use a smaller image size, and record the reason."""
        before = self.resolved.image_size
        self.change(image_size=size, sizes=None)
        self.choices.append(
            f"image size {self.resolved.image_size} instead of {before} pixels, to save {reason}; "
            "accuracy may drop"
        )


def fit_budget(recipe: Recipe, budget: Budget, *, measure: Measure | None = None) -> BudgetFit:
    """Change a recipe as little as a budget allows.

    Args:
        recipe: the recipe as requested.
        budget: limits of memory and time.
        measure: returns the plan of a recipe and the further seconds that a run takes; by default measured in
            a process of its own, so that the peak memory is that of the plan alone.

    Returns:
        The fitted recipe with its plan and the changes.

    Raises:
        RunError: no plan fits; the message names the smallest requirement.
    """
    if measure is None:
        check_recipes(recipe)
        with ForkServer.spawn() as server:
            return fit_budget(recipe, budget, measure=_Measurement(server))
    fit = BudgetFit(recipe, measure)
    if budget.memory_bytes is not None:
        _fit_memory(fit, budget.memory_bytes)
    if budget.seconds is not None:
        _fit_time(fit, budget.seconds)
    fit.recipe = fit.resolved
    return fit


def _fit_memory(fit: BudgetFit, limit: int) -> None:
    """Reduce peak memory: micro-batches, then checkpointing, then smaller images."""
    batch, memory = fit.resolved.micro_batch or 1, fit.memory
    if memory <= MEMORY_MARGIN * limit:
        return
    fit.change(micro_batch=1)
    if fit.memory <= MEMORY_MARGIN * limit:
        _grow_micro_batch(fit, limit, batch=batch, batch_memory=memory)
        fit.choices.append(
            f"micro-batches of {fit.resolved.micro_batch} tiles with summed gradients: {batch} tiles at once "
            f"take {_gigabytes(memory)}; the result is the same"
        )
        return
    fit.change(checkpointing=True)
    fit.choices.append(
        f"micro-batches of one tile and activation checkpointing: {batch} tiles at once take "
        f"{_gigabytes(memory)}; the result is the same"
    )
    for size in fit.smaller_sizes():
        if fit.memory <= MEMORY_MARGIN * limit:
            return
        fit.shrink_images(size, "memory")
    if fit.memory > MEMORY_MARGIN * limit:
        raise RunError(
            f"No plan fits into --memory-budget {_gigabytes(limit)}: the smallest needs "
            f"{_gigabytes(fit.memory)}."
        )


def _grow_micro_batch(fit: BudgetFit, limit: int, *, batch: int, batch_memory: int) -> None:
    """Find the largest power of two that fits, from the memory at 1 and the batch."""
    # Memory grows linearly with the micro-batch: start from the estimate, then measure.
    per_tile = (batch_memory - fit.memory) / max(1, batch - 1)
    room = 1 + (MEMORY_MARGIN * limit - fit.memory) / max(per_tile, 1)
    largest = 1 << int(min(room, batch / 2)).bit_length() - 1
    while largest > 1:
        fit.change(micro_batch=largest)
        if fit.memory <= MEMORY_MARGIN * limit:
            return
        largest //= 2
    fit.change(micro_batch=1)


def _fit_time(fit: BudgetFit, limit: float) -> None:
    """Reduce the duration: smaller images, fewer passes, top layers only, fewer epochs."""
    requested = fit.resolved.max_epochs
    for size in fit.smaller_sizes():
        if fit.seconds <= limit or fit.affordable_epochs(limit) >= MIN_EPOCH_FRACTION * requested:
            break
        fit.shrink_images(size, f"time: the run would take {duration(fit.seconds)}")
    if fit.seconds > limit:
        _reduce_passes(fit, limit)
    if fit.seconds <= limit:
        return
    if fit.affordable_epochs(limit) < 1 and fit.resolved.method == "lora" and not fit.resolved.cache_frozen:
        seconds = fit.seconds
        top = fit.resolved.lora.top_layers or TOP_LAYERS
        lora = {**fit.resolved.lora.model_dump(), "top_layers": top}
        excluded = {**UNCACHED, "mixup": 0.0, "tta": "none"}
        dropped = [option_of(name) for name, off in excluded.items() if getattr(fit.resolved, name) != off]
        without = f", without {', '.join(dropped)}" if dropped else ""
        fit.change(lora=lora, cache_frozen=True, **excluded)
        fit.choices.append(
            f"adapters on the last {top} layers only, over cached activations{without}: with all layers the "
            f"run would take {duration(seconds)}; accuracy will drop"
        )
    if fit.seconds <= limit:
        return
    epochs = fit.affordable_epochs(limit)
    if epochs < 1:
        least = fit.seconds - (requested - 1) * fit.plan.epoch_seconds
        raise RunError(
            f"No plan fits into --time-budget {duration(limit)}: one epoch takes {duration(least)}."
        )
    seconds = fit.seconds
    restarts = tuple(epoch for epoch in fit.resolved.restarts or () if epoch < epochs) or None
    fit.change(epochs=epochs, passes=fit.resolved.passes, patience=fit.resolved.patience, restarts=restarts)
    fit.choices.append(
        f"{epochs} epochs instead of {requested}, which would take {duration(seconds)}; accuracy may drop"
    )


def _reduce_passes(fit: BudgetFit, limit: float) -> None:
    """Reduce the passes over few training tiles, down to one per epoch."""
    passes = fit.resolved.passes or 1
    if passes == 1:
        return
    left = limit - (fit.seconds - fit.plan.train_seconds)
    fewer = max(1, int(passes * left / fit.plan.train_seconds))
    seconds = fit.seconds
    fit.change(epochs=fit.resolved.epochs, passes=fewer)
    fit.choices.append(
        f"{fewer} passes over the training tiles per epoch instead of {passes}, which would take "
        f"{duration(seconds)}; accuracy may drop"
    )


class _Measurement:
    """Plans recipes in processes of their own, and measures the further seconds of a run."""

    def __init__(self, server: ForkServer) -> None:
        start = time.perf_counter()
        self._server = server
        self._imports = time.perf_counter() - start if server.wait() else 0.0

    def __call__(self, recipe: Recipe) -> tuple[Plan, float]:
        start = time.perf_counter()
        plan = plan_apart(recipe, self._server)
        # A run starts two processes like the plan's: its own, and the one that verifies what was saved.
        return plan, self._imports + 2 * (time.perf_counter() - start - plan.seconds_measured)


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.2f} GB"


def fit_recipe(
    recipe: Recipe,
    budget: Budget,
    *,
    folder: Path,
    say: Callable[[str], None],
    measure: Measure | None = None,
) -> "tuple[Recipe, FitKeeper]":
    """Return the recipe fitted into a budget, and what stores the changes once the run trains.

    Args:
        recipe: the recipe as requested.
        budget: limits of memory and time.
        folder: of the run.
        say: receives one line about each change.
        measure: as in `fit_budget`.

    Raises:
        RunError: no plan fits, the folder holds a run that was fitted from another recipe or budget, or its
            budget.json cannot be read.
    """
    file, fits = folder / BUDGET, False
    if file.exists():
        try:
            stored = StoredFit.read(file)
        except (OrbituneError, RecordError) as error:
            raise unreadable(file, error, damaged="is damaged; remove it to fit the recipe again.") from None
        differences = [*recipe.differences(stored.requested), *budget.differences(stored.budget)]
        if differences and has_trained(folder):
            raise RunError(
                f"{folder} holds a run that was fitted from another recipe or budget "
                f"({'; '.join(map(str, differences))}). Choose another --out."
            )
        fits = not differences
    if not fits:
        fit = fit_budget(recipe, budget, measure=measure)
        stored = StoredFit(
            requested=recipe,
            memory_bytes=budget.memory_bytes,
            seconds=budget.seconds,
            fitted=fit.recipe,
            choices=tuple(fit.choices),
        )
    for choice in stored.choices:
        say(choice)
    fitted = stored.fitted.model_copy(update=recipe.path_fields)  # paths may differ on a resumed run
    return fitted, FitKeeper(stored, file)


class FitKeeper(Callback):
    """Stores how a recipe was fitted in the folder of its run, so that a resumed run repeats it.

    A run that is refused before it trains leaves nothing.
    """

    def __init__(self, fit: StoredFit, file: Path) -> None:
        self._fit, self._file = fit, file

    def on_train_start(self, setup: "TrainingSetup") -> None:
        """Write budget.json."""
        self._fit.write(self._file)
