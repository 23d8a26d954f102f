"""What a study fixed before it read the test split, and what it explored, in sentences."""

from collections.abc import Sequence

from orbitune.errors import counted
from orbitune.evaluation.statistics.sentences import format_points, with_sign
from orbitune.machine.timestamps import format_time
from orbitune.reporting import formatting as fmt
from orbitune.study.design.fixed import Design, DesignChange
from orbitune.study.display_names import describe_margins, pair_name
from orbitune.study.report.view_model import ReportView


def describe_design(view: ReportView) -> list[str]:
    """Return what was fixed beforehand, what was changed later, and what was explored."""
    design = view.results.design
    if design is None or not design.comparisons:
        return []
    changes = [_change(each) for each in design.changes]
    return [_fixed(design), *changes, *_left_out(view, design), _explored(view, design)]


def _fixed(design: Design) -> str:
    """Describe what was fixed, and whether before the test split was read."""
    when = format_time(design.fixed)
    settings = [
        f"margin {describe_margins(design.margins)}",
        f"{counted(len(design.seeds), 'seed')} ({', '.join(map(str, design.seeds))})",
        f"the {design.analysis}",
    ]
    if design.difference:
        settings.append(f"planned for a true difference of {with_sign(design.difference, '+g')} points")
    if not design.before_test_read:
        return (
            "Nothing was fixed before the test split was read, as runs were there already; "
            f"stored at {when}: {'; '.join(settings)}."
        )
    secondary = [pair for pair in design.comparisons if pair not in design.primary]
    named = [f"primary: {_pairs(design.primary)}"] + (
        [f"secondary: {_pairs(secondary)}"] if secondary else []
    )
    return f"Fixed at {when}, before the test split was read: {'; '.join([*named, *settings])}."


def _pairs(pairs: Sequence[tuple[str, str]]) -> str:
    return fmt.listed([pair_name(*pair) for pair in pairs])


def _change(change: DesignChange) -> str:
    """Describe what was added after the test split had been read."""
    parts = []
    if change.seeds:
        parts.append(
            f"{'seeds' if len(change.seeds) > 1 else 'seed'} {fmt.listed([*map(str, change.seeds)])}"
        )
    parts += [
        f"the {split} split, with a margin of {format_points(margin)}"
        for split, margin in change.margins.items()
    ]
    if change.comparisons:
        parts.append(_pairs(change.comparisons))
    return f"Added at {format_time(change.made)}, after the test split had been read: {'; '.join(parts)}."


def _left_out(view: ReportView, design: Design) -> list[str]:
    """Name what is in the design, and not among the runs of the last session."""
    runs = view.results.runs
    seeds, methods = {run.seed for run in runs}, {run.method for run in runs}
    parts = [f"seed {seed}" for seed in sorted(design.all_seeds - seeds)]
    parts += [_pairs([pair]) for pair in design.all_comparisons if not methods.issuperset(pair)]
    return [f"Not shown, as the last session left them out: {fmt.listed(parts)}."] if parts else []


def _explored(view: ReportView, design: Design) -> str:
    """Name what was not fixed beforehand."""
    explored = [
        pair_name(each.method, each.reference)
        + (f" on the {each.split} split" if len(view.splits) > 1 else "")
        for each in view.results.verdicts
        if each.role == "exploratory"
    ]
    if view.results.sweep_verdicts:
        explored.append("all points of sweeps")
    unjudged = any(run.sweep for run in view.results.runs) and not view.results.sweep_verdicts
    rest = "sweeps, " * unjudged
    rest += "classes, calibration, robustness and the gap between splits are not tested hypotheses"
    if not explored:
        return f"Every comparison was fixed beforehand; {rest}."
    seeds = dict.fromkeys(run.seed for run in view.results.runs if run.sweep is None)
    other = f", with seeds {', '.join(map(str, seeds))}" if {*seeds} != {*design.seeds} else ""
    return f"Exploratory, as not fixed beforehand: {fmt.listed(explored)}{other}; {rest} either."
