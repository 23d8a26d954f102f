"""Whether one method is as good as another: tests and verdicts of a study, and the sentences that say them.

Methods are compared on the same test images. Whether they differ at all is McNemar's question (1947), whether
one is at most a margin worse than a reference is that of non-inferiority, decided at a one-sided 2.5 % as in
ICH E9, which agrees with the 95 % interval. Where there are many methods Holm (1979) corrects the p values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from orbitune.evaluation.intervals import bootstrap_difference, paired
from orbitune.evaluation.paired import PairedTest

MARGIN = 0.5
ALPHA = 0.025
POWER = 0.8

Verdict = Literal["yes", "no", "cannot be told"]


@dataclass(frozen=True)
class Comparison:
    """One method against a reference on the same test images. Differences are in points of accuracy.

    Attributes:
        images, seeds, reference_seeds: how many there were. Where either has one seed, all below speaks of
            the trained models alone, else of other seeds too.
        margin: how many points less than the reference still count as equally good.
        difference, low, high: method minus reference, and the 95 % interval of the score test.
        bootstrap_low, bootstrap_high: the same interval by resampling seeds and images, as a check.
        wins, losses: test images that the method, or the reference, alone gets right; the mean over pairs of
            their seeds.
        p_within: one-sided p value against "worse than the reference by the margin or more".
        p_beyond: one-sided p value against "worse than the reference by the margin or less".
        p_differ: McNemar's, two-sided, see `mcnemar_over_seeds`.
        within, beyond, differ: the same p values after Holm's correction over `family` comparisons.
        verdict: within the margin or better, at 2.5 % after Holm: yes, no, or cannot be told.
        images_needed: test images that give a verdict with 80 % power, were all else as observed; None where
            more images alone would not tell.
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
    verdict: Verdict
    images_needed: int | None

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and text."""
        return asdict(self)


def compare_all(
    correct: Mapping[str, np.ndarray], reference: str, margin: float = MARGIN
) -> list[Comparison]:
    """Every other method against the reference, with Holm's correction over all of them.

    Args:
        correct: for each method bool (S, N), S seeds by N test images in the same order; S may differ.
        margin: points of accuracy, above 0 and below 100.
    """
    if not 0 < margin < 100:
        raise ValueError(f"a margin of {margin} points")
    others = [name for name in correct if name != reference]
    alone = [
        _compare(name, correct[name], reference, correct[reference], margin, len(others)) for name in others
    ]
    corrected = zip(
        holm([each.p_within for each in alone]),
        holm([each.p_beyond for each in alone]),
        holm([each.p_differ for each in alone]),
        strict=True,
    )
    return [
        replace(each, within=within, beyond=beyond, differ=differ, verdict=_verdict(within, beyond))
        for each, (within, beyond, differ) in zip(alone, corrected, strict=True)
    ]


def _compare(
    name: str, method: np.ndarray, reference_name: str, reference: np.ndarray, margin: float, family: int
) -> Comparison:
    """One comparison, its p values not corrected yet."""
    score = PairedTest.of(method, reference)
    low, high = score.interval()
    bootstrap_low, bootstrap_high = bootstrap_difference(method, reference)
    p_within, p_beyond = score.p_values(-margin / 100)
    p_differ = mcnemar_over_seeds(method, reference)
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
        verdict=_verdict(p_within, p_beyond),
        # At Holm's strictest step: what is needed is then never less than what was not enough.
        images_needed=score.images_needed(-margin / 100, ALPHA / family, POWER),
    )


def _verdict(within: float, beyond: float) -> Verdict:
    if within <= ALPHA:
        return "yes"
    return "no" if beyond <= ALPHA else "cannot be told"


def mcnemar(method: np.ndarray, reference: np.ndarray) -> float:
    """McNemar's exact two-sided p value: a fair coin's, tossed for each image that one alone gets right.

    Args:
        method, reference: bool (N,), whether each model was right on image n.
    """
    from scipy.stats import binomtest

    wins, losses = int((method & ~reference).sum()), int((reference & ~method).sum())
    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def mcnemar_over_seeds(method: np.ndarray, reference: np.ndarray) -> float:
    """McNemar's test for each pair of seeds, put together; with one seed each it is `mcnemar`.

    The tests share their images, so their p values depend on each other and may not be combined as if they
    did not (Fisher). Of S sorted p values the k-th, times S / k, is valid whatever the dependence (Rueger
    1978, Metrika 25:171-178; Vovk and Wang 2020, doi:10.1093/biomet/asaa027); k is the upper median, which
    makes it at most "twice the median". It speaks of the models that were trained; the interval of a
    `Comparison` speaks of other seeds too.

    Args:
        method, reference: bool (S, N) and (R, N); the first min(S, R) seeds are paired.
    """
    paired(method, reference)
    p_values = sorted(mcnemar(a, b) for a, b in zip(method, reference, strict=False))
    place = len(p_values) // 2 + 1
    return min(1.0, p_values[place - 1] * len(p_values) / place)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979, Scandinavian Journal of Statistics 6:65-70), in the order given."""
    order = np.argsort(p_values)
    steps = np.asarray(p_values, float)[order] * np.arange(len(order), 0, -1)
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return [float(p) for p in corrected]


