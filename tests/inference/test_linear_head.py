"""Linear heads, fitted from nothing or from another head."""

import numpy as np
import pytest

from orbitune.inference.linear_head import LinearHead


@pytest.fixture
def features():
    return np.random.default_rng(0).normal(2, 3, (200, 6)).astype(np.float32)


@pytest.fixture
def start():
    random = np.random.default_rng(1)
    return LinearHead(random.normal(size=(3, 6)).astype(np.float32), np.array([1, 0, -1], np.float32))


def test_a_head_learns_what_is_linearly_separable(features):
    labels = (features @ [1, -1, 0.5, 0, 0, 0] > 1).astype(int)
    head = LinearHead.fit(features, np.eye(2)[labels])
    assert (head(features).argmax(1) == labels).mean() > 0.97
    assert np.allclose(head(features).sum(1), 1)


def test_a_head_that_is_right_already_stays_as_it_is(features, start):
    head = LinearHead.fit(features, start(features), start=start)
    assert np.allclose(head.weight, start.weight, atol=1e-5)
    assert np.allclose(head.bias, start.bias, atol=1e-4)


def test_a_head_is_fitted_to_other_answers_from_the_one_it_starts_from(features, start):
    swapped = np.eye(3)[start(features).argmax(1)][:, [1, 0, 2]]
    head = LinearHead.fit(features, swapped, start=start)
    assert (head(features).argmax(1) == swapped.argmax(1)).mean() > 0.9
