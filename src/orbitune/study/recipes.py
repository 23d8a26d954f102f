"""Recipes of a study: one per method, on tiles of one label each."""

from collections.abc import Iterable, Sequence

from orbitune.data.labels.early_checks import SEVERAL_LABELS
from orbitune.errors import OrbituneError, find_repeated
from orbitune.models.methods import find_method
from orbitune.recipe import Recipe
from orbitune.recipe_paths import SCRATCH
from orbitune.study.records import Plan


def expect_one_label(plans: Iterable[Plan | OrbituneError]) -> None:
    """Check by their plans, which tell it of all formats, that the tiles have one label each.

    Args:
        plans: of each arm, or why there is none.

    Raises:
        OrbituneError: they have several.
    """
    if any(isinstance(plan, Plan) and plan.recipe.task == "multi-label" for plan in plans):
        raise OrbituneError(SEVERAL_LABELS)


def one_per_method(
    recipes: Recipe | Sequence[Recipe], methods: Sequence[str] | None, *, scratch: int | None = None
) -> tuple[Recipe, ...]:
    """Return one recipe per method.

    Args:
        recipes: one per method, or one for all `methods`.
        methods: names of methods, with a single recipe.
        scratch: epochs of one more recipe, of the network with random weights; None for none.

    Raises:
        OrbituneError: there are none, one is given twice or unknown, or both are given.
    """
    if isinstance(recipes, Recipe):
        recipes = [recipes.replace(method=method) for method in methods or [recipes.method]]
    elif methods is not None:
        raise OrbituneError("A study takes several recipes, or one recipe and methods, not both.")
    names = [recipe.method for recipe in recipes]
    if not names:
        raise OrbituneError("A study needs at least one method.")
    if repeated := find_repeated(names):
        raise OrbituneError(f"--methods: {repeated[0]} is given twice.")
    for name in names:
        find_method(name)
    if scratch is None:
        return tuple(recipes)
    if any(recipe.backbone == SCRATCH for recipe in recipes):
        raise OrbituneError(f"--backbone {SCRATCH} and --scratch are the same network: leave out --scratch.")
    return (*recipes, _from_scratch(recipes[0], scratch))


def _from_scratch(recipe: Recipe, epochs: int) -> Recipe:
    """Return the recipe of the network with random weights, for the data and splits of another one.

    Image size, learning rate and length are its own; data, splits, augmentation and precision are shared.

    Raises:
        OrbituneError: the number of epochs is no positive one.
    """
    if epochs < 1:
        raise OrbituneError("--scratch takes a number of epochs of at least 1.")
    own = {"backbone", "method", "lora", "epochs", "image_size", "sizes", "learning_rate", "keep_head"}
    own |= {
        "cache_frozen",
        "cache_bits",
        "patch_dropout",
        "merge_tokens",
        "freeze_layers",
        "patience",
        "restarts",
        "micro_batch",
    }
    shared = {name: value for name, value in recipe.model_dump().items() if name not in own}
    return Recipe.make({**shared, "backbone": SCRATCH, "method": "full", "epochs": epochs})
