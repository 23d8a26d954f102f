"""Arms of a study: what it compares, a method, on a backbone where there are several."""

import re
from collections.abc import Collection, Iterable, Sequence
from itertools import combinations
from pathlib import PurePath

from orbitune.errors import OrbituneError
from orbitune.recipe import Recipe
from orbitune.recipe_paths import SCRATCH

_ON = "@"  # in lora@dinov2-small; no method's name has one


def arm_name(method: str, backbone: str | None = None) -> str:
    """Return the name of an arm, as folders and results have it.

    Args:
        method: name of the method.
        backbone: label of the backbone; None in a study of one.

    Returns:
        The method, such as lora; with a backbone METHOD@BACKBONE, such as lora@dinov2-small.
    """
    return method if backbone is None else f"{method}{_ON}{backbone}"


def arm_of(recipe: Recipe, backbone: str | None = None) -> str:
    """Return the name of the arm of a recipe; `scratch` for the network with random weights.

    Args:
        recipe: of a run.
        backbone: label of the backbone; None in a study of one.
    """
    return SCRATCH if recipe.backbone == SCRATCH else arm_name(recipe.method, backbone)


def split_arm(arm: str) -> tuple[str, str | None]:
    """Return the method and the backbone of an arm; None in a study of one backbone."""
    method, _, backbone = arm.partition(_ON)
    return method, backbone or None


def backbone_labels(backbones: Sequence[str]) -> dict[str, str | None]:
    """Return a short label of each backbone; None where there is only one.

    A label is the last part of the path or hub id, or as many parts as tell all backbones apart.

    Args:
        backbones: paths, hub ids or built-in names.

    Raises:
        OrbituneError: two cannot be told apart, or one is the network with random weights.
    """
    if len(backbones) < 2:
        return dict.fromkeys(backbones)
    if SCRATCH in backbones:
        raise OrbituneError(
            f"--backbones: the network with random weights has one method, full: leave out {SCRATCH}, and "
            "pass --scratch EPOCHS."
        )
    parts = {
        name: [part for part in PurePath(name).parts if part != PurePath(name).anchor] for name in backbones
    }
    for count in range(1, max(map(len, parts.values())) + 1):
        labels = {name: _safe("-".join(own[-count:])) for name, own in parts.items()}
        # Labels are folders, and some file systems ignore case.
        if len({label.casefold() for label in labels.values()}) == len(backbones):
            return {**labels}
    raise OrbituneError(f"--backbones: {', '.join(backbones)} cannot be told apart by their names.")


def choose_reference(arms: Sequence[str], fixed: Iterable[tuple[str, str]] = ()) -> str:
    """Return the arm that the others on the same backbone are compared with.

    It is the reference that an earlier session fixed, else full fine-tuning, else the first arm.

    Args:
        arms: of one backbone, in the order of the study.
        fixed: pairs (arm, reference) of earlier sessions.
    """
    known = [reference for arm, reference in fixed if not crosses_backbones(arm, reference)]
    full = [arm for arm in arms if split_arm(arm)[0] == "full"]
    return next(arm for arm in (*known, *full, *arms) if arm in arms)


def comparisons(arms: Sequence[str], fixed: Collection[tuple[str, str]] = ()) -> list[tuple[str, str]]:
    """Return the pairs (arm, reference) that a study judges.

    On each backbone every method is compared with the reference; with each method every backbone is compared
    with each earlier one, so that the best can be told from all others. In another order the references of
    earlier sessions stay.

    Args:
        arms: names, in the order of the study.
        fixed: pairs of earlier sessions.
    """
    found = []
    for own in _grouped(arms, part=1):
        reference = choose_reference(own, fixed)
        found += [(arm, reference) for arm in own if arm != reference]
    for own in _grouped(arms, part=0):
        for earlier, later in combinations(own, 2):
            found.append((earlier, later) if (earlier, later) in fixed else (later, earlier))
    return found


def crosses_backbones(arm: str, reference: str) -> bool:
    """Return whether two arms are of different backbones."""
    return split_arm(arm)[1] != split_arm(reference)[1]


def _grouped(arms: Sequence[str], *, part: int) -> list[list[str]]:
    """Return the arms in groups of one method (part 0) or one backbone (part 1)."""
    keys = dict.fromkeys(split_arm(arm)[part] for arm in arms)
    return [[arm for arm in arms if split_arm(arm)[part] == key] for key in keys]


def _safe(label: str) -> str:
    """Return a label as part of a folder's name."""
    return re.sub(r"[^\w.-]+", "-", label).strip("-.") or "backbone"
