"""Title of a report and its conclusions, a few careful sentences.

Methods are judged by the verdicts of the study. Results of format 1 have no verdicts and one seed per method;
there, two methods whose 95 % intervals overlap are never called different.
"""

from orbitune.errors import counted
from orbitune.reporting import formatting as fmt
from orbitune.study.arms import crosses_backbones, split_arm
from orbitune.study.display_names import method_name, run_name
from orbitune.study.findings import VerdictRecord
from orbitune.study.report.answers.backbone_answers import (
    backbone_conditions,
    which_backbone,
)
from orbitune.study.report.answers.corruption_losses import write_losses
from orbitune.study.report.answers.outcomes import accuracy_clause, outcome_sentences
from orbitune.study.report.answers.split_gaps import gap_sentences
from orbitune.study.report.answers.sweep_conclusions import sweep_conclusions
from orbitune.study.report.view_model import FEW, MethodRow, ReportView, RunGroup


def write_title(view: ReportView) -> str:
    """Return the title of the report: methods, backbones if there are several, and data."""
    arms = [split_arm(run.method) for run in view.results.runs]
    named = _few(list(dict.fromkeys(method_name(method) for method, _ in arms)), "methods")
    if backbones := list(dict.fromkeys(backbone for _, backbone in arms if backbone)):
        named += f" with {_few(backbones, 'backbones')}"
    return f"{fmt.capital(named)} on {view.results.data.name}"


def _few(names: list[str], kind: str) -> str:
    """Return a list of a few names, or their number."""
    return fmt.listed(names) if len(names) <= FEW else f"{len(names)} {kind}"


def write_conclusions(view: ReportView) -> list[str]:
    """Return the conclusions, one paragraph each.

    The page adds the warnings, about synthetic tiles and about tiles that the backbone has seen.
    """
    reference = view.reference
    if reference is None:
        if view.results.done:
            unfinished = "all folds of a seed" if view.folds else "a run outside the sweeps"
            return [f"No method finished {unfinished}, so there is nothing to compare."]
        return ["Every run failed, so there is nothing to compare."]
    if view.results.verdicts:
        backbones: list[str | None] = [*view.backbones] or [None]
        shown = [which_backbone(view, split) for split in view.splits if view.backbones]
        shown += [" ".join(backbone_conditions(view))]
        shown += [_verdicts_on(view, split, backbone=each) for split in view.splits for each in backbones]
        savings = [sentence for each in backbones for sentence in _savings(view, each)]
        shown += [" ".join([*gap_sentences(view), *savings])]
    elif len(view.rows) == 1:
        shown = [_single_method(view, reference)]
    else:
        shown = _single_runs(view, reference)
    shown += [*sweep_conclusions(view), write_losses(view), " ".join(_caveats(view))]
    return [fmt.capital(each) for each in shown if each]


def _verdicts_on(view: ReportView, split: str, *, backbone: str | None) -> str:
    """Return the verdicts on the methods on one split and backbone."""
    verdicts = [
        verdict
        for verdict in _method_verdicts(view)
        if verdict.split == split and split_arm(verdict.reference)[1] == backbone
    ]
    if not verdicts:
        return ""
    where = f"on the {split} split " if len(view.splits) > 1 else ""
    reference = next(group for group in view.groups_on(split) if group.method == verdicts[0].reference)
    return " ".join([f"{where}{accuracy_clause(view, reference)}.", *outcome_sentences(verdicts)])


def _method_verdicts(view: ReportView) -> list[VerdictRecord]:
    """Return the verdicts on methods on the same backbone."""
    return [each for each in view.results.verdicts if not crosses_backbones(each.method, each.reference)]


def _savings(view: ReportView, backbone: str | None) -> list[str]:
    """Describe what each of a few methods saves on a backbone.

    For many methods, only the best that are within the margin on all splits.
    """
    reference = view.full_on(backbone)
    others = [row for row in view.rows if row.backbone == backbone and row is not reference]
    if reference is None:
        return []
    if len(others) < FEW:
        return [_saving(view, row, full=reference, subject=fmt.capital(row.title)) for row in others]
    within = [
        row
        for row in others
        if all(each.is_within for each in _method_verdicts(view) if each.method == row.method)
    ]
    if not within:
        return []
    small = min(within, key=lambda row: row.cost.artefact_bytes)
    quick = min(within, key=lambda row: row.cost.cpu_seconds)
    time = (
        f", and {quick.title} takes the least CPU time, "
        f"{fmt.ratio(quick.cost.cpu_seconds, reference.cost.cpu_seconds)} that of {reference.title}"
    )
    where = f" on {backbone}" if backbone else ""
    where += " on every split" if len(view.splits) > 1 else ""
    return [
        f"Of the methods within the margin{where}, {small.title} stores the least, "
        f"{fmt.size(small.cost.artefact_bytes)} instead of {fmt.size(reference.cost.artefact_bytes)}"
        f"{time if view.costs_comparable else ''}."
    ]


