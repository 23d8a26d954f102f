"""The recipe of a run folder, and whether anything was trained by it."""

import logging
from pathlib import Path

from orbitune.recipe import Recipe
from orbitune.yaml_files import read_yaml

_LOGGER = logging.getLogger(__name__)
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


def check_block_size(recipe: Recipe, folder: Path) -> None:
    """Check that the size of blocks has an effect; that of a run of an earlier version is a warning.

    Args:
        recipe: as requested.
        folder: of the run.

    Raises:
        OrbituneError: the recipe has one without effect, and the run does not.
    """
    kept = stored_recipe(folder)
    if kept is None or not kept.has_unused_block_size or recipe.block_size not in (None, kept.block_size):
        recipe.expect_used()
    if kept and kept.has_unused_block_size:
        _LOGGER.warning(
            "--block-size %g of the run in %s has no effect with --split %s",
            kept.block_size,
            folder,
            kept.split,
        )
