"""The title of a report, and what its study shows in a few careful sentences.

Methods are judged by the verdicts that the study keeps. Results without them have one seed per method; there,
two methods whose 95 % intervals overlap are never called different.
"""

from collections.abc import Sequence
from typing import Any

from orbitune.study.display_names import method_name, run_name
from orbitune.study.report import formatting as fmt
from orbitune.study.report.view_model import FEW, MethodRow, ReportView, RunGroup

SYNTHETIC = "synthetic tiles: these figures say nothing about real satellite images"
WARNING = f"{fmt.capital(SYNTHETIC)}."


def title(view: ReportView) -> str:
    names = list(dict.fromkeys(method_name(run["method"]) for run in view.results["runs"]))
    methods = fmt.listed(names) if len(names) <= FEW else f"{len(names)} methods"
    return f"{fmt.capital(methods)} on {view.results['data']['name']}"


def write_conclusions(view: ReportView) -> list[str]:
    """What the study shows; the warning about synthetic tiles is left to the page."""
    reference = view.reference
    if reference is None:
        return ["Every run failed, so there is nothing to compare."]
    if view.results.get("verdicts"):
        shown = [_judged(view, split) for split in view.splits]
        shown += [" ".join([*_gaps(view), *_savings(view, reference)])]
    elif len(view.rows) == 1:
        shown = [_alone(view, reference)]
    elif len({row.method for row in view.rows}) < len(view.rows):
        shown = [f"{len(view.done)} runs were finished; the table shows each of them."]
    else:
        shown = _beside(view, reference)
    return [fmt.capital(each) for each in [*shown, " ".join(_caveats(view))] if each]


def _judged(view: ReportView, split: str) -> str:
    """The verdicts on one split, whose reference is its own where full fine-tuning failed there."""
    entries = [entry for entry in view.results["verdicts"] if entry["split"] == split]
    if not entries:
        return ""
    where = f"on the {split} split " if len(view.splits) > 1 else ""
    reference = next(group for group in view.on(split) if group.method == entries[0]["reference"])
    sentences = [f"{where}{_reached(view, reference.title, reference)}."]
    margin = f"{entries[0]['margin']:g} points of it"
    for conclusions_text, claim in (
        ("yes", f"Within {margin}, or better"),
        ("no", f"Not within {margin}"),
        ("cannot be told", "Cannot be told from these tiles"),
    ):
        named = [entry for entry in entries if entry["verdict"] == verdict]
        if named:
            sentences += [f"{claim}{_worst_p(named, verdict)}: {_named(view, named)}."]
    return " ".join(sentences)


def _reached(view: ReportView, name: str, group: RunGroup) -> str:
    seeds = len(group.summary["seeds"])
    from_seeds = "from one seed" if seeds == 1 else f"over {seeds} seeds"
    mean, *interval = group.accuracy
    return (
        f"{name} reached {fmt.percent(mean, view.digits)} test accuracy "
        f"(95 % interval {fmt.span(interval, view.digits)}) "
        f"on {group.summary['test_tiles']:,} test tiles {from_seeds}"
    )


def _named(view: ReportView, entries: Sequence[dict[str, Any]]) -> str:
    """Methods with their differences to the reference; with the intervals where the methods are few."""

    def numbers(entry: dict[str, Any]) -> str:
        points = fmt.signed(entry["difference"])
        if view.many:
            return points
        return f"{points} points, 95 % interval {fmt.signed_span(entry['low'], entry['high'])}"

    return fmt.listed([f"{method_name(entry['method'])} ({numbers(entry)})" for entry in entries])


def _worst_p(entries: Sequence[dict[str, Any]], conclusions_text: str) -> str:
    """The largest p value behind the verdicts; nothing where they are open."""
    if conclusions_text == "cannot be told":
        return ""
    worst = fmt.p_value(max(entry["within" if conclusions_text == "yes" else "beyond"] for entry in entries))
    sign = "" if worst[0] == "<" else "= " if len(entries) == 1 else "\N{LESS-THAN OR EQUAL TO} "
    holm = " after Holm" if entries[0]["family"] > 1 else ""
    return f" (p {sign}{worst}{holm})"


def _gaps(view: ReportView) -> list[str]:
    """How much accuracy the methods lose from one split to another."""
    entries = view.results.get("gaps", [])
    sentences = []
    for pair in dict.fromkeys(tuple(entry["splits"]) for entry in entries):
        own = sorted(
            (entry for entry in entries if tuple(entry["splits"]) == pair), key=lambda e: e["difference"]
        )
        least, most = (
            f"{100 * entry['difference']:.{view.digits}f} ({method_name(entry['method'])})"
            for entry in (own[0], own[-1])
        )
        if len(own) > 1 and all(entry["low"] > 0 for entry in own):
            loss = f"every method is less accurate on the {pair[1]} split, by {least} to {most} points"
        elif len(own) > 1:
            loss = f"from the {pair[0]} to the {pair[1]} split methods lose {least} to {most} points"
        else:
            loss = f"from the {pair[0]} to the {pair[1]} split it loses {least} points"
        sentences.append(f"{fmt.capital(loss)}.")
    return sentences