def _saving(view: ReportView, row: MethodRow, *, full: MethodRow, subject: str) -> str:
    """Describe what one method saves against full fine-tuning."""
    if view.timings_comparable:
        quantity, ratio = "time per epoch", fmt.ratio(row.cost.seconds_per_epoch, full.cost.seconds_per_epoch)
    else:
        quantity, ratio = "CPU time", fmt.ratio(row.cost.cpu_seconds, full.cost.cpu_seconds)
    took = (
        f", took {ratio} the {quantity} and "
        f"{fmt.ratio(row.cost.peak_memory, full.cost.peak_memory)} the peak memory,"
    )
    return (
        f"{subject} trained {fmt.trained_share(row.parameters)} of its parameters"
        f"{took if view.costs_comparable else ''} and stores "
        f"{fmt.size(row.cost.artefact_bytes)} instead of {fmt.size(full.cost.artefact_bytes)}."
    )


def _single_method(view: ReportView, row: MethodRow) -> str:
    """Describe the only method of a study."""
    sentences = [
        accuracy_clause(view, group) + (f" of the {split} split." if len(row.groups) > 1 else ".")
        for split, group in row.groups.items()
    ]
    design = view.results.design
    alone = design is not None and not design.comparisons
    others = (
        [] if alone or view.results.sweep_verdicts else ["No other method was finished to compare it with."]
    )
    return " ".join([*sentences, *gap_sentences(view), *others])


def _single_runs(view: ReportView, reference: MethodRow) -> list[str]:
    """Compare single runs by their intervals, one paragraph per method."""
    others = [row for row in view.rows if row is not reference]
    # With more methods the table is easier to read.
    saving = reference.is_full and len(others) < FEW
    shown = [
        _interval_sentence(view, row, reference=reference)
        + (f" {_saving(view, row, full=reference, subject='It')}" if saving else "")
        for row in others
    ]
    if not all(_overlap(_first_group(row), _first_group(reference)) for row in others):
        shown += ["How much another seed would change these numbers is not known."]
    return shown


def _first_group(row: MethodRow) -> RunGroup:
    return next(iter(row.groups.values()))


def _interval_sentence(view: ReportView, row: MethodRow, *, reference: MethodRow) -> str:
    """Compare two single runs by whether their intervals overlap."""
    mine, theirs = _first_group(row), _first_group(reference)
    (value, *interval), (other, *others) = mine.accuracy, theirs.accuracy
    reached = (
        f"{row.title} reached {fmt.percent(value, view.digits)} test accuracy "
        f"(95 % interval {fmt.percent_range(interval, view.digits)}) "
        f"against {fmt.percent(other, view.digits)} ({fmt.percent_range(others, view.digits)}) for "
        f"{reference.title}; on {mine.summary.test_tiles:,} test tiles from one seed the intervals "
    )
    if _overlap(mine, theirs):
        return reached + "overlap, so this run cannot tell them apart."
    points, side = 100 * (value - other), "above" if value > other else "below"
    return (
        f"{reached}do not overlap: {row.title} is {abs(points):.{view.digits}f} points {side} "
        f"{reference.title}."
    )


def _overlap(one: RunGroup, other: RunGroup) -> bool:
    (low, high), (other_low, other_high) = one.interval, other.interval
    return low <= other_high and other_low <= high


def _caveats(view: ReportView) -> list[str]:
    """Return failed runs and limits of the conclusions."""
    sentences = []
    for status in ("failed", "diverged"):
        names = [run_name(run) for run in view.results.failed if run.status == status]
        if names:
            sentences += [f"{fmt.capital(fmt.listed(names))} {status}."]
    verdicts = view.results.verdicts
    if verdicts and all(min(each.seeds, each.reference_seeds) == 1 for each in verdicts):
        kinds = "methods and backbones" if view.backbones else "methods"
        sentences += [
            f"With one seed each, this holds for these trained models; other seeds may rank the {kinds} "
            "differently."
        ]
    sentences += _short_schedules(view)
    if not view.backbones and not any(row.is_full for row in view.rows):
        sentences += ["Costs are not compared, because full fine-tuning has no finished run."]
    return sentences


def _short_schedules(view: ReportView) -> list[str]:
    """Say in how many runs of each method the last epoch was the best; nothing where in no more than half."""
    counts: dict[str, list[bool]] = {}
    for row in view.rows:
        for run in (each.finished for each in row.runs):
            if run.recipe.epochs != "auto" and len(run.history) > 1:
                counts.setdefault(row.title, []).append(run.best_epoch == len(run.history))
    if 2 * sum(map(sum, counts.values())) <= sum(map(len, counts.values())):
        return []
    named = [f"{sum(last)} of {counted(len(last), 'run')} of {title}" for title, last in counts.items()]
    return [
        f"The last epoch was the best on validation tiles in {fmt.listed(named)}; longer schedules were not "
        "tried."
    ]
