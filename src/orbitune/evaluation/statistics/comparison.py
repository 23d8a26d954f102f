"""Comparison of methods on the same test images: tests, simultaneous intervals and outcomes.

A score test over seeds and images decides whether a method is at most a margin worse than a reference, as in
a non-inferiority test at a one-sided 2.5 % (ICH E9), worse by more than the margin, worse at all, or better.

With several comparisons each has a confidence interval at 1 - 5 % / m (Bonferroni; Dunn 1961,
doi:10.1080/01621459.1961.10482090). All m intervals hold the truth together in 95 % of studies, so any number
of claims may be read off them: one that is false needs an interval that misses. The p values are multiplied
by m, which is the same test. So an outcome, its interval and its p values never contradict each other, and
the m comparisons together have a familywise error of 5 %. These m are one family: in a study the primary, or
the other, comparisons on one split. Over several splits and families some claim is false more often.

Holm's step-down test (1979) decides more comparisons after the first, but the bounds that belong to it stay
at the margin wherever it decides (Strassburger and Bretz 2008, doi:10.1002/sim.3338; Guilbaud 2008,
doi:10.1002/bimj.200710449), so they do not say by how much a method differs.

The folds of a cross-validation share training tiles, which these tests take as independent, so there the
interval over folds must agree (`orbitune.evaluation.statistics.resampled`).
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from typing_extensions import Self

from orbitune.evaluation.details.class_intervals import Interval
from orbitune.evaluation.statistics.intervals import LEVEL, bootstrap_difference
from orbitune.evaluation.statistics.mcnemar import mcnemar_over_seeds
from orbitune.evaluation.statistics.paired import PairedTest
from orbitune.records import Record

MARGIN = 0.5
ALPHA = 0.025
POWER = 0.8

Outcome = Literal["better", "within margin", "worse", "worse than margin", "open"]


class Needed(Record):
    """What 80 % of studies would need to decide on the margin, at a difference that was set beforehand.

    All else is taken as observed, but the spread between seeds at its upper 80 % limit, see
    `orbitune.evaluation.statistics.variability`.

    Attributes:
        difference: the true difference, method minus reference, in points: the one that was set beforehand,
            or one that the margin gives, see `with_needed` in `orbitune.evaluation.statistics.power`; not the
            one that was found, which leads in circles.
        seeds: of each method, on these test images; None if a thousand are not enough, and if one seed shows
            nothing of others.
        images: test images with these seeds; None if ten million are not enough.
    """

    difference: float
    seeds: int | None
    images: int | None


class Comparison(Record):
    """A method compared with a reference; differences are in percentage points.

    Attributes:
        images, seeds, reference_seeds: numbers of test images and of seeds. If either method has one seed,
            the comparison holds for the trained models alone, else for other seeds too.
        margin: points below the reference that still count as equally good.
        difference, low, high: method minus reference, and the 95 % interval of the score test, for this
            comparison alone.
        family: number of comparisons that are judged together.
        simultaneous: interval of the score test at 1 - 5 % / `family`: with 95 % confidence all of them hold
            the truth at once. None in results of earlier versions.
        bootstrap_low, bootstrap_high: the interval of this comparison alone by resampling seeds and images,
            as a check.
        wins, losses: number of images on which only the method, or only the reference, is correct; the mean
            over pairs of their seeds.
        p_within: one-sided p value of the hypothesis "worse than the reference by the margin or more".
        p_beyond: one-sided p value of the hypothesis "worse than the reference by the margin or less".
        p_equal: two-sided p value of the hypothesis "equally accurate" by the score test, which includes the
            variance between seeds if both methods have several. None in results of earlier versions.
        p_differ: McNemar's two-sided p value for these trained models: with several seeds of both that of
            `mcnemar_over_seeds`, else `p_equal`, which is McNemar's test then. Exact in results of earlier
            versions.
        within, beyond, equal, differ: these p values times `family`, at most 1 (Bonferroni); in results of
            earlier versions by Holm's correction.
        over_folds: interval of the difference over the folds of a cross-validation by
            `corrected_resampled_interval`, at the level of `simultaneous`; None for an ordinary split.
        outcome: what the simultaneous interval, and that over folds, show of the difference, see
            `judge_interval`.
        needed: what it would take to decide where the margin is open, see `Needed`; else None.
    """

    method: str
    reference: str
    images: int
    seeds: int
    reference_seeds: int
    margin: float
    difference: float
    low: float
    high: float
    bootstrap_low: float
    bootstrap_high: float
    wins: float
    losses: float
    p_within: float
    p_beyond: float
    p_differ: float
    within: float
    beyond: float
    differ: float
    family: int
    p_equal: float | None = None
    equal: float | None = None
    simultaneous: Interval | None = None
    over_folds: Interval | None = None
    outcome: Outcome
    needed: Needed | None = None

    @property
    def interval(self) -> tuple[float, float]:
        """Return the interval that the outcome rests on, in points; in older results it stands alone."""
        return self.simultaneous or (self.low, self.high)

    @property
    def leaves_margin_open(self) -> bool:
        """Return whether it is open on which side of the margin the method is."""
        return self.outcome in ("worse", "open")

    @property
    def is_within(self) -> bool:
        """Return whether the method is within the margin, or better."""
        return self.outcome in ("within margin", "better")

    @property
    def tests_methods(self) -> bool:
        """Return whether the methods were tested, over seeds or folds, and not these trained models alone."""
        return self.equal is not None and (min(self.seeds, self.reference_seeds) > 1 or bool(self.over_folds))

    @property
    def differs(self) -> bool:
        """Return whether the score test over seeds, or over folds with their interval, finds a difference."""
        if not self.tests_methods or self.equal is None or self.equal > 2 * ALPHA:
            return False
        low, high = self.over_folds or self.interval
        return low > 0 if self.difference > 0 else high < 0

    @property
    def level(self) -> float:
        """Return the level of confidence of the simultaneous interval, 0..1."""
        return simultaneous_level(self.family)

    def with_folds(self, interval: tuple[float, float]) -> Self:
        """Return the comparison of a cross-validation, whose outcome stands if the folds agree.

        Args:
            interval: over folds at `level`, in points.
        """
        lows, highs = zip(interval, self.interval, strict=True)
        outcome = judge_interval(min(lows), max(highs), margin=self.margin)
        return self.model_copy(update={"over_folds": interval, "outcome": outcome})


def simultaneous_level(family: int) -> float:
    """Return the level of each of `family` intervals that hold together in 95 % of studies (Bonferroni)."""
    return 1 - (1 - LEVEL) / family


def judge_interval(low: float, high: float, *, margin: float) -> Outcome:
    """Return what an interval shows of a difference, method minus reference.

    Args:
        low, high: ends of the interval, in points.
        margin: points below the reference that still count as equally good.

    Returns:
        better: all of it is above 0. within margin: all of it is above -margin. worse than margin: all of it
        is below -margin. worse: all of it is below 0, by how much is open. open: none of these.
    """
    if low > 0:
        return "better"
    if low > -margin:
        return "within margin"
    if high < -margin:
        return "worse than margin"
    return "worse" if high < 0 else "open"


def compare_pairs(
    correct: Mapping[str, np.ndarray],
    pairs: Sequence[tuple[str, str]] | Mapping[tuple[str, str], int],
    *,
    margin: float = MARGIN,
) -> list[Comparison]:
    """Compare pairs of methods.

    Args:
        correct: for each method, whether each seed is correct on each image, bool (S, N); S may differ.
        pairs: names of a method and of its reference, all judged together; or for each the number of
            comparisons in its family.
        margin: percentage points, above 0 and below 100.

    Raises:
        ValueError: the margin is not in this range.
    """
    if not 0 < margin < 100:
        raise ValueError(f"a margin of {margin} points")
    families = pairs if isinstance(pairs, Mapping) else dict.fromkeys(pairs, len(pairs))
    return [_compare(correct, pair, margin=margin, family=size) for pair, size in families.items()]


def _compare(
    correct: Mapping[str, np.ndarray], pair: tuple[str, str], *, margin: float, family: int
) -> Comparison:
    """Return one of `family` comparisons."""
    method, reference = (correct[name] for name in pair)
    score = PairedTest.from_correct(method, reference)
    alone, together, resampled = (
        (100 * low, 100 * high)
        for low, high in (
            score.interval(),
            score.interval(simultaneous_level(family)),
            bootstrap_difference(method, reference),
        )
    )
    within, beyond = score.p_values(-margin / 100)
    equal = score.p_equal()
    differ = mcnemar_over_seeds(method, reference) if score.seeds else equal  # one test decides of one seed
    return Comparison(
        method=pair[0],
        reference=pair[1],
        images=score.images,
        seeds=len(method),
        reference_seeds=len(reference),
        margin=margin,
        difference=100 * score.difference,
        low=alone[0],
        high=alone[1],
        simultaneous=together,
        bootstrap_low=resampled[0],
        bootstrap_high=resampled[1],
        wins=score.images * score.wins,
        losses=score.images * score.losses,
        p_within=within,
        p_beyond=beyond,
        p_equal=equal,
        p_differ=differ,
        within=min(1.0, family * within),
        beyond=min(1.0, family * beyond),
        equal=min(1.0, family * equal),
        differ=min(1.0, family * differ),
        family=family,
        outcome=judge_interval(*together, margin=margin),
    )
