"""Cost of a search for a learning rate, known before anything is trained."""

from collections.abc import Sequence
from itertools import pairwise

from orbitune.errors import counted
from orbitune.records import Record
from orbitune.reporting.formatting import duration
from orbitune.study.live_table import format_duration
from orbitune.study.records import Plan
from orbitune.study.tune.search import SEEDS, halving_rungs


class SearchCost(Record):
    """Trials, epochs and time of one search.

    Attributes:
        trials: number of trials, if the best rate is not at an end of the first ones.
        epochs: epochs of these trials together.
        starts: number of processes that they take; a trial that goes on in a longer rung starts again.
        seconds: of these epochs and starts, one after another.
        more_trials, more_epochs, more_seconds: what a rate beyond the first ones adds at most.
    """

    trials: int
    epochs: int
    starts: int
    seconds: float
    more_trials: int
    more_epochs: int
    more_seconds: float


def search_cost(trials: int, plan: Plan) -> SearchCost:
    """Return the cost of a search that tries `trials` learning rates first.

    Args:
        trials: number of learning rates.
        plan: of a run of the method.
    """
    whole = plan.recipe.max_epochs
    rungs = halving_rungs(trials, whole)
    (finalists, _), more = rungs[-1], SEEDS - 1
    first_seed = rungs[0][0] * rungs[0][1] + sum(
        count * (epochs - before) for (_, before), (count, epochs) in pairwise(rungs)
    )
    epochs = first_seed + more * finalists * whole
    starts = sum(count for count, _ in rungs) + more * finalists
    return SearchCost(
        trials=trials + more * finalists,
        epochs=epochs,
        starts=starts,
        seconds=epochs * plan.epoch_seconds + starts * plan.start_seconds,
        more_trials=SEEDS,
        more_epochs=SEEDS * whole,
        more_seconds=SEEDS * (whole * plan.epoch_seconds + plan.start_seconds),
    )


def cost_rows(costs: Sequence[SearchCost]) -> list[list[str]]:
    """Return rows of a table with one column per search."""
    return [
        ["tuning: trials", *(f"{each.trials}" for each in costs)],
        ["tuning: epochs", *(f"{each.epochs}" for each in costs)],
        ["tuning: time", *(duration(each.seconds) for each in costs)],
        ["tuning: each rate more, at most", *(duration(each.more_seconds) for each in costs)],
    ]


def describe_costs(costs: Sequence[SearchCost]) -> str:
    """Return what searches cost together, in one line."""
    trials, epochs = sum(each.trials for each in costs), sum(each.epochs for each in costs)
    seconds, more = sum(each.seconds for each in costs), max(each.more_seconds for each in costs)
    return (
        f"tuning: {counted(len(costs), 'search', several='searches')} with {trials:,} trials and {epochs:,} "
        f"epochs, about {format_duration(seconds)} one after another; each learning rate beyond the first "
        f"adds at most {format_duration(more)}"
    )
