"""Leakage checks of a split: near-duplicates and trivial baselines.

The checks hold for every method. They take long on many tiles, so they are stored in the study's folder as
leakage_checks.json, under the hashes of the tiles and of their split.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.data.georeference import read_locations
from orbitune.data.leakage.near_duplicates import Fingerprints, find_near_duplicates
from orbitune.data.tileset import TileSet
from orbitune.errors import DataError, OrbituneError
from orbitune.evaluation.baselines import colour_baseline, colour_statistics, coordinates_baseline
from orbitune.extras import MissingExtraError
from orbitune.records import RecordError
from orbitune.study.findings import LeakageChecks, LeakageRecord
from orbitune.training.setup import TrainingSetup
from orbitune.training.stored.records import RunInputs

_EXAMPLES = 3  # near-duplicate pairs that are named


@dataclass(frozen=True)
class TileMeasures:
    """What the checks read off all tiles, whatever the fold: once, when a check needs it."""

    tiles: TileSet

    @cached_property
    def prints(self) -> Fingerprints:
        """Return the fingerprints that near-duplicates are found by."""
        return Fingerprints.of_tiles(self.tiles, np.arange(len(self.tiles.labels)))

    @cached_property
    def colours(self) -> np.ndarray:
        """Return the colour statistics."""
        return colour_statistics(self.tiles)


def check_leakage(
    setup: TrainingSetup,
    split: str,
    *,
    folder: Path,
    fold: str | None = None,
    measures: TileMeasures | None = None,
) -> LeakageRecord:
    """Check one split, or one fold, for near-duplicates and score trivial baselines on it.

    The baselines read its test labels, as every method's scores do.

    Args:
        setup: of a run on this split.
        split: name of the split.
        folder: the study's folder.
        fold: of a cross-validation, such as 2/5.
        measures: of the tiles, which the folds of a split share.
    """
    file, older = folder / "leakage_checks.json", folder / "alarms.json"  # its name in version 0.1
    key, stored = _key(setup.inputs()), {**_read_checks(older), **_read_checks(file)}
    known = key in stored
    if not known:
        stored[key] = LeakageRecord.model_validate(
            {"split": split, **_measure(setup, measures or TileMeasures(setup.tiles))}
        )
    if not known or older.exists():
        LeakageChecks(checks=stored).write(file)
        older.unlink(missing_ok=True)
    return stored[key].model_copy(update={"split": split, "fold": fold})


def _read_checks(file: Path) -> dict[str, LeakageRecord]:
    """Return earlier checks; those of a missing or damaged file are made again."""
    try:
        return LeakageChecks.read(file).checks
    except (OrbituneError, RecordError):
        return {}


def _key(inputs: RunInputs) -> str:
    return f"tiles {inputs.tiles[:16]} splits {inputs.splits[:16]}"


def _measure(setup: TrainingSetup, measures: TileMeasures) -> dict[str, Any]:
    """Find near-duplicates and fit the baselines."""
    leaks = [
        {**leak.to_json(), "pairs": leak.to_json()["pairs"][:_EXAMPLES], "sentence": leak.describe()}
        for leak in find_near_duplicates(setup.tiles, setup.splits, prints=measures.prints)
    ]
    baselines = [colour_baseline(setup.tiles, setup.splits, features=measures.colours)]
    found = {"leaks": leaks, "baselines": baselines}
    try:
        locations = read_locations(setup.tiles)
    except (DataError, MissingExtraError) as error:
        return {**found, "no_coordinates": str(error)}
    if locations is not None:
        baselines.append(coordinates_baseline(setup.tiles, setup.splits, locations=locations))
    return found
