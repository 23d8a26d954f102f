"""Recipes of a study: one per method, on tiles of one label each."""

from collections.abc import Iterable, Sequence

from orbitune.data.labels.early_checks import SEVERAL_LABELS
from orbitune.errors import OrbituneError, find_repeated
from orbitune.models.methods import find_method
from orbitune.recipe import Recipe
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


def one_per_method(recipes: Recipe | Sequence[Recipe], methods: Sequence[str] | None) -> tuple[Recipe, ...]:
    """Return one recipe per method.

    Args:
        recipes: one per method, or one for all `methods`.
        methods: names of methods, with a single recipe.

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
    return tuple(recipes)
