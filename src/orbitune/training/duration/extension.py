"""Extension of a finished run: it goes on from its state to more epochs.

The extended recipe has the run's last epoch among its `restarts`, where the learning-rate schedule starts
anew. Trained from the start, it gives the same result.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from orbitune.errors import RunError
from orbitune.evaluation.run_result import FILE, read_recipe
from orbitune.files import replacing
from orbitune.models.files.checksummed_safetensors import check_checksum
from orbitune.models.methods import find_method
from orbitune.recipe import Recipe
from orbitune.training.stored.recipe import KEPT_STATE, has_trained, stored_recipe

LARGEST_KEPT_STATE = 64_000_000  # bytes; full fine-tuning of ViT-Base would keep 1.4 GB with each run


def continue_recipe(recipe: Recipe, folder: Path) -> Recipe:
    """Return the recipe as one that continues or extends the run in a folder.

    What it leaves open of its length is that of the run. More epochs than those of a finished run extend it.

    Args:
        recipe: recipe as requested.
        folder: run folder; the recipe is unchanged if it holds no run that has trained.

    Raises:
        OrbituneError: the recipe or the result of the run is damaged.
    """
    run = stored_recipe(folder) if has_trained(folder) else None
    if run is None:
        return recipe
    if recipe.epochs is None:
        length = ("epochs", "passes", "patience", "restarts")
        return recipe.replace(**{name: getattr(recipe, name) or getattr(run, name) for name in length})
    recipe = recipe.replace(passes=recipe.passes or run.passes)
    if recipe.restarts not in (None, run.restarts):
        return recipe
    if recipe.epochs == run.epochs:
        return recipe.replace(restarts=run.restarts)
    if (
        has_result(folder, run)
        and recipe.max_epochs > run.max_epochs
        and "auto" not in (recipe.epochs, run.epochs)
    ):
        return recipe.replace(restarts=(*(run.restarts or ()), run.max_epochs))
    return recipe


def is_finished(recipe: Recipe, folder: Path) -> bool:
    """Return whether the run in a folder has all epochs of a requested recipe.

    Raises:
        OrbituneError: the recipe or the result of the run is damaged.
    """
    if not (folder / FILE).is_file():
        return False
    return continue_recipe(recipe, folder).epochs == read_recipe(folder).epochs


def has_result(folder: Path, recipe: Recipe) -> bool:
    """Return whether the result in a run folder is that of all epochs of its resolved recipe."""
    return (folder / FILE).is_file() and read_recipe(folder).epochs == recipe.epochs


def lengthened(run: Recipe, recipe: Recipe) -> Recipe | None:
    """Return the recipe of a run with the length of a resolved one that goes on from its last epoch.

    A recipe without other differences from it is an extension of the run. None for one that does not go on.
    """
    if recipe.restarts != (*(run.restarts or ()), run.epochs):
        return None
    return run.model_copy(update={"epochs": recipe.epochs, "restarts": recipe.restarts})


def keep_state(folder: Path, files: Sequence[Path], *, recipe: Recipe, epochs: int) -> None:
    """Keep the last checkpoint of a finished run, from which it can be extended.

    It replaces that of fewer epochs. It is not kept where it is large, where the run stopped early, or where
    the method's own schedule has ended.

    Args:
        folder: run folder.
        files: the checkpoint; whether the run is complete is told from the last one.
        recipe: resolved recipe of the run.
        epochs: number of epochs it trained.
    """
    small = sum(file.stat().st_size for file in files if file.is_file()) <= LARGEST_KEPT_STATE
    if small and epochs == recipe.epochs and not find_method(recipe.method).schedule:
        (folder / KEPT_STATE).mkdir(exist_ok=True)
        for file in files:
            if file.is_file():  # else it was moved before an earlier process ended
                file.replace(folder / KEPT_STATE / file.name)
    else:
        shutil.rmtree(folder / KEPT_STATE, ignore_errors=True)


def restore_state(folder: Path, files: Sequence[Path]) -> None:
    """Copy the kept state of a finished run to its checkpoint.

    Files of the checkpoint that are there stay: they are those of the finished run, of a process that ended
    before it had kept or restored all of them.

    Args:
        folder: run folder.
        files: the checkpoint, as for `keep_state`.

    Raises:
        RunError: the state is missing or damaged; nothing was changed.
    """
    copies = [(folder / KEPT_STATE / file.name, file) for file in files if not file.is_file()]
    refused = f"{folder} cannot be extended"
    advice = "Train with another --out instead."
    if not all(kept.is_file() for kept, _ in copies):
        raise RunError(
            f"{refused}: its training state was not kept, as it is large, the run stopped early, the "
            f"method's schedule has ended, or an earlier version trained it. {advice}"
        )
    for kept, _ in copies:
        try:
            check_checksum(kept)
        except (OSError, ValueError) as error:
            raise RunError(f"{refused}: {kept} is damaged ({error}). {advice}") from None
    for kept, file in copies:
        with replacing(file) as temporary:
            shutil.copyfile(kept, temporary)
