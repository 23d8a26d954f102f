"""Read and write results.json, of this version and of older ones.

The logits of every tile stay in the runs' predictions.npz, see `orbitune.study.predictions`.
"""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orbitune.errors import OrbituneError, RunError
from orbitune.files import write_json
from orbitune.integrity import read_json
from orbitune.models.metadata import first_fault
from orbitune.study.records import FORMAT, StudyResults

_FILE = "results.json"
_RENAMED = {"alarms": "leakage_checks", "engine": "executor"}  # in format 3


def read_results(folder: str | Path) -> StudyResults:
    """Read the results of a study.

    Args:
        folder: the study's folder.

    Raises:
        RunError: there is no results.json, or it is damaged or of a newer version.
    """
    file = Path(folder) / _FILE
    if not file.is_file():
        raise RunError(f"{folder} holds no results of a study (no {_FILE}).")
    try:
        values = read_json(file)
    except OrbituneError as error:
        raise RunError(f"{error} Run the study again, which keeps its finished runs.") from None
    version = values.get("format") if isinstance(values, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise RunError(f"{file} was written by a newer Orbitune; update it to read this.")
    try:
        return parse_results(values)
    except ValidationError as error:
        raise RunError(f"{file} is damaged or no study's: {first_fault(error)}.") from None


def parse_results(values: Any) -> StudyResults:
    """Return the results that a results.json of this or an older version holds.

    Raises:
        ValidationError: a field is missing or invalid.
    """
    return StudyResults.model_validate(_upgrade(values) if isinstance(values, dict) else values)


def write_results(results: StudyResults, folder: Path) -> None:
    """Write results.json into the study's folder."""
    write_json(folder / _FILE, results.model_dump(mode="json"))


def _upgrade(values: dict[str, Any]) -> dict[str, Any]:
    """Return the content of an older results.json in today's form; invalid values are left as they are."""
    version = values.get("format")
    if not isinstance(version, int) or version >= FORMAT:
        return values
    upgraded = {_RENAMED.get(name, name): value for name, value in values.items()} | {"format": FORMAT}
    if version == 1 and isinstance(runs := values.get("runs"), list):
        upgraded["runs"] = [_upgrade_run(run) if isinstance(run, dict) else run for run in runs]
        upgraded["summaries"] = [
            _summarise_run(run) for run in upgraded["runs"] if isinstance(run, dict) and run.get("result")
        ]
    return upgraded


def _upgrade_run(run: dict[str, Any]) -> dict[str, Any]:
    """Return a run of format 1, which had one run per method, with the fields that tell runs apart."""
    method, result = run.get("method"), run.get("result")
    if isinstance(result, dict):
        result = {"compute": {}, **result}  # not recorded at first
    return {"name": method, "group": method, "seed": 0, "split": "default", **run, "result": result}


def _summarise_run(run: dict[str, Any]) -> dict[str, Any]:
    """Return the summary of a single run of format 1."""
    try:
        test, validation = run["result"]["test"], run["result"]["validation"]
        low, high = test["interval"]
        accuracy = test["accuracy"]
        return {
            **{name: run.get(name) for name in ("group", "method", "split", "sweep", "shots", "rank")},
            "image_size": run.get("image_size"),
            "seeds": [run["seed"]],
            "test_tiles": test["count"],
            "accuracy": {"mean": accuracy, "low": low, "high": high, "seeds": [accuracy]},
            "macro_f1": test["macro_f1"],
            "validation_accuracy": validation["accuracy"],
            "per_class": [{**row, "low": row["f1"], "high": row["f1"]} for row in test["per_class"]],
        }
    except (LookupError, TypeError, ValueError):
        return {}  # the run itself is reported as invalid
