"""Default length of a run: epochs, and passes over few training tiles."""

from orbitune.errors import ModelError
from orbitune.models.methods import find_method
from orbitune.recipe import Recipe

# With few tiles one pass is a step or two: the learning rate would have no time to rise and fall, and
# validation would take most of the time. Fixed step counts for small data are what BiT does (Kolesnikov et
# al. 2020, arXiv:1912.11370: 500 steps). ViT-Tiny, LoRA, 5 shots of EuroSAT at 64 pixels, three epochs, one
# seed: 73.9 % on test with 100 steps an epoch, 42.5 % with one pass. 2,100 tiles of 21 classes of AID at 112
# pixels, one seed, validation and test: 91.3 % after 80 steps in all, 94.6 % after 180. Three epochs of 80
# steps compute 19,200 images with those of the sensor augmentation: 4.8 minutes at 67 images/s, the speed of
# ViT-Tiny at 224 pixels on two cores with bf16 (docs/results/bench-eurosat-vit-tiny.md).
EPOCH_STEPS = 80  # in an epoch, at least, where the recipe leaves the length open

DEFAULT_PATIENCE = 3  # epochs, of `--epochs auto`


def resolve_length(recipe: Recipe, tiles: int) -> Recipe:
    """Resolve the epochs of a recipe and the passes over its training tiles.

    An epoch has at least `EPOCH_STEPS` steps where the recipe leaves its length open or draws few shots.

    Args:
        recipe: with None for open settings.
        tiles: number of training tiles.

    Raises:
        ModelError: the method needs the number of steps, and the recipe may stop early.
    """
    passes = recipe.passes
    if passes is None and (recipe.shots or not isinstance(recipe.epochs, int)):
        passes = -(-EPOCH_STEPS // steps_per_pass(recipe, tiles))
    if find_method(recipe.method).schedule and (recipe.epochs == "auto" or recipe.patience):
        raise ModelError(
            f"The method {recipe.method} removes ranks by a schedule over all steps and cannot stop early: "
            "pass a number of --epochs, and no --patience."
        )
    patience = recipe.patience or (DEFAULT_PATIENCE if recipe.epochs == "auto" else None)
    return recipe.replace(epochs=recipe.epochs or recipe.max_epochs, passes=passes, patience=patience)


def steps_per_pass(recipe: Recipe, tiles: int) -> int:
    """Return the number of steps of a pass over the tiles, a smaller last batch included."""
    return -(-tiles // recipe.batch_size)


def describe_passes(recipe: Recipe, tiles: int) -> str:
    """Return the passes of an epoch of a resolved recipe as a note for the user."""
    passes = recipe.passes or 1
    steps = passes * steps_per_pass(recipe, tiles)
    return (
        f"passes over the training tiles in an epoch: {passes}, steps: {steps} of at most "
        f"{min(recipe.batch_size, tiles)} tiles"
    )
