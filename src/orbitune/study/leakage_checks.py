"""Alarms about a split, which hold for every method: leaks, and what colours or coordinates alone reach.

They take long where there are many tiles, so they are kept in the study's folder as alarms.json and found
again under the hashes of the tiles and of their split.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orbitune.data.georeference import read_locations
from orbitune.data.near_duplicates import describe_near_duplicates, find_near_duplicates
from orbitune.errors import DataError
from orbitune.evaluation.baselines import colour_baseline, coordinates_baseline
from orbitune.files import write_json
from orbitune.integrity import read_kept
from orbitune.training.setup import TrainingSetup

_PAIRS = 3  # of near-duplicates that are named
_FIELDS = {"leaks", "baselines"}


def leakage_checks(job: TrainingSetup, split: str, folder: Path) -> dict[str, Any]:
    """What is alarming about one split. The baselines read its test labels, as every method's scores do.

    Args:
        job: of a run on this split.
        split: its name.
        folder: of the study.

    Returns:
        split; leaks, see `find_near_duplicates`, each with its sentence and a few pairs; baselines, see
        `coordinates_baseline`; no_coordinates, why there is no baseline of coordinates, where tiles have some
        that are of no use.
    """
    file, key = folder / "alarms.json", _key(job.inputs())
    kept = _kept(file)
    if key not in kept:
        kept[key] = _measured(job)
        write_json(file, kept)
    return {"split": split, **kept[key]}


def _kept(file: Path) -> dict[str, Any]:
    """Return what was measured before; what is missing or damaged is measured again."""
    kept = read_kept(file) or {}
    return {key: found for key, found in kept.items() if isinstance(found, dict) and found.keys() >= _FIELDS}


def _key(inputs: Mapping[str, str]) -> str:
    return f"tiles {inputs['tiles'][:16]} splits {inputs['splits'][:16]}"


def _measured(job: TrainingSetup) -> dict[str, Any]:
    leaks = [
        {**leak, "pairs": leak["pairs"][:_PAIRS], "sentence": describe_near_duplicates(leak)}
        for leak in find_near_duplicates(job.tiles, job.splits)
    ]
    found = {"leaks": leaks, "baselines": [colour_baseline(job.tiles, job.splits)]}
    try:
        ground = read_locations(job.tiles)
    except DataError as error:
        return {**found, "no_coordinates": str(error)}
    if ground is not None:
        found["baselines"].append(coordinates_baseline(job.tiles, job.splits, ground))
    return found
