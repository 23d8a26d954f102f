"""The paired score test: published intervals, error rates, sample sizes."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from orbitune.evaluation.statistics.paired import PairedTest, restricted_variance


def one_seed(wins: int, losses: int, images: int) -> PairedTest:
    """Two models that disagree on so many images."""
    method, reference = np.zeros((2, 1, images), bool)
    method[:, :wins] = True
    reference[:, wins : wins + losses] = True
    return PairedTest.from_correct(method, reference)


def study(random, seeds, images, accuracies, spread, hard):
    """Both methods' (seeds, images), with varying images and seeds."""
    easy = random.beta(hard * accuracies[0], hard * (1 - accuracies[0]), images)
    both = []
    for accuracy in accuracies:
        right = random.random((seeds, images)) < easy
        change = (accuracy + random.normal(0, spread, (seeds, 1))) - accuracies[0]
        lost = random.random(right.shape) < -change / accuracies[0]
        won = random.random(right.shape) < change / (1 - accuracies[0])
        both.append(right & ~lost | won)
    return both


@pytest.mark.parametrize(
    ("wins", "losses", "images", "low", "high"),
    [
        (
            1,
            7,
            21,
            -0.517,
            -0.026,
        ),  # airway reactivity, Bentur et al. 2009, in Fagerland et al. 2014, table VII
        (20, 40, 160, -0.2181, -0.0309),  # the example of R's PropCIs::scoreci.mp
    ],
)
def test_with_one_seed_the_interval_is_tangos(wins, losses, images, low, high):
    assert one_seed(wins, losses, images).interval() == pytest.approx((low, high), abs=5e-4)


def test_against_zero_the_statistic_is_mcnemars():
    # Approval of the prime minister, Agresti, Categorical Data Analysis, table 10.1: z^2 = 17.36.
    above, below = one_seed(86, 150, 1600).p_values(0)
    assert below == pytest.approx(norm.cdf(-np.sqrt(17.356)), rel=1e-3)
    assert above + below == pytest.approx(1)


@pytest.mark.parametrize("truth", [-0.3, -0.005, 0.02, 0.4])
def test_the_variance_under_the_null_is_that_of_maximum_likelihood(truth):
    wins, losses = 0.03, 0.05

    def unlikely(lost: float) -> float:
        won = lost + truth
        return -(wins * np.log(won) + losses * np.log(lost) + (1 - wins - losses) * np.log(1 - won - lost))

    bounds = (max(0.0, -truth) + 1e-9, (1 - truth) / 2 - 1e-9)
    lost = minimize_scalar(unlikely, bounds=bounds, method="bounded", options={"xatol": 1e-10}).x
    assert restricted_variance(wins, losses, truth=truth) == pytest.approx(
        2 * lost + truth - truth**2, abs=1e-6
    )


def test_models_that_never_disagree_still_leave_a_doubt_that_falls_with_the_images():
    low, high = one_seed(0, 0, 600).interval()
    rule = norm.ppf(0.975) ** 2 / (600 + norm.ppf(0.975) ** 2)  # Tango's interval without disagreement
    assert (low, high) == pytest.approx((-rule, rule), abs=1e-6)
    assert one_seed(0, 0, 600).p_values(-0.005)[0] > 0.025
    assert one_seed(0, 0, 6000).p_values(-0.005)[0] < 0.001


def test_a_method_that_wins_every_image_has_an_interval_up_to_one():
    low, high = one_seed(50, 0, 50).interval()
    assert high == 1 and 0.8 < low < 1


def test_two_seeds_that_differ_much_reject_no_difference_at_all():
    method = np.stack([np.ones(60, bool), np.zeros(60, bool)])
    assert PairedTest.from_correct(method, method).interval() == (-1, 1)


def test_seeds_that_are_the_same_model_count_as_one():
    random = np.random.default_rng(0)
    method, reference = random.random((2, 1, 2000)) < 0.97
    once = PairedTest.from_correct(method, reference)
    thrice = PairedTest.from_correct(np.repeat(method, 3, axis=0), np.repeat(reference, 3, axis=0))
    assert thrice.interval() == pytest.approx(once.interval(), abs=1e-6)


def test_seeds_that_err_independently_narrow_the_interval_and_those_that_differ_widen_it():
    random = np.random.default_rng(0)
    method, reference = random.random((2, 8, 2000)) < 0.97
    several = PairedTest.from_correct(method, reference)
    one = PairedTest.from_correct(method[:1], reference[:1])
    assert np.ptp(several.interval()) < 0.6 * np.ptp(one.interval())
    uneven = random.random((8, 2000)) < np.linspace(0.94, 1, 8)[:, None]
    assert np.ptp(PairedTest.from_correct(uneven, reference).interval()) > 2 * np.ptp(several.interval())


@pytest.mark.parametrize(
    ("seeds", "spread", "hard"),
    [(1, 0.0, 0.5), (3, 0.0, 0.5), (3, 0.003, 0.5), (3, 0.01, 0.5), (5, 0.001, 0.1)],
)
@pytest.mark.parametrize(  # 95 % less two standard errors, 2.5 % and two
    ("studies", "least", "most"),
    [(300, 0.93, 0.043), pytest.param(3000, 0.942, 0.031, marks=pytest.mark.slow)],
)
def test_the_interval_holds_the_truth_and_the_test_errs_as_rarely_as_they_say(
    seeds, spread, hard, studies, least, most
):
    random = np.random.default_rng(0)
    held = wrong = 0
    for _ in range(studies):
        reference, method = study(random, seeds, 2000, (0.975, 0.970), spread, hard)
        score = PairedTest.from_correct(method, reference)
        low, high = score.interval()
        held += low <= -0.005 <= high
        wrong += score.p_values(-0.005)[0] <= 0.025
    assert held >= least * studies
    assert wrong <= most * studies


@pytest.mark.parametrize(("wins", "losses"), [(0.010, 0.010), (0.008, 0.0095), (0.012, 0.010)])
def test_the_stated_number_of_images_gives_the_stated_power(wins, losses):
    needed = PairedTest(1000, wins, losses, 1.0, ()).images_needed(-0.005, 0.025, power=0.8)
    random = np.random.default_rng(0)
    counts = random.multinomial(needed, [wins, losses, 1 - wins - losses], size=2000)
    scores = (PairedTest(needed, w / needed, lo / needed, 1.0, ()) for w, lo, _ in counts)
    power = np.mean([score.p_values(-0.005)[0] <= 0.025 for score in scores])
    assert power == pytest.approx(0.8, abs=0.03)


def test_the_images_needed_are_about_those_of_the_simple_formula():
    needed = PairedTest(1000, 0.01, 0.01, 1.0, ()).images_needed(-0.005, 0.025, power=0.8)
    assert needed == pytest.approx((1.96 + 0.8416) ** 2 * 0.02 / 0.005**2, rel=0.1)


def test_no_number_of_images_helps_where_the_seeds_differ_too_much():
    random = np.random.default_rng(0)
    uneven = random.random((3, 2000)) < np.array([[0.93], [0.97], [0.99]])
    even = random.random((3, 2000)) < 0.97
    assert PairedTest.from_correct(uneven, even).images_needed(-0.005, 0.025) is None
    assert PairedTest.from_correct(even, even).images_needed(-0.005, 0.025) is not None


def test_no_number_of_images_helps_where_the_difference_lies_on_the_bound():
    assert PairedTest(1000, 0.010, 0.015, 1.0, ()).images_needed(0.010 - 0.015, 0.025) is None
