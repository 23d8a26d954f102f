"""Fraction of the errors on corrupted tiles that a run makes fewer than another."""

from typing import Any

from orbitune.bench.figures.accuracy_loss import read_runs
from orbitune.bench.figures.scored_tiles import describe_tiles
from orbitune.errors import OrbituneError
from orbitune.training.corruption_scores import score_robustness


def measure(run: str, reference_run: str, *, tiles: int) -> dict[str, Any]:
    """Return the fraction of the reference run's errors that are gone, at most 1.

    Args:
        run, reference_run: finished runs; the scores are stored in their folders.
        tiles: number of validation tiles.

    Raises:
        OrbituneError: the runs were validated on different tiles, or the reference run makes no error.
    """
    (ours, _), _ = read_runs(run, reference_run, split="validation")  # refuses runs on other tiles
    scores, reference = (score_robustness(each, tiles, progress=False) for each in (run, reference_run))
    if reference.mean == 1:
        raise OrbituneError(f"{reference_run} makes no error on corrupted tiles: there is none to be gone.")
    other = {kind.name: kind.mean for kind in reference.corruptions}
    kinds = [
        [kind.name, f"{1 - kind.mean:.1%} from {1 - other[kind.name]:.1%}"] for kind in scores.corruptions
    ]
    errors = [["errors", f"{1 - scores.mean:.1%} from {1 - reference.mean:.1%}"], *kinds]
    errors += describe_tiles(ours, "validation")
    return {"value": 1 - (1 - scores.mean) / (1 - reference.mean), "details": errors}
