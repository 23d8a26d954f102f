"""Sentences about how a run was trained and computed."""

from orbitune.errors import counted
from orbitune.evaluation.run_result import Computation, RunData
from orbitune.recipe import Recipe
from orbitune.reporting import formatting as fmt

COST_NOTE = (
    "Time per epoch and images per second cover training without evaluation. Peak memory is that of the "
    "whole process. CPU time is summed over all cores for the whole run."
)


def criterion_title(recipe: Recipe) -> str:
    """Return the validation score that chose the epoch, such as accuracy, for a sentence."""
    return "mAP" if recipe.criterion == "map" else recipe.criterion


def describe_restarts(recipe: Recipe) -> str:
    """Describe after which epochs the schedule started anew, as in the extension of a run.

    A constant learning rate goes on as it was.
    """
    if not recipe.restarts or recipe.schedule == "constant":
        return ""
    epochs = fmt.listed([str(epoch) for epoch in recipe.restarts])
    return f" The learning-rate schedule started anew after epoch {epochs}."


def describe_computation(compute: Computation) -> str:
    """Describe how a run was computed; empty for results without this."""
    if compute.fast is None:
        return ""
    tiles = f"micro-batches of {counted(compute.micro_batch or 1, 'tile')} in {compute.precision}"
    if compute.fast:
        kernels = "compiled kernels" if compute.compiled_kernels else "torch's kernels"
        return f" Computed on the fast path in {tiles}, with {compute.attention} attention and {kernels}."
    reason = f" ({compute.why_not_fast})" if compute.why_not_fast else ""
    return f" Computed by transformers and PEFT{reason} in {tiles}."


def describe_start(data: RunData, recipe: Recipe, *, compute: Computation, device: str) -> list[str]:
    """Describe what a run trains on, and how it is computed, in two lines.

    Args:
        data: the tiles.
        recipe: resolved.
        compute: how this process computes it.
        device: such as cpu or cuda:0.
    """
    train, *others = (f"{count:,} {name}" for name, count in data.sizes.items())
    sizes = f"{train} tiles of {counted(len(data.classes), 'class')}, {fmt.listed(others)}"
    reason = f" ({compute.why_not_fast})" if compute.why_not_fast else ""
    path = "on the fast path" if compute.fast else f"by transformers and PEFT{reason}"
    return [
        f"{recipe.method} on {sizes}: {data.split_name}",
        f"computed on {device} in {compute.precision}, {path}",
    ]


def describe_duration(seconds: float | None) -> str:
    """Describe the total duration of a run; empty for results without it."""
    if seconds is None:
        return ""
    return f" The whole run took {seconds / 60:.1f} minutes, from process start to the verified model."
