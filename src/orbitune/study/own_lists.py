"""The random split of a study where the data come with lists of their own.

Other commands train and test on these lists, so a study does too: one claim has one test split. A split that
leaves them aside is `redrawn`, and folds are always drawn.
"""

from collections.abc import Sequence
from dataclasses import replace

from orbitune.data.recipe_tiles import load_recipe_tiles
from orbitune.data.splits import SPLITS
from orbitune.errors import OrbituneError
from orbitune.study.grid import REDRAWN, RunSpec

DEFAULT, RANDOM = "default", "random"
ALIKE = (DEFAULT, RANDOM, REDRAWN)


def with_own_lists(specs: Sequence[RunSpec], *, progress: bool) -> list[RunSpec]:
    """Return the runs of a study, those on the random split with the lists that the data come with.

    Where the data have no complete lists the runs are unchanged. Splits that would be one are refused.

    Args:
        specs: all runs of the study.
        progress: show progress while tiles are decoded for the first time.

    Raises:
        DataError: the tiles cannot be loaded.
        OrbituneError: two of the splits would have the same tiles.
    """
    drawn = [spec for spec in specs if _is_random(spec)]
    alike = [split for split in dict.fromkeys(spec.split for spec in specs) if split in ALIKE]
    if not drawn and len(alike) < 2:
        return list(specs)
    own = load_recipe_tiles(specs[0].recipe, progress).own_splits
    found = [name for name in SPLITS if len(own.get(name, ()))]
    _expect_different(alike, found, folds=specs[0].fold is not None)
    if len(found) < len(SPLITS):
        return list(specs)
    return [
        replace(spec, recipe=spec.recipe.replace(split="default"), named_split=RANDOM)
        if _is_random(spec)
        else spec
        for spec in specs
    ]


def _expect_different(splits: Sequence[str], lists: Sequence[str], *, folds: bool) -> None:
    """Raise an OrbituneError if two of these splits are one, with the lists that the data come with."""
    if folds:
        same, why = [RANDOM, REDRAWN], "folds are always drawn"
    elif len(lists) == len(SPLITS):
        same, why = [DEFAULT, RANDOM], "both are the lists that the data come with"
    elif lists:
        same, why = [RANDOM, REDRAWN], "the data do not come with all lists"
    else:
        same, why = [*ALIKE], "the data come with no lists"
    if len(both := [split for split in splits if split in same]) > 1:
        raise OrbituneError(
            f"--splits: {' and '.join(both[:2])} are the same split, as {why}: leave one of them out."
        )


def _is_random(spec: RunSpec) -> bool:
    return spec.recipe.split == RANDOM and spec.split != REDRAWN and spec.fold is None
