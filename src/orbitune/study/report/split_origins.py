"""What the splits of a study are called wherever scores on them are shown, and how they came about."""

import re
from collections.abc import Sequence

from orbitune.errors import counted
from orbitune.models.lineage.training_data import DEFAULT, name_split
from orbitune.reporting import formatting as fmt
from orbitune.study.report.view_model import ReportView

_NOTE = re.compile(r"(?:\w+ )?split: (?:fold \d+ of (?:\d+), )?(?P<origin>.+)")


def split_origins(view: ReportView) -> list[str]:
    """Return a sentence on each split that the methods are compared on: its lists, or how it was drawn."""
    lines = []
    for split in view.splits:
        notes = view.results.compared(split)[0].finished.data.notes
        found = next((match["origin"] for note in notes if (match := _NOTE.match(note))), None)
        found = found or next((note for note in notes if note.startswith("the data has no ")), None)
        if found:
            lines.append(f"{fmt.capital(view.split_name(split) or 'split')}: {found}.")
    return lines


def scored_on(view: ReportView, split: str, *, part: str = "test", count: int | None = None) -> str:
    """Return the number of scored tiles and the name of their split.

    Args:
        view: of the study.
        split: as the study names it.
        part: test or validation.
        count: number of the tiles; by default all of the part, in all folds.

    Returns:
        Such as "5,400 test tiles of the random split that the data come with".
    """
    runs = view.groups_on(split)[0].runs
    folds = {run.fold: run.finished.data for run in runs}
    number = sum(data.sizes[part] for data in folds.values()) if count is None else count
    name = _name(view, split)
    over = f"{len(folds)} folds of " if view.folds else ""
    return f"{counted(number, f'{part} tile')} of {over}the {name}"


def corrupted_on(view: ReportView, split: str) -> str:
    """Return `scored_on` of the tiles that were corrupted."""
    count = view.robustness_on(split)[0].count
    if not view.checks_first_fold:
        return scored_on(view, split, part="validation", count=count)
    return f"{counted(count, 'validation tile')} of {view.checked_folds} of the {_name(view, split)}"


def _name(view: ReportView, split: str) -> str:
    """Return the name with the origin; with "default" where the study was given several names."""
    named = name_split(split, view.groups_on(split)[0].runs[0].finished.training_data.origin)
    return f"{DEFAULT} {named}" if split == DEFAULT and view.split_name(split) else named


def scored_on_each(view: ReportView, splits: Sequence[str] | None = None, *, part: str = "test") -> str:
    """Return `scored_on` of several splits, by default of all with a finished comparison."""
    named = [scored_on(view, split, part=part) for split in splits or view.splits]
    return fmt.listed(named) if named else f"{part} tiles"
