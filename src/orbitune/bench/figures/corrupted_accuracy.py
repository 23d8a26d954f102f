"""Accuracy of a run on corrupted tiles, measured as in a study."""

from pathlib import Path
from typing import Any

from orbitune.bench.figures.scored_tiles import describe_tiles
from orbitune.errors import counted
from orbitune.evaluation.run_result import RunResult
from orbitune.training.corruption_scores import score_robustness


def measure(run: str, tiles: int) -> dict[str, Any]:
    """Return the mean accuracy over kinds and severities of corruption, 0..1.

    Args:
        run: the finished run; the scores are stored in its folder.
        tiles: number of validation tiles.
    """
    scores = score_robustness(run, tiles, progress=False)
    kinds = [[kind.name, f"{kind.mean:.1%}"] for kind in scores.corruptions]
    clean = f"{scores.clean.accuracy:.1%} of {counted(scores.count, 'validation tile')}"
    details = [["clean", clean], *describe_tiles(RunResult.load(Path(run)), "validation"), *kinds]
    return {"value": scores.mean, "details": details}
