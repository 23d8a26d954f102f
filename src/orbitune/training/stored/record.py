"""The record of a finished run: its folder without weights.

Recipe, results, predictions, environment and hashes of the inputs remain, from which a study is compared and
reported, and by which it knows the run on another machine.
"""

import shutil
from pathlib import Path

from orbitune.evaluation.run_result import FILE as RESULT
from orbitune.evaluation.run_result import RunResult
from orbitune.models.files.run_weights import FOLDERS
from orbitune.models.lineage.seen_file import FILE as SEEN_FILE
from orbitune.training.stored.recipe import FILE, KEPT_STATE, stored_recipe

_WEIGHTS = (*FOLDERS, KEPT_STATE, "checkpoint")


def drop_weights(run: Path) -> None:
    """Remove from the folder of a finished run all that only its weights are of use for.

    Each folder is renamed before it is removed, so that none is ever there in part.
    """
    for name in _WEIGHTS:
        dropped = run / f".{name}.dropped"
        if (run / name).is_dir() and not dropped.exists():
            (run / name).rename(dropped)
        shutil.rmtree(dropped, ignore_errors=True)
    (run / SEEN_FILE).unlink(missing_ok=True)  # tiles that a run was trained on, for those that start from it


def relocate(run: Path, paths: dict[str, str | None]) -> None:
    """Write new paths of data, split files and backbone into the files of a run, of the same contents.

    Args:
        run: run folder, finished or not.
        paths: see `Recipe.path_fields`.
    """
    if recipe := stored_recipe(run):
        recipe.model_copy(update=paths).save(run / FILE)
    if (run / RESULT).is_file():
        RunResult.load(run).at(paths).save(run)
