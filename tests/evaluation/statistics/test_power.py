"""Predicted power is the share of studies, drawn image by image, that the score test decides."""

# Differences have minus signs:
# ruff: noqa: RUF001

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtri

from orbitune.evaluation.statistics.comparison import ALPHA, compare_pairs
from orbitune.evaluation.statistics.paired import PairedTest, SeedVariance
from orbitune.evaluation.statistics.power import (
    StudySize,
    least_number,
    least_sizes,
    simulate_chance,
    with_needed,
)
from orbitune.evaluation.statistics.sentences import verdict_sentence
from orbitune.evaluation.statistics.variability import Variability, correlation, disagreement, limit_spread

AS_ONE_METHOD = Variability(accuracy=0.97, spread=0.001, discordant=0.0134, repeated=0.0134)
DIFFERENT = Variability(accuracy=0.97, spread=0.002, discordant=0.02, repeated=0.01)


def draw_study(random, variability, seeds, images, difference):
    """Draw which seeds of a method and of its reference are right on which images, bool (S, N) each."""
    accuracy = variability.accuracy
    between, within = (
        correlation(each, accuracies=(accuracy, accuracy))
        for each in (variability.discordant, variability.repeated)
    )
    shared, both = np.sqrt(between) * random.normal(size=images), []
    for truth in (accuracy + difference / 100, accuracy):
        difficulty = shared + np.sqrt(within - between) * random.normal(size=images)
        skills = ndtri(np.clip(truth + random.normal(0, variability.spread, (seeds, 1)), 1e-6, 1 - 1e-6))
        both.append(difficulty + np.sqrt(1 - within) * random.normal(size=(seeds, images)) < skills)
    return both


def share_decided(variability, size, difference, studies):
    """The share of drawn studies in which the test of the analysis finds the right outcome."""
    random, decided = np.random.default_rng(0), 0
    for _ in range(studies):
        test = PairedTest.from_correct(*draw_study(random, variability, size.seeds, size.images, difference))
        within, beyond = test.p_values(-size.margin / 100)
        right = within if difference > -size.margin else beyond
        decided += right <= ALPHA / size.family
    return decided / studies


@pytest.mark.parametrize(
    ("variability", "size", "difference"),
    [
        (AS_ONE_METHOD, StudySize(3, 2000, 0.5), 0.0),
        (DIFFERENT, StudySize(4, 3000, 0.5, family=3), 0.0),
        (AS_ONE_METHOD, StudySize(3, 2000, 0.5), -1.2),
    ],
)
def test_the_predicted_chance_is_the_share_of_simulated_studies_that_are_decided(
    variability, size, difference
):
    predicted = simulate_chance(variability, size, difference=difference)
    assert share_decided(variability, size, difference, 250) == pytest.approx(predicted, abs=0.09)


@pytest.mark.slow
@pytest.mark.parametrize("family", [1, 6])
@pytest.mark.parametrize("variability", [AS_ONE_METHOD, DIFFERENT])
@pytest.mark.parametrize(("seeds", "images"), [(1, 5400), (2, 2000), (3, 5400), (8, 5400)])
@pytest.mark.parametrize("difference", [0.0, -0.2, -1.0])
def test_the_predicted_chance_is_that_share_for_many_sizes(variability, seeds, images, family, difference):
    size = StudySize(seeds, images, 0.5, family)
    predicted = simulate_chance(variability, size, difference=difference)
    assert share_decided(variability, size, difference, 1000) == pytest.approx(predicted, abs=0.07)


def test_equal_methods_that_three_seeds_rarely_decide_are_decided_by_the_seeds_or_images_it_names():
    size = StudySize(3, 5400, 0.5)
    assert simulate_chance(DIFFERENT, size, difference=0) < 0.6
    seeds, images = least_sizes(DIFFERENT, size, difference=0)
    assert 3 < seeds < 20
    assert simulate_chance(DIFFERENT, replace(size, seeds=seeds), difference=0) >= 0.8
    assert simulate_chance(DIFFERENT, replace(size, seeds=seeds - 1), difference=0) < 0.8
    assert images is None  # the spread between three seeds alone is too wide for the margin


def test_a_smaller_spread_makes_images_enough():
    size = StudySize(3, 2000, 0.5)
    _, images = least_sizes(AS_ONE_METHOD, size, difference=0)
    assert 2000 < images < 20_000
    assert simulate_chance(AS_ONE_METHOD, replace(size, images=images), difference=0) >= 0.8


def test_more_comparisons_and_smaller_margins_need_more_seeds():
    size = StudySize(5, 5400, 0.5)
    least = [
        least_sizes(DIFFERENT, each, difference=0)[0]
        for each in (replace(size, margin=1.0), size, replace(size, family=3))
    ]
    assert least == sorted(set(least))


def test_a_difference_on_the_wrong_side_of_the_margin_is_hardly_ever_called_within():
    """The level of the test holds in simulated studies: a loss of just the margin."""
    size = StudySize(5, 5400, 0.5)
    assert simulate_chance(DIFFERENT, size, difference=-0.499) <= 0.035


