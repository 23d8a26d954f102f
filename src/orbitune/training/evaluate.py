"""Score a finished run again from what it left on disk."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from orbitune.data.feed import Feed
from orbitune.errors import RunError
from orbitune.evaluation.metrics import score
from orbitune.models.methods import find_method
from orbitune.models.saving import load_saved
from orbitune.recipe import Recipe
from orbitune.training.job import Job, make_accelerator, prepare_job
from orbitune.training.progress import Display
from orbitune.training.result import RunResult
from orbitune.training.run_folder import check_inputs


def reopen(run: Path, progress: bool) -> tuple[RunResult, Job]:
    """The result of a finished run, and its job anew.

    Raises:
        OrbituneError: the run is not finished, or its data or backbone are no longer the same.
    """
    result = RunResult.load(run)
    job = prepare_job(Recipe.make(result.recipe), progress)
    check_inputs(run, job.inputs())
    return result, job


def evaluate(run: str | Path, split: str = "test", progress: bool = True) -> dict[str, Any]:
    """Load the saved model of a run and score it on a split of the run's own data.

    Reading the test split is counted in the run's result.json.

    Returns:
        Scores, see `orbitune.evaluation.metrics.score`.

    Raises:
        OrbituneError: the run is not finished, or its data or backbone are no longer the same.
    """
    folder = Path(run)
    result, job = reopen(folder, progress)
    if split not in job.splits:
        raise RunError(f"There is no split {split!r}; there is: {', '.join(job.splits)}.")
    accelerator = make_accelerator()
    model = load_saved(folder / find_method(job.recipe.method).folder, job.backbone).to(accelerator.device)
    network = job.network(model, result.compute["attention"])
    indices = job.splits[split]
    with Display(progress) as display:
        display.evaluation(split, len(indices))
        feed = Feed(job.tiles, accelerator.device)
        logits = job.predict(network, feed, accelerator, indices, job.recipe.tta, display.evaluated)
    if split == "test":
        replace(result, test_reads=result.test_reads + 1).save(folder)
    return score(logits, job.tiles.labels[indices], job.tiles.classes)
