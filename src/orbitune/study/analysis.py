"""Analysis of finished runs: statistics, leakage checks and disputed tiles."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orbitune.errors import OrbituneError
from orbitune.models.lineage.training_data import name_split
from orbitune.study.design.fixed import Design
from orbitune.study.disagreements import find_disagreements
from orbitune.study.findings import DisagreementRecord, LeakageRecord
from orbitune.study.leakage_checks import TileMeasures, check_leakage
from orbitune.study.predictions import complete_runs
from orbitune.study.records import RunRecord
from orbitune.study.split_gaps import split_gaps
from orbitune.study.summaries import summarise_groups
from orbitune.study.sweep_verdicts import compare_sweeps
from orbitune.study.verdicts import compare_methods
from orbitune.training.evaluate import reopen

_LOGGER = logging.getLogger(__name__)


def analyse_runs(runs: Sequence[RunRecord], folder: Path, *, design: Design | None = None) -> dict[str, Any]:
    """Compare the runs and check their tiles.

    Leakage is checked in every fold of a cross-validation. Where the tiles are no longer available a message
    is logged, and the leakage checks and disagreements of that split are left out.

    Args:
        runs: all runs of the study.
        folder: the study's folder.
        design: what was fixed beforehand; None for the default margin, with all comparisons judged together.

    Returns:
        The fields summaries, gaps, verdicts, sweep_verdicts, leakage_checks and disagreements of
        `StudyResults`.

    Raises:
        RunError: predictions are missing, or runs of a split were scored on different tiles.
    """
    checks: list[LeakageRecord] = []
    disputed: list[DisagreementRecord] = []
    compared = [run for run in complete_runs(runs) if run.sweep is None]
    for split in dict.fromkeys(run.split for run in compared):
        firsts: dict[str | None, RunRecord] = {}
        for run in compared:
            if run.split == split:
                firsts.setdefault(run.fold, run)
        data = next(iter(firsts.values())).finished.training_data
        name = name_split(split, data.origin)
        try:
            _LOGGER.info("checking the %s for leakage", name)
            own: list[LeakageRecord] = []
            measures = None
            for fold, run in firsts.items():
                _, setup = reopen(folder / run.name, progress=False)
                measures = measures or TileMeasures(setup.tiles)
                own.append(check_leakage(setup, split, folder=folder, fold=fold, measures=measures))
            checks += own
            found = find_disagreements(runs, folder, split=split, tiles=setup.tiles)
        except OrbituneError as error:
            _LOGGER.info("  the tiles of the %s could not be checked: %s", name, error)
            continue
        if found:
            disputed.append(found)
    return {**compare_runs(runs, folder, design=design), "leakage_checks": checks, "disagreements": disputed}


def compare_runs(runs: Sequence[RunRecord], folder: Path, *, design: Design | None = None) -> dict[str, Any]:
    """Compute all statistics that need the runs' predictions, and no tiles.

    Args:
        runs: all runs of the study.
        folder: the study's folder.
        design: as in `analyse_runs`.

    Returns:
        The fields summaries, gaps, verdicts and sweep_verdicts of `StudyResults`.

    Raises:
        RunError: predictions are missing, or runs of a split were scored on different tiles.
    """
    return {
        "summaries": summarise_groups(runs, folder),
        "gaps": split_gaps(runs, folder),
        "verdicts": compare_methods(runs, folder, design=design),
        "sweep_verdicts": compare_sweeps(runs, folder, design=design),
    }