def test_the_variability_of_a_pilot_is_that_it_was_drawn_with():
    random = np.random.default_rng(0)
    found = Variability.observe(*draw_study(random, DIFFERENT, 40, 30_000, -0.5))
    assert found.accuracy == pytest.approx(0.97, abs=0.002)
    assert found.spread == pytest.approx(0.002, rel=0.2)
    assert found.discordant == pytest.approx(0.02, rel=0.05)
    assert found.repeated == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize(
    ("pilots", "least"), [(300, 0.75), pytest.param(3000, 0.785, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("seeds", [2, 4])
def test_the_limit_of_the_spread_holds_the_true_one_in_80_percent_of_pilots(seeds, pilots, least):
    random, held = np.random.default_rng(0), []
    for _ in range(pilots):
        pilot = draw_study(random, DIFFERENT, seeds, 1000, 0.0)
        variances = [SeedVariance.estimate(each) for each in pilot]
        held.append(limit_spread(variances, 1000) >= DIFFERENT.spread)
    assert np.mean(held) >= least


def test_the_limit_is_far_above_what_two_seeds_show_and_near_what_many_do():
    few, many = (SeedVariance(between=1e-6 / count, noise=0.0, df=count - 1) for count in (2, 500))
    assert limit_spread([few, few], 5000) == pytest.approx(0.001 * 2.117, rel=1e-3)  # sqrt(2 / 0.446)
    assert limit_spread([many, many], 5000) == pytest.approx(0.001, rel=0.03)


def test_runs_that_err_independently_disagree_as_two_coins_do_and_equal_runs_never():
    assert disagreement(0.9, 0.8, correlated=0.0) == pytest.approx(0.9 * 0.2 + 0.8 * 0.1, abs=1e-6)
    assert disagreement(0.9, 0.8, correlated=1.0) == pytest.approx(0.1, abs=1e-3)
    assert 0 <= disagreement(0.9, 0.9, correlated=1.0) < 1e-3
    # Two medians that correlate by 0.5 agree on 1 / 2 + arcsin(0.5) / pi of the images (Sheppard 1899).
    assert disagreement(0.5, 0.5, correlated=0.5) == pytest.approx(0.5 - np.arcsin(0.5) / np.pi, abs=1e-4)
    assert correlation(disagreement(0.95, 0.93, correlated=0.6), accuracies=(0.95, 0.93)) == pytest.approx(
        0.6, abs=1e-4
    )


@pytest.mark.parametrize(("enough", "least"), [(1, 1), (2, 2), (7, 7), (100, 100), (101, None)])
def test_the_least_number_that_is_enough_is_found(enough, least):
    assert least_number(lambda number: number >= enough, least=1, most=100) == least


DRAWN = draw_study(np.random.default_rng(3), AS_ONE_METHOD, 3, 2000, -0.5)


def compared(variability, *, seeds, images, observed):
    """A comparison, open or not, whose observed difference is about `observed` points, and its runs."""
    method, reference = draw_study(np.random.default_rng(3), variability, seeds, images, observed)
    (found,) = compare_pairs({"lora": method, "full": reference}, [("lora", "full")])
    return with_needed(found, method=method, reference=reference, difference=0.0)


def test_an_open_comparison_names_the_seeds_and_images_for_a_difference_set_beforehand():
    """Not for the one that was found, at which no number of either may be enough."""
    found = compared(AS_ONE_METHOD, seeds=4, images=2000, observed=-0.3)
    assert found.outcome == "open" and found.difference < -0.1
    assert 4 < found.needed.seeds < 30 and 2000 < found.needed.images < 50_000
    assert found.needed.difference == 0
    sentence = verdict_sentence(found)
    assert "; with equal methods, deciding 80 % of the time takes " in sentence
    assert f"takes {found.needed.seeds} seeds on these test images or " in sentence
    assert sentence.endswith(
        " test images with these seeds (the spread between seeds taken at its upper 80 % limit)."
    )


def test_where_the_interval_leaves_out_equal_methods_the_sizes_are_for_half_the_margin_or_one_and_a_half():
    """Equal methods are no plan after a method was found to be worse, and what was found leads in circles."""
    found = compared(AS_ONE_METHOD, seeds=3, images=2000, observed=-0.5)
    assert found.outcome == "worse" and found.interval[0] < -0.25 < found.interval[1] < 0
    assert found.needed.difference == -0.25 and found.needed.seeds > 3
    assert "; with a true difference of −0.25 points, deciding 80 % of the time takes " in verdict_sentence(
        found
    )
    method, reference = DRAWN
    low = found.model_copy(update={"simultaneous": (-1.4, -0.3), "needed": None})
    asked = with_needed(low, method=method, reference=reference, difference=0.0)
    assert asked.needed.difference == -0.75


def test_where_the_interval_leaves_out_all_of_them_nothing_is_advised():
    method, reference = DRAWN
    (found,) = compare_pairs({"lora": method, "full": reference}, [("lora", "full")])
    tight = found.model_copy(update={"simultaneous": (-0.6, -0.4), "outcome": "worse"})
    assert with_needed(tight, method=method, reference=reference, difference=0.0).needed is None


def test_one_seed_shows_the_images_that_these_models_need_and_nothing_of_seeds():
    found = compared(AS_ONE_METHOD, seeds=1, images=2000, observed=0.0)
    assert found.leaves_margin_open and found.needed.seeds is None
    assert verdict_sentence(found).endswith(" test images with this seed.")


def test_a_decided_comparison_needs_nothing():
    found = compared(AS_ONE_METHOD, seeds=8, images=20_000, observed=0.0)
    assert found.outcome == "within margin" and found.needed is None
