"""Write the report of a run or a study from what its folder holds."""

from pathlib import Path

from orbitune.errors import RunError
from orbitune.evaluation.run_result import FILE as RUN_FILE
from orbitune.study.report import write_report
from orbitune.study.results import FILE as STUDY_FILE
from orbitune.study.results import read_results
from orbitune.suggestions import missing
from orbitune.training.run_report.writer import write_run_report


def report(folder: str | Path, *, progress: bool = True) -> tuple[Path, ...]:
    """Write the report of a finished run or study from what its folder holds.

    Examples:
        >>> from orbitune import report
        >>> [page] = report("runs/lora")

    Args:
        folder: of a finished run (report.html is written), or of a study (report.md and its figures too).
        progress: whether to show progress on stderr, where tiles have to be decoded again for their pictures.

    Returns:
        The pages.

    Raises:
        OrbituneError: the folder holds neither, its results are damaged, or the extra `study` is missing.
    """
    folder = Path(folder)
    check_results(folder)
    if (folder / RUN_FILE).is_file():
        return (write_run_report(folder, progress=progress),)
    write_report(read_results(folder), folder)
    return folder / "report.html", folder / "report.md"


def check_results(folder: Path) -> None:
    """Check that a folder holds the results of a run or a study.

    Raises:
        RunError: it does not.
    """
    if not folder.is_dir():
        raise RunError(missing("folder", folder, advice="pass that of a finished run or a study"))
    if not any((folder / file).is_file() for file in (RUN_FILE, STUDY_FILE)):
        raise RunError(f"{folder} holds no results of a finished run ({RUN_FILE}) or a study ({STUDY_FILE}).")
