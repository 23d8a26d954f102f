"""The random split of a study where the data come with lists of their own.

Other commands train and test on these lists, so a study does too: one claim has one test split. A split that
leaves them aside is `redrawn`, and folds are always drawn.
"""

from collections.abc import Sequence
from dataclasses import replace

from orbitune.data.recipe_tiles import load_recipe_tiles
from orbitune.data.splits import SPLITS
from orbitune.study.grid import REDRAWN, RunSpec

RANDOM = "random"


def with_own_lists(specs: Sequence[RunSpec], *, progress: bool) -> list[RunSpec]:
    """Return the runs of a study, those on the random split with the lists that the data come with.

    Where the data have no complete lists the runs are unchanged.

    Args:
        specs: all runs of the study.
        progress: show progress while tiles are decoded for the first time.

    Raises:
        DataError: the tiles cannot be loaded.
    """
    drawn = [spec for spec in specs if _is_random(spec)]
    if not drawn:
        return list(specs)
    own = load_recipe_tiles(drawn[0].recipe, progress).own_splits
    if any(not len(own.get(name, ())) for name in SPLITS):
        return list(specs)
    return [
        replace(spec, recipe=spec.recipe.replace(split="default"), named_split=RANDOM)
        if _is_random(spec)
        else spec
        for spec in specs
    ]


def _is_random(spec: RunSpec) -> bool:
    return spec.recipe.split == RANDOM and spec.split != REDRAWN and spec.fold is None
