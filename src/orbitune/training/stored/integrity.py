"""Whether the files of a finished run are those that it wrote, its model apart."""

from pathlib import Path

import yaml

from orbitune.errors import RunError
from orbitune.evaluation.run_result import RunResult
from orbitune.evaluation.saved_outputs import read_predictions
from orbitune.integrity import read_json
from orbitune.recipe import Recipe
from orbitune.recipe_paths import is_there
from orbitune.training.duration.extension import lengthened
from orbitune.training.run_folder import SKIPPED, log_text, read_environment, read_inputs
from orbitune.training.stored.recipe import FILE as RECIPE
from orbitune.yaml_files import read_yaml


def check_run(folder: Path) -> None:
    """Compare the files of a run with its result.json.

    Raises:
        RunError: one is missing or damaged, or belongs to another run.
        OrbituneError: recipe.yaml cannot be read, or fits no recipe.
    """
    result = RunResult.load(folder)
    read_inputs(folder)
    read_environment(folder)
    for split in ("validation", "test"):
        read_predictions(folder, split, classes=len(result.data.classes))
    _check_recipe(folder, result)
    if _read_text(folder / "log.jsonl") != log_text(result.history):
        raise _mismatch_error(folder, "log.jsonl")
    kept = read_json(folder / SKIPPED) if (folder / SKIPPED).is_file() else []
    if not isinstance(kept, list) or len(kept) != result.data.skipped:
        raise _mismatch_error(folder, SKIPPED)


def _check_recipe(folder: Path, result: RunResult) -> None:
    """Compare recipe.yaml with the trained recipe; paths may have moved."""
    file = folder / RECIPE
    values = read_yaml(file)
    kept, trained = Recipe.make(values), result.recipe
    longer = lengthened(trained, kept)
    if longer and not kept.differences(longer):
        raise RunError(
            f"{folder} is being extended to {kept.epochs} epochs: finish that with the same command first."
        )
    moved = [path for name, path in kept.path_fields.items() if path != trained.path_fields[name]]
    if kept.differences(trained) or not all(path and is_there(path) for path in moved):
        raise _mismatch_error(folder, file.name)
    if _read_text(file) != yaml.safe_dump(values, sort_keys=False):
        raise RunError(f"{file} is damaged or was edited. Restore it.")


def _read_text(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except (OSError, ValueError):
        raise RunError(f"{file} is missing or damaged. Restore it, or train the run again.") from None


def _mismatch_error(folder: Path, name: str) -> RunError:
    return RunError(f"{folder / name} is damaged or belongs to another run than the result.json beside it.")
