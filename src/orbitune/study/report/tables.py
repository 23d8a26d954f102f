"""Tables of scores on test and validation tiles."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from orbitune.evaluation.robustness import Accuracy
from orbitune.evaluation.statistics.sentences import (
    corrected,
    interval_name,
    round_up_images,
    signed_range,
    with_sign,
)
from orbitune.reporting import formatting as fmt
from orbitune.reporting.components import Table
from orbitune.study.display_names import OUTCOMES, method_name
from orbitune.study.findings import CalibrationRecord, ClassRecord, SweepVerdict, VerdictRecord
from orbitune.study.report.split_origins import corrupted_on, scored_on, scored_on_each
from orbitune.study.report.view_model import ReportView, RunGroup
from orbitune.study.verdicts import comparison_sentences


def verdict_table(view: ReportView) -> Table:
    """Return a table of every comparison with its reference."""
    verdicts = view.results.verdicts
    several = len({verdict.split for verdict in verdicts}) > 1
    interval, *others = {interval_name(verdict) for verdict in verdicts}
    families = len({verdict.family for verdict in verdicts}) > 1
    header = [
        "Method",
        *(["Reference"] if view.backbones else []),
        *(["Split"] if several else []),
        *(["Role"] if view.results.design else []),
        f"Difference, points ({'interval' if others else interval})",
        *(["Interval over folds"] if view.folds else []),
        *(["Judged together"] if families else []),
        "Margin, points",
        "Outcome",
        "p, within the margin",
        "p, worse by more",
        "p, equal",
        "p, McNemar (these trained models)",
        "Right alone: method / reference",
        "Needed for 80 % (seeds / test images)",
    ]
    rows = [
        [
            method_name(verdict.method),
            *([method_name(verdict.reference)] if view.backbones else []),
            *([verdict.split] if several else []),
            *([verdict.role or ""] if view.results.design else []),
            _difference(verdict, names_interval=bool(others)),
            *([_over_folds(verdict)] if view.folds else []),
            *([f"{verdict.family}"] if families else []),
            f"{verdict.margin:g}",
            _outcome(verdict),
            *map(fmt.p_value, (verdict.within, verdict.beyond)),
            _p_equal(verdict),
            fmt.p_value(verdict.differ),
            f"{verdict.wins:,.0f} / {verdict.losses:,.0f}",
            _needed(verdict),
        ]
        for verdict in verdicts
    ]
    reference = "the reference" if view.backbones else method_name(verdicts[0].reference)
    tiles = scored_on_each(view, list(dict.fromkeys(verdict.split for verdict in verdicts)))
    return Table(
        f"Comparison with {reference} on {tiles}, at a one-sided level of 2.5 %{_correction(verdicts)}",
        header,
        rows,
    )


def _correction(verdicts: Sequence[VerdictRecord]) -> str:
    """Return the end of the caption on the correction for several comparisons; empty without one."""
    families = {verdict.family for verdict in verdicts}
    if families == {1}:
        return ""
    corrects_intervals = all(verdict.simultaneous for verdict in verdicts)
    words = corrected(verdicts[0]) if len(families) == 1 else " corrected for the comparisons judged together"
    return f"; {'intervals and ' if corrects_intervals else ''}p values{words}"


def _difference(verdict: VerdictRecord, *, names_interval: bool) -> str:
    """Return the difference with its interval, named where the rows have intervals of several levels."""
    name = f"{interval_name(verdict)} " if names_interval else ""
    return f"{with_sign(verdict.difference)} ({name}{signed_range(*verdict.interval)})"


def _outcome(verdict: VerdictRecord) -> str:
    """Return the outcome; that of an earlier version may be of the margin alone."""
    untested = verdict.outcome == "open" and verdict.equal is None
    return OUTCOMES[verdict.outcome] + (" (not judged against 0)" if untested else "")


def _p_equal(verdict: VerdictRecord) -> str:
    """Return the p value of equal methods; a dash where the trained models alone were compared."""
    return fmt.NOTHING if verdict.equal is None or not verdict.tests_methods else fmt.p_value(verdict.equal)


def _needed(verdict: VerdictRecord) -> str:
    """Return the seeds and the images that would decide; a dash for what is not enough or not known."""
    if verdict.needed is None:
        return fmt.NOTHING
    images = verdict.needed.images
    counts = (verdict.needed.seeds, None if images is None else round_up_images(images))
    return " / ".join(fmt.NOTHING if count is None else f"{count:,}" for count in counts)


def _over_folds(verdict: VerdictRecord) -> str:
    return signed_range(*verdict.over_folds) if verdict.over_folds else fmt.NOTHING


def verdict_sentences(view: ReportView) -> list[str]:
    """Return the sentences of all verdicts, with the split where there are several."""
    verdicts = view.results.verdicts
    several = len({verdict.split for verdict in verdicts}) > 1
    return [
        f"{verdict.split.capitalize()} split. {sentence}" if several else sentence
        for verdict in verdicts
        for sentence in comparison_sentences(verdict)
    ]


def class_table(view: ReportView, split: str) -> Table:
    """Return the F1 of each class; with several seeds the mean, lowest and highest."""
    groups = view.groups_on(split)

    def cell(row: ClassRecord) -> str:
        if not row.support:
            return fmt.NOTHING
        mean = fmt.percent(row.f1, view.digits)
        return (
            mean if row.low == row.high else f"{mean} ({fmt.percent_range((row.low, row.high), view.digits)})"
        )

    rows = [
        [classes[0].name, f"{classes[0].support:,}", *map(cell, classes)]
        for classes in zip(*(group.summary.per_class for group in groups), strict=True)
    ]
    several = any(len(group.summary.seeds) > 1 for group in groups)
    ranges = "; in brackets the lowest and highest of the seeds" if several else ""
    header = ["Class", "Test tiles", *(group.title for group in groups)]
    return Table(f"F1 of each class on {scored_on(view, split)}{ranges}", header, rows)


def calibration_table(view: ReportView, split: str) -> Table:
    """Return calibration scores on test before and after temperature scaling."""
    measures: tuple[tuple[str, str, Callable[[float], str]], ...] = (
        ("ECE, equal-width bins", "ece_equal_width", lambda value: fmt.percent(value, 2)),
        ("Brier score", "brier", "{:.4f}".format),
        ("Loss, nats", "loss", "{:.4f}".format),
    )
    found = [(group.title, group.summary.calibration) for group in view.groups_on(split)]
    known = [(title, scores) for title, scores in found if scores]
    shown = view.shows_calibration(split)
    by_seed = shown and all(scores.seeds for _, scores in known)
    measures = measures if shown else measures[1:]
    rows = []
    for title, scores in known:
        temperatures = ", ".join(f"{value:.2f}" for value in scores.temperatures)
        pairs = [
            _before_and_after(write(getattr(scores.before, key)), write(getattr(scores.after, key)))
            for _, key, write in measures
        ]
        rows.append([title, temperatures, *(_ece_cells(scores, by_seed) if shown else []), *pairs])
    heads = ["ECE", "ECE if perfectly calibrated"][: shown + by_seed]
    header = ["Method", "Temperatures", *heads, *(head for head, _, _ in measures)]
    caption = f"Calibration on {scored_on(view, split)}, before and after temperature scaling on validation"
    means = "; ECE and the 95 % range of perfectly calibrated models: means of the seeds"
    several = by_seed and any(len(scores.seeds) > 1 for _, scores in known)
    return Table(caption + means * several, header, rows)


def _ece_cells(scores: CalibrationRecord, by_seed: bool) -> list[str]:
    """Return the calibration errors; of seeds their mean, and beside it that of perfect calibration."""
    errors = _before_and_after(*(fmt.percent(error, 2) for error in scores.errors()))
    if not by_seed:
        return [errors]
    seeds = scores.seeds
    states = [each.before_if_calibrated for each in seeds], [each.after_if_calibrated for each in seeds]
    ranges = ([fmean(ends) for ends in zip(*state, strict=True)] for state in states)
    return [errors, _before_and_after(*(f"{fmt.percent_range(each, 2)} %" for each in ranges))]


def _before_and_after(before: str, after: str) -> str:
    return f"{before} \N{RIGHTWARDS ARROW} {after}"


def robustness_table(view: ReportView, split: str) -> Table:
    """Return the loss by corruptions, and the mean accuracy of each kind."""
    records = view.robustness_on(split)
    kinds = [kind.name for kind in records[0].corruptions]
    rows = [
        [
            method_name(record.method),
            f"{record.seed}",
            _with_interval(record.clean, view.digits),
            fmt.percent(record.mean, view.digits),
            f"{100 * record.loss:.1f}",
            *(fmt.percent(kind.mean, view.digits) for kind in record.corruptions),
        ]
        for record in records
    ]
    caption = f"Accuracy on {corrupted_on(view, split)}, mean over five severities"
    header = ["Method", "Seed", "Clean (95 % interval)", "Mean", "Loss, points", *map(fmt.capital, kinds)]
    return Table(caption, header, rows)


def severity_table(view: ReportView, split: str) -> Table:
    """Return the accuracy at each severity of each corruption with its interval."""
    records = view.robustness_on(split)
    rows = [
        [f"{fmt.capital(kind.name)} {point.severity}"]
        + [_with_interval(record.corruptions[k].severities[i], view.digits) for record in records]
        for k, kind in enumerate(records[0].corruptions)
        for i, point in enumerate(kind.severities)
    ]
    header = ["Corruption and severity", *(method_name(record.method) for record in records)]
    caption = f"Accuracy at each severity (95 % interval), on {corrupted_on(view, split)}"
    return Table(caption, header, rows)


def sweep_table(
    view: ReportView,
    lines: Mapping[str, Sequence[tuple[int | None, RunGroup]]],
    *,
    head: str,
    split: str,
) -> Table:
    """Return accuracy and macro-F1 at each value of a sweep, two columns per method.

    Args:
        view: of the study.
        lines: values and groups of each method.
        head: head of the column of values.
        split: name of the split.
    """
    values = list(dict.fromkeys(value for points in lines.values() for value, _ in points))
    rows = []
    for value in sorted(values, key=lambda v: (v is None, v or 0)):
        found = [dict(points).get(value) for points in lines.values()]
        cells = [
            cell
            for group in found
            for cell in (
                (fmt.with_interval(group.accuracy, view.digits), macro_f1_cell(group, view.digits))
                if group
                else (fmt.NOTHING, fmt.NOTHING)
            )
        ]
        rows.append(["all" if value is None else f"{value:,}", *cells])
    header = [head, *(name for line in lines for name in (line, f"{line}, macro-F1"))]
    return Table(f"Accuracy and macro-F1 (95 % intervals) on {scored_on(view, split)}", header, rows)


def passes_note(lines: Mapping[str, Sequence[tuple[int | None, RunGroup]]]) -> list[str]:
    """Return how often an epoch passes over few training tiles; nothing where it is as often everywhere.

    Args:
        lines: values and groups of each method, on one split.
    """
    points = next(iter(lines.values()))
    passes = {value: group.runs[0].finished.recipe.passes or 1 for value, group in points}
    if len({*passes.values()}) == 1:
        return []
    repeated = [f"{times} times at {value or 'all'}" for value, times in passes.items() if times > 1]
    return [f"An epoch passes over its training tiles {fmt.listed(repeated)}, else once."]


def sweep_verdict_table(view: ReportView, verdicts: Sequence[SweepVerdict], *, head: str) -> Table:
    """Return the comparisons at the points of a sweep on one split.

    Args:
        view: of the study.
        verdicts: on one split.
        head: head of the column of values.
    """
    references = len({verdict.reference for verdict in verdicts}) > 1
    header = [
        head,
        "Method",
        *(["Reference"] if references else []),
        f"Difference, points ({interval_name(verdicts[0])})",
        *(["Interval over folds"] if view.folds else []),
        "Margin, points",
        "Outcome",
        "p, equal",
    ]
    rows = [
        [
            "all" if verdict.value is None else f"{verdict.value:,}",
            method_name(verdict.method),
            *([method_name(verdict.reference)] if references else []),
            _difference(verdict, names_interval=False),
            *([_over_folds(verdict)] if view.folds else []),
            f"{verdict.margin:g}",
            _outcome(verdict),
            _p_equal(verdict),
        ]
        for verdict in verdicts
    ]
    reference = "the reference" if references else method_name(verdicts[0].reference)
    tiles = scored_on(view, verdicts[0].split)
    caption = f"Comparison with {reference} at each point, on {tiles}{_correction(verdicts)}"
    return Table(caption, header, rows)


def macro_f1_cell(group: RunGroup, digits: int) -> str:
    """Return the macro-F1 of a group with its interval; results of earlier versions have none."""
    summary = group.summary
    if summary.macro_f1_interval is None:
        return fmt.percent(summary.macro_f1, digits)
    return fmt.with_interval((summary.macro_f1, *summary.macro_f1_interval), digits)


def _with_interval(point: Accuracy, digits: int) -> str:
    return fmt.with_interval((point.accuracy, *point.interval), digits)
