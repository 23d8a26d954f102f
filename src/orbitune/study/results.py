"""Read and write results.json, see `orbitune.study.records.StudyResults`.

The logits of every tile stay in the runs' predictions.npz, see `orbitune.study.predictions`.
"""

from pathlib import Path

from orbitune.errors import OrbituneError, RunError
from orbitune.files import write_json
from orbitune.integrity import read_json
from orbitune.records import RecordError
from orbitune.study.records import StudyResults

FILE = "results.json"


def read_results(folder: str | Path) -> StudyResults:
    """Read the results of a study, of this version or an older one.

    Args:
        folder: the study's folder.

    Raises:
        RunError: there is no results.json, or it is damaged or of a newer version.
    """
    file = Path(folder) / FILE
    if not file.is_file():
        raise RunError(f"{folder} holds no results of a study (no {FILE}).")
    try:
        values = read_json(file)
    except OrbituneError as error:
        raise RunError(f"{error} Run the study again, which keeps its finished runs.") from None
    if not isinstance(values, dict):
        raise RunError(f"{file} is damaged: it holds no JSON object.")
    try:
        return StudyResults.from_json(values)
    except RecordError as error:
        raise RunError(f"{file} {error}") from None


def write_results(results: StudyResults, folder: Path) -> None:
    """Write results.json into the study's folder.

    Args:
        results: the study's results.
        folder: study folder.
    """
    write_json(folder / FILE, results.to_json())
