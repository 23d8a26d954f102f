"""results.json: everything that a study measured, read from its runs, in one file without bulky arrays.

The logits of every tile stay in the runs' predictions.npz; `load_logits` lines them up, and
`load_predictions` those of a whole split.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from orbitune.errors import OrbituneError, RunError
from orbitune.evaluation.saved_outputs import read_predictions
from orbitune.integrity import read_json, read_sealed_json
from orbitune.recipe_paths import data_name
from orbitune.records import first_fault
from orbitune.training.checkpoint import read_state
from orbitune.training.run_folder import read_environment

FORMAT = 2
Entry = dict[str, Any]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _Entry(_Part):
    method: str = ""
    status: str
    result: dict[str, Any] | None = None
    error: str | None = None


class _Results(_Part):
    """What every results.json holds, of whatever version; later ones hold more."""

    format: PositiveInt
    command: str = ""
    created: str = ""
    environment: dict[str, Any] = {}
    data: dict[str, Any] = {}
    backbone: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
    runs: list[_Entry] = Field(min_length=1)


def read_results(folder: str | Path) -> dict[str, Any]:
    """Read the results of a study that was run in this folder.

    Raises:
        RunError: there are none, they are damaged, or a field is missing.
    """
    file = Path(folder) / "results.json"
    if not file.is_file():
        raise RunError(f"{folder} holds no results of a study (no results.json).")
    try:
        results: dict[str, Any] = read_json(file)
        _Results.model_validate(results)
    except OrbituneError as error:
        raise RunError(f"{error} Run the study again, which keeps its finished runs.") from None
    except ValidationError as error:
        raise RunError(f"{file} is damaged or no study's: {first_fault(error)}.") from None
    return results


def shared_facts(entries: Sequence[Entry], folder: Path, varied: Collection[str]) -> dict[str, Any]:
    """What all runs of a study share, from the first that is done: surroundings, data, backbone, recipe.

    Args:
        varied: the settings of the recipe that its runs do not share.

    Raises:
        RunError: no run is done, or two of them saw other tiles.
    """
    done = [entry for entry in entries if entry["status"] == "done"]
    if not done:
        raise RunError("No run of the study succeeded: " + "; ".join({e["error"]: 0 for e in entries}))
    first = done[0]["result"]
    for entry in done:
        if entry["result"]["data"]["fingerprint"] != first["data"]["fingerprint"]:
            raise RunError(
                f"{done[0]['name']} and {entry['name']} of {folder} saw other tiles: the data was changed "
                "while the study went on. Restore it, or remove the folder of one of them."
            )
    return {
        "environment": read_environment(folder / done[0]["name"]),
        "data": {"name": data_name(first["recipe"]["data"]), **first["data"]},
        "backbone": {**first["backbone"], "parameters": first["parameters"]["backbone"]},
        "recipe": {name: value for name, value in first["recipe"].items() if name not in varied},
    }


def reads_of_test(run: Path) -> int:
    """How often a run has read the test split, finished or not.

    A run counts a read in its checkpoint before it reads, so one without result or checkpoint has read none.
    """
    if (file := run / "result.json").is_file():
        try:
            return int(read_sealed_json(file)["test_reads"])
        except (OrbituneError, LookupError, TypeError, ValueError):
            raise RunError(f"{file} is damaged. Restore it, or train the run anew.") from None
    state = run / "checkpoint" / "state.safetensors"
    return read_state(state).test_reads if state.is_file() else 0


@dataclass(frozen=True)
class Logits:
    """What runs made of the same tiles.

    Attributes:
        indices: of the tiles in the tile set, int64 (N,).
        labels: true classes, int64 (N,).
        logits: float32 (R, N, C), a table for each run.
    """

    indices: np.ndarray
    labels: np.ndarray
    logits: np.ndarray


def load_logits(runs: Sequence[Entry], folder: str | Path, part: str = "test") -> Logits:
    """Line up the logits of finished runs of a study.

    Args:
        runs: entries of results.json, one or more.
        folder: of the study, with the runs below it.
        part: "test" or "validation".

    Raises:
        RunError: two of them were scored on other tiles; or their predictions.npz is missing or damaged.
    """
    tables = [read_predictions(Path(folder) / run["name"], part) for run in runs]
    first = tables[0]
    for run, table in zip(runs, tables, strict=True):
        same = np.array_equal(table.indices, first.indices) and np.array_equal(table.labels, first.labels)
        if not same or table.logits.shape != first.logits.shape:
            raise RunError(f"{run['name']} of {folder} was scored on other {part} tiles than the other runs.")
    return Logits(first.indices, first.labels, np.stack([table.logits for table in tables]))


def compared_runs(results: dict[str, Any], split: str) -> list[Entry]:
    """The finished runs of the comparison on one split, without the sweeps, in the order of the study."""
    return [
        run
        for run in results["runs"]
        if run["status"] == "done" and run["split"] == split and run["sweep"] is None
    ]


def compared_splits(results: dict[str, Any]) -> list[str]:
    """The splits on which the comparison has a finished run, in the order of the study."""
    splits = dict.fromkeys(run["split"] for run in results["runs"])
    return [split for split in splits if compared_runs(results, split)]


@dataclass(frozen=True)
class Predictions:
    """What every method predicted for the same test tiles of one split.

    Attributes:
        indices: of the tiles in the tile set, int64 (N,).
        labels: true classes, int64 (N,).
        seeds: per method the seeds of its finished runs, in rising order.
        predicted: per method the predicted classes, int64 (S, N), a row for each of these seeds.
    """

    indices: np.ndarray
    labels: np.ndarray
    seeds: dict[str, tuple[int, ...]]
    predicted: dict[str, np.ndarray]

    @property
    def correct(self) -> dict[str, np.ndarray]:
        """Per method whether each prediction is right, bool (S, N)."""
        return {method: rows == self.labels for method, rows in self.predicted.items()}


def load_predictions(results: dict[str, Any], folder: str | Path, split: str = "default") -> Predictions:
    """Line up the test predictions of the finished runs of one split, without the sweeps.

    Args:
        results: what results.json holds.
        folder: of the study, with the runs below it.

    Raises:
        RunError: there is no such run; or see `load_logits`.
    """
    runs = compared_runs(results, split)
    if not runs:
        raise RunError(f"{folder} has no finished run on the {split} split.")
    found = load_logits(runs, folder)
    predicted = found.logits.argmax(2)
    rows = {  # of each method, by rising seed
        method: sorted(
            (row for row, run in enumerate(runs) if run["method"] == method),
            key=lambda row: runs[row]["seed"],
        )
        for method in dict.fromkeys(run["method"] for run in runs)
    }
    return Predictions(
        found.indices,
        found.labels,
        seeds={method: tuple(runs[row]["seed"] for row in own) for method, own in rows.items()},
        predicted={method: predicted[own] for method, own in rows.items()},
    )
