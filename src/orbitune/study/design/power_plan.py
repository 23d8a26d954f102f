"""Power of a study before anything is trained: the chance to decide, and what 80 % would take."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from orbitune.errors import OrbituneError
from orbitune.evaluation.statistics.comparison import POWER
from orbitune.evaluation.statistics.power import (
    DRAWS,
    StudySize,
    least_sizes,
    simulate_chance,
)
from orbitune.evaluation.statistics.sentences import with_sign
from orbitune.evaluation.statistics.variability import Variability
from orbitune.records import Record
from orbitune.study.design.fixed import Design, Role
from orbitune.study.design.pilot import Pilot
from orbitune.study.design.stated import StatedVariability


class Chance(Record):
    """Chance of the outcome that would be right, if the true difference is known.

    Attributes:
        difference: method minus reference, in points.
        outcome: `within margin`, which includes better, or `worse than margin`.
        chance: 0..1.
        seeds_needed: seeds of each method for `POWER` on these test images; None if a thousand are not
            enough.
        images_needed: test images for it with these seeds; None if ten million are not enough.
    """

    difference: float
    outcome: Literal["within margin", "worse than margin"]
    chance: float
    seeds_needed: int | None
    images_needed: int | None


class ComparisonPower(Record):
    """Power of one comparison on one split.

    Attributes:
        images, seeds: of the study.
        margin: in points.
        family: number of comparisons that are judged together.
        variability: of the runs, with its source.
        chances: if the methods are equal, at the difference that the study is planned for, and at a loss.
    """

    split: str
    method: str
    reference: str
    role: Role
    images: int
    seeds: int
    margin: float
    family: int
    variability: Variability
    source: str
    chances: list[Chance]


class PowerPlan(Record):
    """Power of a study, by seeded simulation with the test that judges it.

    Attributes:
        power: chance for which sizes are given, 0..1.
        draws: number of studies that were simulated for each chance.
        design: of the study.
    """

    power: float = POWER
    draws: int = DRAWS
    design: Design
    comparisons: list[ComparisonPower]


def expect_plannable(design: Design, *, pilot: Path | None, stated: StatedVariability) -> None:
    """Raise an OrbituneError if options are missing or in the way, before any data are read.

    Args:
        design: of the study.
        pilot, stated: see `plan_power`.

    Raises:
        OrbituneError: there is nothing to compare, or something is neither observed nor stated.
    """
    if design.folds:
        raise OrbituneError("--power plans ordinary splits: leave out --folds.")
    if not design.comparisons:
        raise OrbituneError("--power plans comparisons: pass two methods or more as --methods.")
    if pilot is None:
        stated.over(None)


def plan_power(
    design: Design,
    *,
    images: Mapping[str, int],
    pilot: Path | None,
    stated: StatedVariability,
    worse_by: float | None,
) -> PowerPlan:
    """Return the chances of a study of this design.

    Args:
        design: of the study; its seeds, margins, comparisons and difference count.
        images: number of test images of each split.
        pilot: folder of a study or of runs that shows how runs vary, or None.
        stated: in place of it, or of parts of it.
        worse_by: loss in points that is to be called more than the margin; by default twice the margin.

    Raises:
        OrbituneError: see `expect_plannable`, or what is assumed means nothing.
    """
    expect_plannable(design, pilot=pilot, stated=stated)
    observed = Pilot.read(pilot) if pilot else None
    found = []
    for split, margin in design.margins.items():
        loss = 2 * margin if worse_by is None else worse_by
        if not margin < loss < 100:
            raise OrbituneError(f"--worse-by takes points above the margin, {margin:g}, and below 100.")
        primary_first = dict.fromkeys((*design.primary, *design.comparisons))
        for pair, family in design.family_sizes(primary_first).items():
            variability, source = observed.variability(split, pair) if observed else (None, "")
            size = StudySize(len(design.seeds), images[split], margin, family)
            assumed = stated.over(variability)
            differences = dict.fromkeys((0.0, design.difference, -loss))
            found.append(
                ComparisonPower(
                    split=split,
                    method=pair[0],
                    reference=pair[1],
                    role=design.role(pair, split, seeds=design.seeds),
                    images=size.images,
                    seeds=size.seeds,
                    margin=margin,
                    family=size.family,
                    variability=assumed,
                    source="; ".join(filter(None, [source, stated.options])),
                    chances=[_chance(assumed, size, each) for each in differences],
                )
            )
    return PowerPlan(design=design, comparisons=found)


def _chance(variability: Variability, size: StudySize, difference: float) -> Chance:
    """Return the chance of the outcome that is right at a true difference."""
    if variability.accuracy + difference / 100 >= 1 or variability.accuracy + difference / 100 <= 0:
        raise OrbituneError(
            f"A true difference of {with_sign(difference, '+g')} points from "
            f"{100 * variability.accuracy:.4g} % accuracy does not lie between 0 and 100 %: state another "
            "accuracy with --accuracy."
        )
    seeds, images = least_sizes(variability, size, difference=difference)
    return Chance(
        difference=difference,
        outcome="within margin" if difference > -size.margin else "worse than margin",
        chance=simulate_chance(variability, size, difference=difference),
        seeds_needed=seeds,
        images_needed=images,
    )
