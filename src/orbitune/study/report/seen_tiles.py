"""Warnings that a backbone was trained on held-out tiles of the study."""

from orbitune.errors import counted
from orbitune.evaluation.run_result import RunData
from orbitune.reporting import formatting as fmt
from orbitune.study.arms import split_arm
from orbitune.study.report.view_model import ReportView


def warn_seen(view: ReportView) -> list[str]:
    """Return one warning for each split and backbone that was, or may have been, trained on held-out tiles.

    Tiles are summed over the folds. All methods and seeds have the same ones.
    """
    lines = []
    for split in view.splits:
        where = f" of the {split} split" if len(view.splits) > 1 else ""
        backbones: dict[str | None, dict[str | None, RunData]] = {}
        for group in view.groups_on(split):
            folds = backbones.setdefault(split_arm(group.method)[1], {})
            folds |= {run.fold: run.finished.data for run in group.runs}
        for backbone, folds in backbones.items():
            name = backbone or "the backbone"
            if any(data.seen is None for data in folds.values()):
                lines.append(
                    f"Warning: it is not known whether {name} was trained on held-out tiles{where}: the "
                    "training tiles of its runs are not recorded, or no longer where they were."
                )
            elif found := _counts([*folds.values()]):
                compared = ", and so are its differences from other backbones" if backbone else ""
                lines.append(
                    f"Warning: {name} was trained on {fmt.listed(found)}{where}. "
                    f"Its scores are too high{compared}."
                )
    return lines


def _counts(folds: list[RunData]) -> list[str]:
    """Return the number of test and validation tiles that were trained on, for people."""
    found = []
    for part in ("test", "validation"):
        if seen := sum((data.seen or {}).get(part, 0) for data in folds):
            whole = sum(data.sizes[part] for data in folds)
            found.append(f"{seen:,} of {counted(whole, f'{part} tile')}")
    return found
