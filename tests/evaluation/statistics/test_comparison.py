"""Comparisons of a study: outcomes, their intervals and p values, and the sentences on them."""

# Differences have minus signs:
# ruff: noqa: RUF001

import json

import numpy as np
import pytest
from paired_models import models

from orbitune.evaluation.statistics import intervals
from orbitune.evaluation.statistics.comparison import ALPHA, Comparison, compare_pairs, judge_interval
from orbitune.evaluation.statistics.sentences import difference_sentence, verdict_sentence


def compare_all(correct, reference, **margin):
    """Compare every other method with the reference."""
    return compare_pairs(correct, [(name, reference) for name in correct if name != reference], **margin)


def test_a_method_that_errs_on_few_other_images_is_within_the_margin():
    method, reference = models(9, 12, 5400)
    (only,) = compare_all({"full": reference, "lora": method}, "full")
    assert only.outcome == "within margin"
    assert only.difference == pytest.approx(-3 / 54)
    assert only.low > -0.5
    assert (only.wins, only.losses, only.images) == (9, 12, 5400)
    assert only.within == only.p_within  # nothing to correct for
    assert verdict_sentence(only, {"lora": "LoRA", "full": "full fine-tuning"}) == (
        "Of these models of one seed, LoRA is within 0.5 points of full fine-tuning "
        "(−0.06 points, 95 % interval −0.24 to +0.12, p < 0.001)."
    )
    assert difference_sentence(only) == (
        "Of these models of one seed, lora alone was right on 9 of 5,400 test images and full alone on 12: "
        "whether the methods differ was not tested (McNemar of these trained models, p = 0.51)."
    )


def test_a_method_that_loses_many_images_is_not_within_the_margin():
    method, reference = models(20, 120, 5400)
    (only,) = compare_all({"full": reference, "linear": method}, "full")
    assert only.outcome == "worse than margin"
    assert only.high < -0.5
    assert "linear is less accurate than full, by more than 0.5 points (−1.85 " in verdict_sentence(only)
    assert "not tested (McNemar of these trained models, p < 0.001)" in difference_sentence(only)


def test_with_one_seed_one_test_decides_and_both_sentences_have_its_p_value():
    """Of 600 images 5 to 0: the score test finds p = 0.025, and an exact test would find 0.062."""
    method, reference = models(5, 0, 600)
    (only,) = compare_all({"full": reference, "lora": method}, "full")
    assert only.outcome == "better" and only.p_differ == only.p_equal
    assert "lora is more accurate than full (" in verdict_sentence(only)
    for sentence in (verdict_sentence(only), difference_sentence(only)):
        assert "p = 0.025)" in sentence and sentence.count("p = ") == 1


def equal_methods(random: np.random.Generator, *, spread: float) -> dict[str, np.ndarray]:
    """Two equally accurate methods, bool (3, 2000) each, whose seeds differ by `spread` (0..1)."""
    easy = random.beta(0.485, 0.015, 2000)
    accuracy = 0.97 + random.normal(0, spread, (2, 3, 1))
    right = random.random((2, 3, 2000)) < easy
    kept = random.random(right.shape) < np.minimum(1, accuracy / 0.97)
    gained = random.random(right.shape) < np.maximum(0, (accuracy - 0.97) / 0.03)
    full, lora = right & kept | gained
    return {"full": full, "lora": lora}


@pytest.mark.parametrize("count", [80, pytest.param(1000, marks=pytest.mark.slow)])
def test_two_equal_methods_whose_seeds_differ_are_rarely_called_different(count):
    random = np.random.default_rng(0)
    studies = [compare_all(equal_methods(random, spread=0.01), "full")[0] for _ in range(count)]
    called = sum("did better" in difference_sentence(each) for each in studies)
    assert called == sum(each.differs for each in studies) <= 0.05 * count
    # McNemar's test takes the spread between seeds for a difference of the methods.
    assert sum(each.differ <= 0.05 for each in studies) > 0.3 * count


def test_a_method_that_is_worse_with_every_seed_is_called_so():
    full = np.ones((3, 2000), bool)
    linear = np.arange(2000) >= np.array([[100], [110], [120]])
    (only,) = compare_all({"full": full, "linear": linear}, "full")
    assert only.differs and only.high < 0
    assert difference_sentence(only) == (
        "Over 3 seeds, linear alone was right on 0 of 2,000 test images and full alone on 110 on average: "
        "full did better than linear (score test, p < 0.001; McNemar of these trained models, p < 0.001)."
    )