def _savings(view: ReportView, reference: MethodRow) -> list[str]:
    """What is saved: by each of a few methods; of many, the most by those within the margin everywhere."""
    others = [row for row in view.rows if row is not reference]
    if reference.method != "full":
        return []
    if len(others) < FEW:
        return [_saving(view, row, reference, fmt.capital(row.title)) for row in others]
    compare_methods = view.results["verdicts"]
    within = [
        row
        for row in others
        if all(entry["verdict"] == "yes" for entry in compare_methods if entry["method"] == row.method)
    ]
    if not within:
        return []
    small = min(within, key=lambda row: row.cost["artefact_bytes"])
    quick = min(within, key=lambda row: row.cost["cpu_seconds"])
    where = " on every split" if len(view.splits) > 1 else ""
    return [
        f"Of the methods within the margin{where}, {small.title} stores the least, "
        f"{fmt.size(small.cost['artefact_bytes'])} instead of {fmt.size(reference.cost['artefact_bytes'])}, "
        f"and {quick.title} takes the least CPU time, "
        f"{fmt.ratio(quick.cost['cpu_seconds'], reference.cost['cpu_seconds'])} that of {reference.title}."
    ]


def _saving(view: ReportView, row: MethodRow, full: MethodRow, name: str) -> str:
    what, key = (
        ("time per epoch", "seconds_per_epoch") if view.timings_comparable else ("CPU time", "cpu_seconds")
    )
    return (
        f"{name} trained {fmt.share_trained(row.parameters)} of the parameters, took "
        f"{fmt.ratio(row.cost[key], full.cost[key])} the {what} and "
        f"{fmt.ratio(fmt.memory(row.cost), fmt.memory(full.cost))} the peak memory, and stores "
        f"{fmt.size(row.cost['artefact_bytes'])} instead of {fmt.size(full.cost['artefact_bytes'])}."
    )


def _alone(view: ReportView, row: MethodRow) -> str:
    sentences = [
        _reached(view, row.title, group) + (f" of the {split} split." if len(row.groups) > 1 else ".")
        for split, group in row.groups.items()
    ]
    return " ".join([*sentences, *_gaps(view), "No other method was finished to compare it with."])


def _beside(view: ReportView, reference: MethodRow) -> list[str]:
    """Single runs without verdicts: whether the intervals overlap, a paragraph for each method."""
    others = [row for row in view.rows if row is not reference]
    # With more methods than these the table says it better.
    saving = reference.method == "full" and len(others) < FEW
    shown = [
        _against(view, row, reference) + (f" {_saving(view, row, reference, 'It')}" if saving else "")
        for row in others
    ]
    if not all(_overlap(_only(row), _only(reference)) for row in others):
        shown += ["How far another seed would move these is not known."]
    return shown


def _only(row: MethodRow) -> RunGroup:
    return next(iter(row.groups.values()))


def _against(view: ReportView, row: MethodRow, reference: MethodRow) -> str:
    mine, theirs = _only(row), _only(reference)
    (value, *interval), (other, *others) = mine.accuracy, theirs.accuracy
    reached = (
        f"{row.title} reached {fmt.percent(value, view.digits)} test accuracy "
        f"(95 % interval {fmt.span(interval, view.digits)}) "
        f"against {fmt.percent(other, view.digits)} ({fmt.span(others, view.digits)}) for {reference.title}; "
        f"on {mine.summary['test_tiles']:,} test tiles from one seed the intervals "
    )
    if _overlap(mine, theirs):
        return reached + "overlap, so this run cannot tell them apart."
    points, side = 100 * (value - other), "above" if value > other else "below"
    return (
        f"{reached}do not overlap: {row.title} is {abs(points):.{view.digits}f} points {side} "
        f"{reference.title}."
    )


def _overlap(one: RunGroup, other: RunGroup) -> bool:
    (low, high), (floor, ceiling) = one.interval, other.interval
    return low <= ceiling and floor <= high


def _caveats(view: ReportView) -> list[str]:
    """What the sentences before cannot fmt."""
    sentences = []
    for status in ("failed", "diverged"):
        names = [run_name(run) for run in view.failed if run["status"] == status]
        if names:
            sentences += [f"{fmt.capital(fmt.listed(names))} {status}."]
    judged = view.results.get("verdicts", [])
    if judged and all(min(entry["seeds"], entry["reference_seeds"]) == 1 for entry in judged):
        sentences += ["With one seed each this holds for the models that were trained, not for the methods."]
    if view.full is None:
        sentences += ["Without a run of full fine-tuning no cost is compared with it."]
    return sentences
