"""Verdicts on methods and backbones: each against a reference, on the same test tiles.

The reference of methods is that of the design: full fine-tuning where it was run, else the first method.
Backbones are compared with each other. Each split is judged separately, over all seeds, with the statistics
of `orbitune.evaluation.statistics.comparison`.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from orbitune.evaluation.statistics.comparison import MARGIN, Comparison, compare_pairs
from orbitune.evaluation.statistics.power import with_needed
from orbitune.evaluation.statistics.resampled import corrected_resampled_interval
from orbitune.evaluation.statistics.sentences import difference_sentence, verdict_sentence
from orbitune.study.arms import comparisons
from orbitune.study.design.fixed import Design, Role
from orbitune.study.display_names import method_name
from orbitune.study.findings import VerdictRecord
from orbitune.study.over_folds import fold_accuracies
from orbitune.study.predictions import complete_runs, load_predictions
from orbitune.study.records import RunRecord


def compare_methods(
    runs: Sequence[RunRecord], folder: Path, *, design: Design | None = None
) -> list[VerdictRecord]:
    """Judge all pairs of `orbitune.study.arms.comparisons` on each split; sweeps are left out.

    The primary comparisons of a split are judged together, and so are the others, see `Design.family_sizes`.

    Args:
        runs: all runs of the study.
        folder: the study's folder.
        design: what was fixed beforehand; None for the default margin, with all pairs judged together.

    Returns:
        One verdict per split and pair.

    Raises:
        RunError: runs of a split were scored on different tiles, or the design has no margin for a split.
    """
    done = [run for run in complete_runs(runs) if run.sweep is None]
    verdicts = []
    for split in dict.fromkeys(run.split for run in done):
        correct = load_predictions(done, folder, split=split).correct
        on_split = [run for run in done if run.split == split]
        pairs = comparisons(list(correct), design.all_comparisons if design else ())
        margin = design.margin(split) if design else MARGIN
        for comparison in compare_pairs(
            correct, design.family_sizes(pairs) if design else pairs, margin=margin
        ):
            if interval := difference_over_folds(on_split, comparison):
                comparison = comparison.with_folds(interval)
            else:
                comparison = with_needed(
                    comparison,
                    method=correct[comparison.method],
                    reference=correct[comparison.reference],
                    difference=design.difference if design else 0.0,
                )
            role = _role(design, comparison, runs=on_split) if design else None
            verdicts.append(VerdictRecord(split=split, role=role, **comparison.to_json()))
    return verdicts


def _role(design: Design, compared: Comparison, *, runs: Sequence[RunRecord]) -> Role:
    """Return the role of a comparison; a seed that failed was fixed too, so without it, it is exploratory."""
    pair = (compared.method, compared.reference)
    seeds = [{run.seed for run in runs if run.method == arm} for arm in pair]
    first, second = (design.role(pair, runs[0].split, seeds=each) for each in seeds)
    return first if first == second else "exploratory"


def comparison_sentences(compared: Comparison) -> list[str]:
    """Return the verdict, and whether the methods differ, as a sentence each."""
    names = {each: method_name(each) for each in (compared.method, compared.reference)}
    return [verdict_sentence(compared, names), difference_sentence(compared, names)]


def difference_over_folds(runs: Sequence[RunRecord], compared: Comparison) -> tuple[float, float] | None:
    """Return the simultaneous interval of a difference over folds, in points; None for an ordinary split."""
    method, reference = (fold_accuracies(runs, each) for each in (compared.method, compared.reference))
    if method is None or reference is None:
        return None
    differences = [ours - theirs for ours, theirs in zip(method.percent, reference.percent, strict=True)]
    ratio = fmean((method.test_to_train, reference.test_to_train))
    return corrected_resampled_interval(differences, test_to_train=ratio, level=compared.level)