def verdict_sentence(compared: Comparison, names: Mapping[str, str] | None = None) -> str:
    """The non-inferiority verdict in words.

    Args:
        names: what methods are called in the sentence, where not as in the comparison.
    """
    method, reference = _names(compared, names)
    claim = f"{method} is within {compared.margin:g} points of {reference}, or better"
    interval = f"95 % interval {compared.low:+.2f} to {compared.high:+.2f}"
    numbers = f"difference {compared.difference:+.2f} points, {interval}"
    if compared.verdict != "cannot be told":
        p = _p_value(compared.within if compared.verdict == "yes" else compared.beyond, compared)
        return f"{_scope(compared)}, {claim}: {compared.verdict} ({numbers}, {p})."
    if compared.images_needed is not None:
        advice = f"about {_rounded_up(compared.images_needed):,} would be needed, were all else as observed"
    else:
        advice = "more test images alone would not tell"
    return (
        f"{_scope(compared)}, whether {claim}, cannot be told from {compared.images:,} test images "
        f"({numbers}); {advice}."
    )


def difference_sentence(compared: Comparison, names: Mapping[str, str] | None = None) -> str:
    """Whether the two methods differ at all, in words; `names` as for `verdict_sentence`."""
    method, reference = _names(compared, names)
    better, worse = (method, reference) if compared.difference > 0 else (reference, method)
    differ = compared.differ <= 2 * ALPHA
    found = f"{better} did better than {worse}" if differ else "no difference was detected"
    p = _p_value(compared.differ, compared)
    mean = " on average" if compared.seeds * compared.reference_seeds > 1 else ""
    return (
        f"{_scope(compared)}, {method} alone was right on {compared.wins:,.0f} of {compared.images:,} "
        f"test images and {reference} alone on {compared.losses:,.0f}{mean}: {found} (McNemar, {p})."
    )


def _names(compared: Comparison, names: Mapping[str, str] | None) -> tuple[str, str]:
    names = names or {}
    return names.get(compared.method, compared.method), names.get(compared.reference, compared.reference)


def _scope(compared: Comparison) -> str:
    seeds = min(compared.seeds, compared.reference_seeds)
    return "With one seed" if seeds == 1 else f"Over {seeds} seeds"


def _p_value(p: float, compared: Comparison) -> str:
    value = "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"
    return value + (" after Holm" if compared.family > 1 else "")


def _rounded_up(images: int) -> int:
    """To two digits."""
    unit = 10 ** max(0, len(str(images)) - 2)
    return -(-images // unit) * unit
