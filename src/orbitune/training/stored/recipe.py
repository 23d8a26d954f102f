"""The recipe of a run folder, and whether anything was trained by it."""

from pathlib import Path

from orbitune.recipe import Recipe
from orbitune.yaml_files import read_yaml

FILE = "recipe.yaml"
KEPT_STATE = "training-state"  # folder of the state of a finished run
# What a run writes once it has trained; before, it has nothing that another recipe could spoil.
_TRAINED = (
    "checkpoint/state.safetensors",
    "checkpoint/best.safetensors",
    KEPT_STATE,
    "diverged.json",
    "log.jsonl",
    "result.json",
    "trial.json",
)


def stored_recipe(folder: Path) -> Recipe | None:
    """Return the resolved recipe of a run; None where the folder holds no run.

    Raises:
        OrbituneError: it is damaged.
    """
    file = folder / FILE
    return Recipe.make(read_yaml(file)) if file.is_file() else None


def has_trained(folder: Path) -> bool:
    """Return whether a run has saved anything that it trained.

    A folder without it is that of an attempt that ended before: its files are of no use to the next one.
    """
    return any((folder / name).exists() for name in _TRAINED)
