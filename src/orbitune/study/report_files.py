"""Write the report of a run or a study from what its folder holds."""

import logging
from pathlib import Path

from orbitune.errors import RunError
from orbitune.evaluation.run_result import FILE as RUN_FILE
from orbitune.evaluation.saved_outputs import holds_predictions, read_predictions
from orbitune.extras import require
from orbitune.study.analysis import compare_runs
from orbitune.study.folder import count_test_reads
from orbitune.study.layout import SETTINGS
from orbitune.study.records import RunRecord, StudyResults
from orbitune.study.report import write_report
from orbitune.study.results import FILE as STUDY_FILE
from orbitune.study.results import read_results, write_results
from orbitune.suggestions import missing
from orbitune.training.run_report.writer import write_run_report

_LOGGER = logging.getLogger(__name__)


def report(folder: str | Path, *, progress: bool = True) -> tuple[Path, ...]:
    """Write the report of a finished run or study from what its folder holds.

    The statistics of a study are computed anew from the predictions of its runs, where all are there.

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
    require("study", purpose="reports")
    if (folder / RUN_FILE).is_file():
        return (write_run_report(folder, progress=progress),)
    write_report(_compared_again(read_results(folder), folder), folder)
    return folder / "report.html", folder / "report.md"


def _compared_again(results: StudyResults, folder: Path) -> StudyResults:
    """Return the results with new statistics, which are stored too; unchanged where predictions are missing.

    Those of a damaged file are missing too.
    """
    unusable = [run.name for run in results.done if not _has_predictions(folder / run.name)]
    if not unusable:
        runs = [_read_again(run, folder / run.name) for run in results.runs]
        update = {"runs": runs, **compare_runs(runs, folder, design=results.design)}
        results = results.model_copy(update=update)
        write_results(results, folder)
    elif any(holds_predictions(folder / run.name) for run in results.done):
        _LOGGER.warning(
            "the predictions of %d of %d runs are missing or damaged in %s (such as %s): the statistics are "
            "those of its %s",
            len(unusable),
            len(results.done),
            folder,
            unusable[0],
            STUDY_FILE,
        )
    return results


def _read_again(run: RunRecord, folder: Path) -> RunRecord:
    """Return the record of a run with the number of its test reads of now: `orbitune evaluate` adds some."""
    if run.result is None or not (folder / RUN_FILE).is_file():
        return run
    reads = {"test_reads": count_test_reads(folder)}
    return run.model_copy(update={"result": run.result.model_copy(update=reads)})


def _has_predictions(run: Path) -> bool:
    """Return whether the predictions of a run can be read."""
    try:
        read_predictions(run, "test")
    except RunError:
        return False
    return True


def check_results(folder: Path) -> None:
    """Check that a folder holds the results of a run or a study.

    Raises:
        RunError: it does not.
    """
    if not folder.is_dir():
        raise RunError(missing("folder", folder, advice="pass that of a finished run or a study"))
    if any((folder / file).is_file() for file in (RUN_FILE, STUDY_FILE)):
        return
    if (folder / SETTINGS).is_file():
        raise RunError(
            f"The study in {folder} is not finished: {STUDY_FILE} is written after its last run. "
            "The command that started it continues it."
        )
    raise RunError(f"{folder} holds no results of a finished run ({RUN_FILE}) or a study ({STUDY_FILE}).")
