"""Write the report of a finished run."""

from pathlib import Path

from orbitune.errors import RunError
from orbitune.evaluation.run_result import FILE as RESULT
from orbitune.evaluation.run_result import RunResult
from orbitune.evaluation.run_tiles import find_run_tiles
from orbitune.evaluation.saved_outputs import open_model, read_decision, read_predictions
from orbitune.evaluation.tasks.known import find_task
from orbitune.extras import require
from orbitune.files import write_text
from orbitune.training.run_folder import read_environment
from orbitune.training.run_report.page import RunView, build_page

FILE = "report.html"


def write_run_report(run: str | Path, *, progress: bool = True) -> Path:
    """Write report.html, one file without others, into the folder of a finished run.

    Args:
        run: the folder.
        progress: show progress on stderr, if the tiles have to be decoded again.

    Returns:
        The file.

    Raises:
        MissingExtraError: matplotlib or jinja2 is not installed.
        OrbituneError: the run is not finished or damaged, or its folder cannot be written.
    """
    require("study", purpose="reports")
    folder = Path(run)
    result = RunResult.load(folder)
    several = find_task(result.recipe.task).name == "multi-label"
    if not several and not (result.validation.confusion and result.test.confusion):
        raise RunError(f"{folder / RESULT} holds no confusion matrix, which the report of a run shows.")
    classes = len(result.data.classes)
    view = RunView(
        name=folder.resolve().name,
        result=result,
        environment=read_environment(folder),
        decision=read_decision(folder, open_model(folder, result)[1]),
        test=read_predictions(folder, "test", classes=classes),
        tiles=find_run_tiles(result, progress),
    )
    file = folder / FILE
    write_text(file, build_page(view).render("html"))
    return file
