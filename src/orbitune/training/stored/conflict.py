"""The message of a folder whose run has another recipe than the one requested."""

from collections.abc import Collection, Sequence
from pathlib import Path

from orbitune.recipe import Difference, Recipe

# Open settings that are resolved from another one, which is enough to name where it differs.
_FOLLOWS = {
    "augment": "cache_frozen",
    "best_by": "task",
    "learning_rate": "method",
    "loss": "task",
    "micro_batch": "batch_size",
    "passes": "epochs",
    "patience": "epochs",
}


def stated_settings(recipe: Recipe) -> set[str]:
    """Return the settings that a recipe states, such as lora.rank; all others are open or have defaults."""
    return recipe.model_fields_set | {f"lora.{name}" for name in recipe.lora.model_fields_set}


def describe_conflict(
    folder: Path,
    differences: Sequence[Difference],
    *,
    stated: Collection[str] | None,
    extended: bool,
    diverged: bool = False,
) -> str:
    """Return the message that a folder holds a run of another recipe.

    Settings that were not stated are named as those of the run, which the user may have forgotten to repeat.

    Args:
        folder: of the run.
        differences: of the resolved recipe from that of the run.
        stated: settings that the user stated; None for all.
        extended: whether more epochs than those of the finished run are asked.
        diverged: whether the run diverged, and cannot be continued.
    """
    differ = {each.setting for each in differences}
    own = [each for each in differences if stated is None or each.setting in stated]
    left_out = [each for each in differences if each not in own and _FOLLOWS.get(each.setting) not in differ]
    repeat = f"{', '.join(each.option_of_theirs for each in left_out)}, which the command leaves out"
    if not own and left_out and not diverged:
        aim = "extend" if extended else "continue"
        them = "it" if len(left_out) == 1 else "them"
        return f"{folder} holds a run with {repeat}: add {them} to {aim} the run, or choose another --out."
    faults = [*map(str, own), *([f"it has {repeat}"] if left_out else [])]
    if diverged:
        kind, way = "a diverged run", f"Remove {folder}, or choose another --out."
    else:
        kind, way = "a run", "Choose another --out."
    return f"{folder} holds {kind} of another recipe ({'; '.join(faults)}). {way}"
