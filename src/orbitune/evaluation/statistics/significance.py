"""Comparison of methods on the same test images: tests and verdicts.

A score test over seeds and images decides whether two methods differ. A non-inferiority test, by the same
score, decides whether a method is at most a margin worse than a reference, at a one-sided 2.5 % as in ICH E9.
Both agree with the 95 % interval. McNemar's test (1947) is about the trained models alone: with two equal
methods whose seeds differ it finds a difference far too often. With several methods the p values are
corrected by Holm's method (1979). The folds of a cross-validation share training tiles, which these tests
take as independent, so there the interval over folds must agree (`orbitune.evaluation.statistics.resampled`).
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from typing_extensions import Self

from orbitune.evaluation.details.class_intervals import Interval
from orbitune.evaluation.statistics.intervals import bootstrap_difference, count_paired
from orbitune.evaluation.statistics.paired import PairedTest
from orbitune.records import Record

MARGIN = 0.5
ALPHA = 0.025
POWER = 0.8

Verdict = Literal["yes", "no", "cannot be told"]


class Comparison(Record):
    """A method compared with a reference; differences are in percentage points.

    Attributes:
        images, seeds, reference_seeds: numbers of test images and of seeds. If either method has one seed,
            the comparison holds for the trained models alone, else for other seeds too.
        margin: points below the reference that still count as equally good.
        difference, low, high: method minus reference, and the 95 % interval of the score test.
        bootstrap_low, bootstrap_high: the interval by resampling seeds and images, as a check.
        wins, losses: number of images on which only the method, or only the reference, is correct; the mean
            over pairs of their seeds.
        p_within: one-sided p value of the hypothesis "worse than the reference by the margin or more".
        p_beyond: one-sided p value of the hypothesis "worse than the reference by the margin or less".
        p_equal: two-sided p value of the hypothesis "equally accurate" by the score test, which includes the
            variance between seeds if both methods have several. None in results of earlier versions.
        p_differ: McNemar's two-sided p value for these trained models, see `mcnemar_over_seeds`.
        within, beyond, equal, differ: these p values after Holm's correction over `family` comparisons.
        over_folds: 95 % interval of the difference over the folds of a cross-validation by
            `corrected_resampled_interval`; None for an ordinary split.
        verdict: whether the method is within the margin or better, at 2.5 % after Holm's correction, and by
            the interval over folds.
        images_needed: test images for a verdict with 80 % power, all else as observed; None if more images
            alone would not decide.
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
    over_folds: Interval | None = None
    verdict: Verdict
    images_needed: int | None

    @property
    def tests_methods(self) -> bool:
        """Return whether the methods were tested, over seeds or folds, and not these trained models alone."""
        return self.equal is not None and (min(self.seeds, self.reference_seeds) > 1 or bool(self.over_folds))

    @property
    def differs(self) -> bool:
        """Return whether the score test over seeds, or over folds with their interval, finds a difference."""
        if not self.tests_methods or self.equal is None or self.equal > 2 * ALPHA:
            return False
        low, high = self.over_folds or (self.low, self.high)
        return low > 0 if self.difference > 0 else high < 0

    def with_folds(self, interval: tuple[float, float]) -> Self:
        """Return the comparison of a cross-validation, whose verdict stands if the folds agree.

        Args:
            interval: the 95 % interval over folds, in points.
        """
        low, high = interval
        agrees = {"yes": low > -self.margin, "no": high < -self.margin, "cannot be told": True}
        open_again = {} if agrees[self.verdict] else {"verdict": "cannot be told", "images_needed": None}
        return self.model_copy(update={"over_folds": interval, **open_again})


