"""Fitting a recipe into the memory and the time there are, by measured plans.

Memory is saved first by what changes no result (smaller micro-batches, activations computed again), then by
smaller images. Time is saved by smaller images, then by fewer epochs, and at last by adapting the top layers
over a kept prefix. Every choice says why it was made.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from orbitune.errors import OrbituneError, RunError
from orbitune.files import scratch
from orbitune.integrity import read_sealed_json, write_sealed_json
from orbitune.recipe import Recipe, upgrade
from orbitune.recipe_paths import PLACES
from orbitune.resources import parse_bytes, parse_seconds
from orbitune.study.child_processes import run_command

MARGIN = 0.95  # of the memory may be planned for: a run allocates in another order than a plan
ENOUGH_EPOCHS = 0.75  # of those asked for; with fewer left, smaller images lose less
TOP_LAYERS = 4


@dataclass(frozen=True)
class Budget:
    """What a run may use; None where there is no limit.

    Attributes:
        memory_bytes: peak of the process, or of the GPU where there is one.
        seconds: from start to end, with evaluation.
    """

    memory_bytes: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, memory: str | None, duration: str | None) -> "Budget":
        """Return a budget read from text such as "1.5GB" and "30min".

        Raises:
            OrbituneError: either text is something else.
        """
        return cls(
            None if memory is None else parse_bytes(memory),
            None if duration is None else parse_seconds(duration),
        )

    def __bool__(self) -> bool:
        return self.memory_bytes is not None or self.seconds is not None


@dataclass
class BudgetFit:
    """A recipe on its way into a budget.

    Attributes:
        plan: the measured plan of the recipe as it is now, see `orbitune.study.plan.Plan`.
        overhead: seconds of a run besides training and evaluation, as the plan's own process took them.
        choices: what was chosen and why, one sentence each.
    """

    recipe: Recipe
    measure: Callable[[Recipe], tuple[dict[str, Any], float]]
    plan: dict[str, Any] = field(default_factory=dict)
    overhead: float = 0.0
    choices: list[str] = field(default_factory=list)

    def take(self, **changes: Any) -> None:
        """Change the recipe and measure it."""
        self.recipe = self.recipe.replace(**changes)
        self.plan, self.overhead = self.measure(self.recipe)

    @property
    def resolved(self) -> Recipe:
        return Recipe.make(self.plan["recipe"])

    @property
    def memory(self) -> int:
        return int(self.plan["peak_cuda_bytes"] or self.plan["peak_rss_bytes"])

    @property
    def seconds(self) -> float:
        return float(self.plan["train_seconds"] + self.plan["evaluation_seconds"] + self.overhead)

    def smaller_sizes(self) -> list[str]:
        """Which of `auto` and `native` is smaller than the image size now."""
        sizes = []
        for name, side in self.plan["image_sizes"].items():
            if side < self.resolved.image_size and side not in sizes:
                sizes.append(name)
        return sizes


def fit_budget(
    recipe: Recipe,
    budget: Budget,
    measure: Callable[[Recipe], tuple[dict[str, Any], float]] | None = None,
) -> BudgetFit:
    """The recipe, changed as little as a budget allows, with its measured plan.

    Args:
        measure: gives the plan of a recipe and the seconds its process took besides; by default in a process
            of its own, so that the peak of its memory is its own.

    Raises:
        RunError: it does not fit; the message says what the least would be.
    """
    fit = BudgetFit(recipe, measure or _measure)
    fit.take()
    if budget.memory_bytes is not None:
        _fit_memory(fit, budget.memory_bytes)
    if budget.seconds is not None:
        _fit_time(fit, budget.seconds)
    fit.recipe = fit.resolved
    return fit


def _fit_memory(fit: BudgetFit, limit: int) -> None:
    whole, first = fit.resolved.micro_batch or 1, fit.memory
    if first <= MARGIN * limit:
        return
    fit.take(micro_batch=1)
    if fit.memory <= MARGIN * limit:
        # Memory grows evenly with the micro-batch: the largest power of two below the line, then measured.
        each = (first - fit.memory) / max(1, whole - 1)
        room = 1 + (MARGIN * limit - fit.memory) / max(each, 1)
        largest = 1 << int(min(room, whole / 2)).bit_length() - 1
        while largest > 1:
            fit.take(micro_batch=largest)
            if fit.memory <= MARGIN * limit:
                break
            largest //= 2
        else:
            fit.take(micro_batch=1)
        fit.choices.append(
            f"micro-batches of {fit.resolved.micro_batch} tiles, whose gradients are summed: {whole} at once "
            f"take {_gb(first)}; the result is the same"
        )
        return
    fit.take(checkpointing=True)
    fit.choices.append(
        f"micro-batches of one tile and activations computed again for the backward pass: {whole} tiles at "
        f"once take {_gb(first)}; the result is the same"
    )
    for size in fit.smaller_sizes():
        if fit.memory <= MARGIN * limit:
            return
        before = fit.resolved.image_size
        fit.take(image_size=size, sizes=None)
        fit.choices.append(_smaller(before, fit, "memory"))
    if fit.memory > MARGIN * limit:
        raise RunError(f"No plan fits into {_gb(limit)} of memory: the leanest takes {_gb(fit.memory)}.")


def _fit_time(fit: BudgetFit, limit: float) -> None:
    asked = fit.resolved.epochs
    for size in fit.smaller_sizes():
        if fit.seconds <= limit or _affordable(fit, limit) >= ENOUGH_EPOCHS * asked:
            break
        before, seconds = fit.resolved.image_size, fit.seconds
        fit.take(image_size=size, sizes=None)
        fit.choices.append(_smaller(before, fit, f"the run took {_minutes(seconds)}"))
    if fit.seconds <= limit:
        return
    if _affordable(fit, limit) < 1 and fit.resolved.method == "lora" and not fit.resolved.cache_frozen:
        seconds = fit.seconds
        top = fit.resolved.lora.top_layers or TOP_LAYERS
        lora = {**fit.resolved.lora.model_dump(), "top_layers": top}
        fit.take(lora=lora, cache_frozen=True, sizes=None, mixup=0.0, tta="none")
        fit.choices.append(
            f"adapters on the last {top} layers only, over a prefix kept on disk: with all layers the run "
            f"took {_minutes(seconds)}; accuracy will suffer"
        )
    epochs = _affordable(fit, limit)
    if fit.seconds <= limit:
        return
    if epochs < 1:
        least = fit.seconds - (asked - 1) * _an_epoch(fit)
        raise RunError(f"No plan fits into {_minutes(limit)}: one epoch takes {_minutes(least)}.")
    seconds = fit.seconds
    fit.take(epochs=epochs)
    fit.choices.append(f"{epochs} epochs for {asked}, which take {_minutes(seconds)}; accuracy may suffer")


def _an_epoch(fit: BudgetFit) -> float:
    """Seconds of one more epoch, with its evaluation."""
    sizes = fit.plan["data"]["sizes"]
    evaluated = (fit.resolved.epochs + 1) * sizes["validation"] + sizes["test"]
    share = sizes["validation"] / evaluated
    return float(fit.plan["seconds_per_epoch"] + share * fit.plan["evaluation_seconds"])


def _affordable(fit: BudgetFit, limit: float) -> int:
    """How many epochs fit."""
    fixed = fit.seconds - fit.resolved.epochs * _an_epoch(fit)
    return int((limit - fixed) / _an_epoch(fit))


def _smaller(before: Any, fit: BudgetFit, why: str) -> str:
    return f"{fit.resolved.image_size} pixels for {before}, to save {why}; accuracy may suffer"


def _measure(recipe: Recipe) -> tuple[dict[str, Any], float]:
    with scratch() as temporary:
        file = temporary / "recipe.yaml"
        recipe.save(file)
        start = time.perf_counter()
        plan = run_command("plan", file, "--methods", recipe.method)["plans"][0]
    # A run starts two processes as the plan did one: its own, and the one that proves what was saved.
    return plan, 2 * (time.perf_counter() - start - plan["seconds_measured"])


def _gb(count: float) -> str:
    return f"{count / 1e9:.2f} GB"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def fit_recipe(recipe: Recipe, budget: Budget, folder: Path, say: Callable[[str], None]) -> Recipe:
    """The recipe fitted to a budget; what was chosen is kept in the run folder, for a run that goes on.

    Args:
        say: receives a line about each choice.

    Raises:
        RunError: it does not fit, or the folder holds a run that was fitted from something else.
    """
    settings = recipe.model_dump(mode="json", exclude=set(PLACES))  # a run compares what these hold
    file, asked = folder / "budget.json", {"recipe": settings, **asdict(budget)}
    if file.exists():
        try:
            kept = read_sealed_json(file)
            fitted = Recipe.make({**kept["chosen"], **recipe.places})
            before = kept["asked"]
            before["recipe"] = {n: v for n, v in upgrade(before["recipe"]).items() if n not in PLACES}
        except (OrbituneError, ValueError, LookupError, TypeError):
            raise RunError(f"{file} is damaged; remove it to have the recipe fitted anew.") from None
        if before != asked:
            raise RunError(
                f"{folder} holds a run that was fitted from another recipe or budget; name another."
            )
        for choice in kept["choices"]:
            say(choice)
        return fitted
    fit = fit_budget(recipe, budget)
    chosen = {"asked": asked, "chosen": fit.recipe.model_dump(mode="json"), "choices": fit.choices}
    write_sealed_json(file, chosen)
    for choice in fit.choices:
        say(choice)
    return fit.recipe
