"""What a figure of a benchmark is scored on, for its details."""

from orbitune.evaluation.run_result import RunResult


def describe_tiles(result: RunResult, split: str) -> list[list[str]]:
    """Return rows on the tiles of a split: their number, what it is called, and how many were seen before."""
    scores = result.test if split == "test" else result.validation
    rows = [[f"{split} tiles", f"{scores.count:,} of the {result.split_name}"]]
    if line := scores.describe_seen(split, result.backbone.runs):
        rows.append(["seen before", line])
    return rows