def compare_pairs(
    correct: Mapping[str, np.ndarray], pairs: Sequence[tuple[str, str]], *, margin: float = MARGIN
) -> list[Comparison]:
    """Compare pairs of methods, with Holm's correction over all pairs.

    Args:
        correct: for each method, whether each seed is correct on each image, bool (S, N); S may differ.
        pairs: names of a method and of its reference.
        margin: percentage points, above 0 and below 100.

    Raises:
        ValueError: the margin is not in this range.
    """
    if not 0 < margin < 100:
        raise ValueError(f"a margin of {margin} points")
    alone = [
        _compare(
            name,
            correct[name],
            reference_name=reference,
            reference=correct[reference],
            margin=margin,
            family=len(pairs),
        )
        for name, reference in pairs
    ]
    corrected = zip(
        holm([each.p_within for each in alone]),
        holm([each.p_beyond for each in alone]),
        holm([each.p_equal for each in alone if each.p_equal is not None]),
        holm([each.p_differ for each in alone]),
        strict=True,
    )
    return [
        each.model_copy(
            update={
                "within": within,
                "beyond": beyond,
                "equal": equal,
                "differ": differ,
                "verdict": _verdict(within, beyond),
            }
        )
        for each, (within, beyond, equal, differ) in zip(alone, corrected, strict=True)
    ]


def _compare(
    name: str, method: np.ndarray, *, reference_name: str, reference: np.ndarray, margin: float, family: int
) -> Comparison:
    """Return one comparison, with p values that are not corrected yet."""
    score = PairedTest.from_correct(method, reference)
    low, high = score.interval()
    bootstrap_low, bootstrap_high = bootstrap_difference(method, reference)
    p_within, p_beyond = score.p_values(-margin / 100)
    p_equal, p_differ = score.p_equal(), mcnemar_over_seeds(method, reference)
    return Comparison(
        method=name,
        reference=reference_name,
        images=score.images,
        seeds=len(method),
        reference_seeds=len(reference),
        margin=margin,
        difference=100 * score.difference,
        low=100 * low,
        high=100 * high,
        bootstrap_low=100 * bootstrap_low,
        bootstrap_high=100 * bootstrap_high,
        wins=score.images * score.wins,
        losses=score.images * score.losses,
        p_within=p_within,
        p_beyond=p_beyond,
        p_differ=p_differ,
        within=p_within,
        beyond=p_beyond,
        differ=p_differ,
        family=family,
        p_equal=p_equal,
        verdict=_verdict(p_within, p_beyond),
        # At Holm's strictest step, so that it never asks for fewer images than were not enough.
        images_needed=score.images_needed(-margin / 100, ALPHA / family, power=POWER),
    )


def _verdict(within: float, beyond: float) -> Verdict:
    """Return the verdict from corrected p values."""
    if within <= ALPHA:
        return "yes"
    return "no" if beyond <= ALPHA else "cannot be told"