def test_methods_that_agree_on_every_image_are_equal():
    right = np.ones((2, 100), bool)
    (only,) = compare_all({"full": right, "lora": right}, "full")
    assert only.p_equal == 1 and not only.differs


def test_results_of_earlier_versions_do_not_call_methods_different():
    """They have McNemar's test alone."""
    full = np.ones((3, 2000), bool)
    linear = np.arange(2000) >= np.array([[100], [110], [120]])
    (only,) = compare_all({"full": full, "linear": linear}, "full")
    values = {name: value for name, value in only.to_json().items() if name not in ("p_equal", "equal")}
    older = Comparison.model_validate(values)
    assert not older.differs and "not tested" in difference_sentence(older)


def test_an_open_comparison_says_so():
    method, reference = models(20, 26, 2000)
    (only,) = compare_all({"full": reference, "lora": method}, "full")
    assert only.outcome == "open" and only.leaves_margin_open
    assert "open whether lora is within 0.5 points of full (−0.30 points, 95 %" in verdict_sentence(only)


def test_a_single_comparison_needs_no_correction():
    random = np.random.default_rng(0)
    verdicts = set()
    for losses in random.integers(10, 120, 40):
        method, reference = models(20, int(losses), 5400)
        (only,) = compare_all({"full": reference, "lora": method}, "full")
        assert only.interval == pytest.approx((only.low, only.high))
        assert only.outcome == judge_interval(only.low, only.high, margin=0.5)
        verdicts.add(only.outcome)
    assert verdicts == {"within margin", "worse than margin", "worse"}


def test_with_many_methods_the_sentence_names_the_correction_of_p_values():
    full = np.ones((1, 2000), bool)
    methods = {f"m{n}": models(0, 1, 2000)[0] for n in range(3)}  # alone each would be within
    alone = compare_all({"full": full, "m0": methods["m0"]}, "full")[0]
    together = compare_all({"full": full, **methods}, "full")
    assert alone.outcome == "within margin"
    assert [each.method for each in together] == ["m0", "m1", "m2"]
    assert together[0].within == pytest.approx(3 * alone.p_within)
    assert "corrected for 3 comparisons" in difference_sentence(together[0])


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (0.1, 0.4, "better"),
        (-0.4, 0.2, "within margin"),
        (-0.4, -0.1, "within margin"),
        (-1.3, -0.1, "worse"),
        (-2.0, -0.6, "worse than margin"),
        (-1.3, 0.1, "open"),
        (-0.5, 0.5, "open"),
    ],
)
def test_the_outcome_is_what_all_of_the_interval_shows(low, high, outcome):
    assert judge_interval(low, high, margin=0.5) == outcome


def test_a_loss_whose_size_is_open_is_called_worse():
    full = np.ones((3, 5400), bool)
    lora = np.arange(5400) >= np.array([[15], [25], [35]])
    (only,) = compare_all({"full": full, "lora": lora}, "full")
    assert only.outcome == "worse" and only.interval[0] < -0.5 < only.interval[1] < 0
    assert verdict_sentence(only).startswith(
        "Over 3 seeds, lora is less accurate than full, but whether by more than 0.5 points is open (−0.46 "
    )


def test_a_loss_below_the_margin_is_called_both():
    full = np.ones((3, 5400), bool)
    lora = np.arange(5400) >= np.array([[9], [10], [11]])
    (only,) = compare_all({"full": full, "lora": lora}, "full")
    assert only.outcome == "within margin" and only.differs
    assert "lora is less accurate than full, by less than 0.5 points (−0.19 " in verdict_sentence(only)


def drawn_study(
    random: np.random.Generator, losses: dict[str, float], *, seeds: int, images: int, spread: float
) -> dict[str, np.ndarray]:
    """Methods whose true accuracy is 97 % less a loss in points, bool (S, N) each, on shared images."""
    easy = random.beta(0.97 * 0.5, 0.03 * 0.5, images)
    found = {}
    for name, loss in losses.items():
        change = -loss / 100 + random.normal(0, spread, (seeds, 1))
        right = random.random((seeds, images)) < easy
        lost, won = (random.random(right.shape) < size for size in (-change / 0.97, change / 0.03))
        found[name] = right & ~lost | won
    return found


