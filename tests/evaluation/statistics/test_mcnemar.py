"""McNemar's test of trained models: textbook p values, and several seeds that share images."""

import numpy as np
import pytest
from paired_models import models

from orbitune.evaluation.statistics.mcnemar import mcnemar, mcnemar_over_seeds


@pytest.mark.parametrize(
    ("wins", "losses", "images", "p"),
    [
        (1, 7, 21, 0.0703),  # airway reactivity, Bentur et al. 2009, in Fagerland, Lydersen and Laake 2013
        (6, 16, 161, 0.0525),  # complete response, Cavo et al. 2012, in the same
        (0, 0, 10, 1.0),
    ],
)
def test_mcnemars_exact_p_value_is_the_textbooks(wins, losses, images, p):
    method, reference = models(wins, losses, images)
    assert mcnemar(method[0], reference[0]) == pytest.approx(p, abs=5e-5)
    assert mcnemar(reference[0], method[0]) == pytest.approx(p, abs=5e-5)


def test_several_seeds_take_the_upper_median_p_value_times_the_number_over_its_place():
    pairs = [models(0, lost, 100) for lost in (3, 5, 8)]  # p = 2 / 2^3, 2 / 2^5, 2 / 2^8
    method, reference = (np.concatenate(each) for each in zip(*pairs, strict=True))
    assert mcnemar_over_seeds(method, reference) == pytest.approx(2 / 2**5 * 3 / 2)
    assert mcnemar_over_seeds(method[:2], reference[:2]) == pytest.approx(2 / 2**3)
    assert mcnemar_over_seeds(method[2:], reference) == pytest.approx(2 / 2**8)  # one pair, the first


@pytest.mark.parametrize("studies", [400, pytest.param(4000, marks=pytest.mark.slow)])
def test_mcnemar_over_seeds_that_share_images_keeps_its_error_rate(studies):
    random, wrong = np.random.default_rng(0), 0
    for _ in range(studies):
        hard = random.beta(0.5, 0.1, 300)
        method, reference = random.random((2, 5, 300)) < hard
        wrong += mcnemar_over_seeds(method, reference) <= 0.05
    assert wrong <= 0.05 * studies
