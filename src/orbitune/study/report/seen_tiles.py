"""Warnings that the runs of a backbone have seen held-out tiles of the study."""

from collections.abc import Sequence

from orbitune.errors import counted
from orbitune.evaluation.run_result import RunData
from orbitune.models.lineage.overlap import OtherTiles, SeenCounts, describe_seen
from orbitune.reporting import formatting as fmt
from orbitune.study.arms import split_arm
from orbitune.study.records import RunRecord
from orbitune.study.report.view_model import ReportView, RunGroup

_UNKNOWN = "it is not known whether {} held-out tiles{}: the {} tiles of its runs are not recorded"


def warn_seen(view: ReportView) -> list[str]:
    """Return a warning for each split and backbone whose runs have, or may have, seen held-out tiles.

    Tiles are summed over the folds. All methods and seeds have the same ones.
    """
    lines = []
    for split in view.splits:
        where = f" of the {split} split" if len(view.splits) > 1 else ""
        backbones: dict[str | None, list[RunGroup]] = {}
        for group in view.groups_on(split):
            backbones.setdefault(split_arm(group.method)[1], []).append(group)
        for backbone, groups in backbones.items():
            lines += [f"Warning: {line}." for line in _warnings(backbone, groups, where=where)]
    return lines


def _warnings(backbone: str | None, groups: Sequence[RunGroup], *, where: str) -> list[str]:
    """Return the warnings of one backbone on one split."""
    name = backbone or "the backbone"
    runs = [run for group in groups for run in group.runs]
    folds = [*{run.fold: run.finished.data for run in runs}.values()]
    if any(data.seen is None for data in folds):
        unknown = _UNKNOWN.format(f"{name} was trained on", where, "training")
        return [f"{unknown}, or no longer where they were"]
    counts = {f"{t}{where}": each for part in ("test", "validation") for t, each in _counts(folds, part)}
    lines = []
    if any(each.count for each in counts.values()):
        compared = ", and the differences from other backbones with them" if backbone else ""
        lines += [f"{describe_seen(counts, name)}{compared}{_describe_others(groups)}"]
    if runs[0].finished.backbone.ancestors and any(data.validated is None for data in folds):
        lines += [_UNKNOWN.format(f"{name} was validated on", where, "validation")]
    return lines


def _counts(folds: Sequence[RunData], part: str) -> list[tuple[str, SeenCounts]]:
    """Return what the tiles of a part are called, with how many of them were seen in all folds."""
    trained, validated = (
        sum((seen or {}).get(part, 0) for seen in each)
        for each in ([data.seen for data in folds], [data.validated for data in folds])
    )
    whole = sum(data.sizes[part] for data in folds)
    return [(counted(whole, f"{part} tile"), SeenCounts(trained=trained, validated=validated))]


def _describe_others(groups: Sequence[RunGroup]) -> str:
    """Return the test scores of all methods on the tiles that were not seen, after a semicolon.

    Empty where these are few, and where no test tile was seen.
    """
    scores = [[_others(run) for run in group.runs] for group in groups]
    known = [each for own in scores for each in own]
    seen = any(run.finished.test.seen for group in groups for run in group.runs)
    if not seen or any(each.value is None for each in known):
        return ""
    found = [f"{group.title} {fmt.percent(_mean(own), 1)}" for group, own in zip(groups, scores, strict=True)]
    folds = {run.fold: other.count for run, other in zip(groups[0].runs, scores[0], strict=True)}
    tiles = counted(sum(folds.values()), "test tile")
    return f"; without them test {known[0].score} is {fmt.listed(found)} ({tiles})"


def _others(run: RunRecord) -> OtherTiles:
    """Return the main score of a run on the test tiles that its backbone has not seen."""
    test = run.finished.test
    if test.seen and test.seen.others:
        return test.seen.others
    name, value = next(iter(test.summary().headline().items()))
    return OtherTiles(count=0 if test.seen else test.count, score=name, value=None if test.seen else value)


def _mean(others: Sequence[OtherTiles]) -> float:
    """Return the mean score over the tiles of some runs."""
    return sum(each.count * (each.value or 0.0) for each in others) / sum(each.count for each in others)
