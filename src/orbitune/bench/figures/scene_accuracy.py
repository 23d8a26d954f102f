"""Right or wrong answers of maps of labelled scenes."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from orbitune.bench.figures.labelled_scenes import answer_places, read_labelled_scenes
from orbitune.bench.figures.scenes import describe_map, temporary_bundle


def measure(
    run: str,
    labelled_scenes: str,
    *,
    groups: Mapping[str, Sequence[str]],
    answer: Literal["right", "wrong"],
    stride: int | None = None,
    not_sure: bool = True,
) -> dict[str, Any]:
    """Return the mean fraction of places that maps name right, or wrong, 0..1.

    Args:
        run: the run whose bundle makes the maps.
        labelled_scenes: see `orbitune.bench.figures.labelled_scenes`.
        groups: classes of the model by their coarse group, in which they are compared.
        answer: what is counted. The other places are *not sure* or have no data.
        stride: distance between the labels of a map in pixels; None for the default of `orbitune map`.
        not_sure: whether cells may be *not sure*.
    """
    scored, details = [], []
    with temporary_bundle(run) as folder:
        for scene in read_labelled_scenes(labelled_scenes):
            found = answer_places(folder, scene, groups=groups, stride=stride, not_sure=not_sure)
            right = found.given & (found.groups == scene.truth)
            fractions = {"right": float(right.mean()), "wrong": float((found.given & ~right).mean())}
            scored.append(fractions[answer])
            words = ", ".join(f"{value:.2f} {name}" for name, value in fractions.items())
            details.append([scene.name, f"{words} of {len(right)} places"])
    details.append(["maps", describe_map(found.metadata)])
    return {"value": float(np.mean(scored)), "details": details}