def mcnemar(method: np.ndarray, reference: np.ndarray) -> float:
    """Return the p value of McNemar's exact two-sided test.

    Args:
        method, reference: bool (N,), whether each model is correct on image n.
    """
    from scipy.stats import binomtest

    wins, losses = int((method & ~reference).sum()), int((reference & ~method).sum())
    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def mcnemar_over_seeds(method: np.ndarray, reference: np.ndarray) -> float:
    """Return the combined p value of McNemar's tests of each pair of seeds.

    The tests share their images, so their p values are dependent, and Fisher's method does not apply. The
    k-th of S sorted p values, times S / k, is valid under any dependence (Rueger 1978, Metrika 25:171-178;
    Vovk and Wang 2020, doi:10.1093/biomet/asaa027); k is the upper median, so the factor is at most 2. It
    holds for the trained models; the interval of a `Comparison` holds for other seeds too.

    Args:
        method, reference: bool (S, N) and (R, N); the first min(S, R) seeds are paired.
    """
    count_paired(method, reference)
    p_values = sorted(mcnemar(a, b) for a, b in zip(method, reference, strict=False))
    place = len(p_values) // 2 + 1
    return min(1.0, p_values[place - 1] * len(p_values) / place)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values after Holm's step-down correction, in the order given.

    Holm (1979, Scandinavian Journal of Statistics 6:65-70).
    """
    return [float(p) for p in holm_rows(np.asarray(p_values, float))]


def holm_rows(p_values: np.ndarray) -> np.ndarray:
    """Return the p values of many studies after `holm`, float64 (..., F): F comparisons a study."""
    order = np.argsort(p_values, axis=-1)
    steps = np.take_along_axis(p_values, order, axis=-1) * np.arange(p_values.shape[-1], 0, -1)
    corrected = np.empty_like(p_values)
    kept = np.minimum(1.0, np.maximum.accumulate(steps, axis=-1))
    np.put_along_axis(corrected, order, kept, axis=-1)
    return corrected


def verdict_sentence(compared: Comparison, names: Mapping[str, str] | None = None) -> str:
    """Return the verdict on non-inferiority as a sentence.

    Args:
        compared: the comparison.
        names: display names of methods; by default as in the comparison.
    """
    method, reference = _names(compared, names)
    claim = f"{method} is within {compared.margin:g} points of {reference}, or better"
    interval = f"95 % interval {compared.low:+.2f} to {compared.high:+.2f}"
    numbers = f"difference {compared.difference:+.2f} points, {interval}{_folds(compared, ', over folds')}"
    if compared.verdict != "cannot be told":
        p = _p_value(compared.within if compared.verdict == "yes" else compared.beyond, compared)
        return f"{_scope(compared)}, {claim}: {compared.verdict} ({numbers}, {p})."
    if compared.images_needed is not None:
        needed = f"{round_up_images(compared.images_needed):,}"
        advice = f"about {needed} would be needed if the difference stayed as it is"
    else:
        advice = "more test images alone would not decide"
    return (
        f"{_scope(compared)}, {compared.images:,} test images do not show whether {claim} "
        f"({numbers}); {advice}."
    )


def difference_sentence(compared: Comparison, names: Mapping[str, str] | None = None) -> str:
    """Return whether the methods, and these trained models, differ as a sentence; see `verdict_sentence`.

    Args:
        compared: the comparison.
        names: titles by method; by default the names themselves.

    Returns:
        One sentence.
    """
    method, reference = _names(compared, names)
    better, worse = (method, reference) if compared.difference > 0 else (reference, method)
    models = f"McNemar of these trained models, {_p_value(compared.differ, compared)}"
    if not compared.tests_methods or compared.equal is None:
        found = f"whether the methods differ was not tested ({models})"
    else:
        none = "no difference was detected" + (" over folds" if compared.over_folds else "")
        found = f"{better} did better than {worse}" if compared.differs else none
        p = _p_value(compared.equal, compared) + _folds(compared, ", 95 % interval over folds")
        found += f" (score test, {p}; {models})"
    mean = " on average" if compared.seeds * compared.reference_seeds > 1 else ""
    return (
        f"{_scope(compared)}, {method} alone was right on {compared.wins:,.0f} of {compared.images:,} "
        f"test images and {reference} alone on {compared.losses:,.0f}{mean}: {found}."
    )


def _folds(compared: Comparison, name: str) -> str:
    """Return the interval over folds after its name; empty for an ordinary split."""
    if compared.over_folds is None:
        return ""
    low, high = compared.over_folds
    return f"{name} {low:+.2f} to {high:+.2f}"


def _names(compared: Comparison, names: Mapping[str, str] | None) -> tuple[str, str]:
    """Return the display names of the method and the reference."""
    names = names or {}
    return names.get(compared.method, compared.method), names.get(compared.reference, compared.reference)


def _scope(compared: Comparison) -> str:
    """Return the number of seeds, as the beginning of a sentence."""
    seeds = min(compared.seeds, compared.reference_seeds)
    return "With one seed" if seeds == 1 else f"Over {seeds} seeds"


def _p_value(p: float, compared: Comparison) -> str:
    """Format a p value."""
    value = "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"
    return value + (" after Holm" if compared.family > 1 else "")


def round_up_images(images: int) -> int:
    """Round a number of images needed up to two digits."""
    unit = 10 ** max(0, len(str(images)) - 2)
    return -(-images // unit) * unit