FALSE = {  # outcomes that are false claims, by the true loss in points
    "half a point, the margin": (0.5, {"better", "within margin", "worse than margin"}),
    "nothing": (0.0, {"better", "worse", "worse than margin"}),
}


def errors_of_studies(count: int, *, seeds: int, images: int, spread: float) -> tuple[int, int]:
    """Return the number of drawn studies with a false claim, and of those with an interval that misses."""
    random = np.random.default_rng(0)
    losses = {"full": 0.0, "a": 0.5, "b": 0.5, "c": 0.0, "d": 0.0}
    claims = {loss: false for loss, false in FALSE.values()}
    false = missed = 0
    for _ in range(count):
        correct = drawn_study(random, losses, seeds=seeds, images=images, spread=spread)
        found = compare_all(correct, "full")
        false += any(each.outcome in claims[losses[each.method]] for each in found)
        missed += any(not each.interval[0] <= -losses[each.method] <= each.interval[1] for each in found)
    return false, missed


def test_false_claims_and_intervals_that_miss_stay_within_five_percent_of_studies(monkeypatch):
    monkeypatch.setattr(intervals, "RESAMPLES", 10)  # the bootstrap is not looked at
    for seeds, spread in ((1, 0.0), (3, 0.003)):
        false, missed = errors_of_studies(100, seeds=seeds, images=2000, spread=spread)
        assert false <= missed <= 0.05 * 100 + 4  # and two standard errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seeds", "images", "spread"),
    [(1, 2000, 0.0), (3, 5400, 0.001), (3, 5400, 0.003), (3, 2000, 0.01), (8, 5400, 0.003)],
)
def test_false_claims_and_intervals_that_miss_stay_within_five_percent_of_many_studies(
    monkeypatch, seeds, images, spread
):
    monkeypatch.setattr(intervals, "RESAMPLES", 10)
    false, missed = errors_of_studies(500, seeds=seeds, images=images, spread=spread)
    assert false <= missed <= 0.05 * 500 + 10


def test_outcome_interval_and_corrected_p_values_never_contradict_each_other(monkeypatch):
    monkeypatch.setattr(intervals, "RESAMPLES", 10)
    random = np.random.default_rng(1)
    seen = set()
    for _ in range(60):
        names = ["full", *map(str, range(random.integers(1, 6)))]
        losses = {name: float(random.normal(0.4, 0.6)) for name in names}
        seeds, images = int(random.integers(1, 5)), int(random.choice([50, 500, 5000]))
        spread = float(random.choice([0.0, 0.002, 0.02]))
        for each in compare_all(
            drawn_study(random, losses, seeds=seeds, images=images, spread=spread), "full"
        ):
            low, high = each.interval
            assert (low > -each.margin) == (each.within <= ALPHA) == each.is_within
            assert (high < -each.margin) == (each.beyond <= ALPHA) == (each.outcome == "worse than margin")
            assert (low > 0 or high < 0) == (each.equal <= 2 * ALPHA)
            assert each.differs == (each.equal <= 2 * ALPHA and seeds > 1)
            seen.add(each.outcome)
    assert len(seen) == 5


def test_the_number_of_seeds_is_stated_and_both_intervals_agree():
    random = np.random.default_rng(0)
    hard = random.beta(0.5 * 0.98, 0.5 * 0.02, 5400)
    full, lora = random.random((2, 3, 5400)) < hard
    (only,) = compare_all({"full": full, "lora": lora}, "full")
    assert verdict_sentence(only).startswith("Over 3 seeds, ")
    assert (only.low, only.high) == pytest.approx((only.bootstrap_low, only.bootstrap_high), abs=0.15)


def test_a_comparison_is_plain_json():
    method, reference = models(9, 12, 5400)
    (only,) = compare_all({"full": reference, "lora": method}, "full")
    assert json.loads(json.dumps(only.to_json(), allow_nan=False)) == only.to_json()


def test_a_reference_alone_gives_no_comparison():
    assert compare_all({"full": np.ones((1, 5), bool)}, "full") == []


@pytest.mark.parametrize("margin", [0, -1, 100, float("nan")])
def test_a_margin_that_means_nothing_is_refused(margin):
    method, reference = models(9, 12, 5400)
    with pytest.raises(ValueError, match="margin"):
        compare_all({"full": reference, "lora": method}, "full", margin=margin)
