"""Verdicts of a study: textbook p values, Holm's correction, and their sentences."""

import json

import numpy as np
import pytest

from orbitune.evaluation.statistics.significance import (
    Comparison,
    compare_pairs,
    difference_sentence,
    holm,
    mcnemar,
    mcnemar_over_seeds,
    verdict_sentence,
)


def compare_all(correct, reference, **margin):
    """Compare every other method with the reference."""
    return compare_pairs(correct, [(name, reference) for name in correct if name != reference], **margin)


def models(wins: int, losses: int, images: int) -> tuple[np.ndarray, np.ndarray]:
    """Two models, bool (1, images), that are both right but where one alone is."""
    method, reference = np.ones((2, 1, images), bool)
    reference[:, :wins] = False
    method[:, wins : wins + losses] = False
    return method, reference


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


def test_mcnemar_over_seeds_that_share_images_keeps_its_error_rate():
    random, wrong = np.random.default_rng(0), 0
    for _ in range(400):
        hard = random.beta(0.5, 0.1, 300)
        method, reference = random.random((2, 5, 300)) < hard
        wrong += mcnemar_over_seeds(method, reference) <= 0.05
    assert wrong <= 0.05 * 400


def test_holm_agrees_with_the_published_example_in_any_order():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx(
        [0.05, 0.08, 0.09, 0.09, 0.09]
    )  # R's p.adjust
    assert holm([0.6, 0.9]) == [1, 1]
    assert holm([]) == []


def test_a_method_that_errs_on_few_other_images_is_within_the_margin():
    method, reference = models(9, 12, 5400)
    (only,) = compare_all({"full": reference, "lora": method}, "full")
    assert only.verdict == "yes"
    assert only.difference == pytest.approx(-3 / 54)
    assert only.low > -0.5
    assert (only.wins, only.losses, only.images) == (9, 12, 5400)
    assert only.within == only.p_within  # nothing to correct for
    assert verdict_sentence(only, {"lora": "LoRA", "full": "full fine-tuning"}) == (
        "With one seed, LoRA is within 0.5 points of full fine-tuning, or better: yes "
        "(difference -0.06 points, 95 % interval -0.24 to +0.12, p < 0.001)."
    )
    assert difference_sentence(only) == (
        "With one seed, lora alone was right on 9 of 5,400 test images and full alone on 12: "
        "whether the methods differ was not tested (McNemar of these trained models, p = 0.66)."
    )


def test_a_method_that_loses_many_images_is_not_within_the_margin():
    method, reference = models(20, 120, 5400)
    (only,) = compare_all({"full": reference, "linear": method}, "full")
    assert only.verdict == "no"
    assert only.high < -0.5
    assert "or better: no (difference -1.85 points" in verdict_sentence(only)
    assert "not tested (McNemar of these trained models, p < 0.001)" in difference_sentence(only)


def equal_methods(random: np.random.Generator, *, spread: float) -> dict[str, np.ndarray]:
    """Two equally accurate methods, bool (3, 2000) each, whose seeds differ by `spread` (0..1)."""
    easy = random.beta(0.485, 0.015, 2000)
    accuracy = 0.97 + random.normal(0, spread, (2, 3, 1))
    right = random.random((2, 3, 2000)) < easy
    kept = random.random(right.shape) < np.minimum(1, accuracy / 0.97)
    gained = random.random(right.shape) < np.maximum(0, (accuracy - 0.97) / 0.03)
    full, lora = right & kept | gained
    return {"full": full, "lora": lora}


def test_two_equal_methods_whose_seeds_differ_are_rarely_called_different():
    random = np.random.default_rng(0)
    studies = [compare_all(equal_methods(random, spread=0.01), "full")[0] for _ in range(80)]
    called = sum("did better" in difference_sentence(each) for each in studies)
    assert called == sum(each.differs for each in studies) <= 0.05 * 80
    # McNemar's test takes the spread between seeds for a difference of the methods.
    assert sum(each.differ <= 0.05 for each in studies) > 0.3 * 80


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


def test_an_undecided_comparison_states_the_number_of_images_needed():
    method, reference = models(20, 26, 2000)
    (only,) = compare_all({"full": reference, "lora": method}, "full")
    assert only.verdict == "cannot be told"
    assert 2000 < only.images_needed < 50_000
    sentence = verdict_sentence(only)
    assert sentence.startswith("With one seed, 2,000 test images do not show whether lora is within 0.5")
    assert "of full, or better (difference -0.30 points" in sentence
    assert sentence.endswith(",000 would be needed if the difference stayed as it is.")


def test_the_sentence_states_where_more_images_would_not_help():
    method, reference = models(20, 30, 2000)  # exactly on the margin
    (only,) = compare_all({"full": reference, "lora": method}, "full", margin=0.5)
    assert only.images_needed is None
    assert verdict_sentence(only).endswith("more test images alone would not decide.")


def test_a_verdict_and_the_interval_agree_where_one_method_is_compared():
    random = np.random.default_rng(0)
    verdicts = set()
    for losses in random.integers(10, 120, 40):
        method, reference = models(20, int(losses), 5400)
        (only,) = compare_all({"full": reference, "lora": method}, "full")
        inside, outside = only.low > -0.5, only.high < -0.5
        assert only.verdict == ("yes" if inside else "no" if outside else "cannot be told")
        verdicts.add(only.verdict)
    assert verdicts == {"yes", "no", "cannot be told"}


def test_with_many_methods_the_sentence_names_the_correction_of_p_values():
    full = np.ones((1, 2000), bool)
    methods = {f"m{n}": models(0, 1, 2000)[0] for n in range(3)}  # alone each would be within
    alone = compare_all({"full": full, "m0": methods["m0"]}, "full")[0]
    together = compare_all({"full": full, **methods}, "full")
    assert alone.verdict == "yes"
    assert [each.method for each in together] == ["m0", "m1", "m2"]
    assert together[0].within == pytest.approx(3 * alone.p_within)
    assert "after Holm" in difference_sentence(together[0])
    assert together[0].images_needed > alone.images_needed


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
