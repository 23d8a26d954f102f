"""The page of a study: what stands at its top, and the sections of the long part."""

import shlex
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from orbitune.study.report import formatting as fmt
from orbitune.study.report import methodology, run_details, tables
from orbitune.study.report.comparison import caption, columns, comparison_rows, notes
from orbitune.study.report.components import (
    BulletList,
    CodeBlock,
    Collapsible,
    Component,
    DescriptionList,
    Section,
    Table,
)
from orbitune.study.report.conclusions import WARNING, title, write_conclusions
from orbitune.study.report.figures.accuracy import accuracy_figure
from orbitune.study.report.figures.classes import class_figure
from orbitune.study.report.figures.confusion import confusion_figure
from orbitune.study.report.figures.costs import cost_figure
from orbitune.study.report.figures.curves import curve_figure
from orbitune.study.report.figures.new_figure import MethodStyles, method_styles, style
from orbitune.study.report.figures.reliability_diagram import reliability_figure
from orbitune.study.report.figures.severity_curves import robustness_figure
from orbitune.study.report.figures.sweeps import SWEEPS, sweep_figure, sweep_lines
from orbitune.study.report.gallery import disagreement_gallery
from orbitune.study.report.view_model import ReportView, Results


def page(results: Results, folder: Path) -> dict[str, Any]:
    """What both templates show.

    Args:
        folder: that holds the images which the results name.
    """
    view = ReportView(results)
    created = datetime.fromisoformat(results["created"]).astimezone(timezone.utc)
    cells = columns(view)
    comparison = Table(caption(view), ["Method", *(head for head, _ in cells)], comparison_rows(view, cells))
    with style():
        return {
            "title": title(view),
            "created": f"{created:%Y-%m-%d %H:%M} UTC",
            "backbone": results["backbone"],
            "warning": WARNING if results["data"]["synthetic"] else "",
            "verdict": write_conclusions(view),
            "comparison": comparison,
            "notes": notes(view),
            "picture": accuracy_figure(view) if view.rows else None,
            "sections": [section for section in _sections(view, folder) if section.blocks],
            "command": results["command"],
            "again": _again(results["command"]),
        }


def _again(command: str) -> str:
    """The command that writes the report again, with the folder that the study's command names."""
    words = shlex.split(command)
    out = words[words.index("--out") + 1] if "--out" in words[:-1] else "FOLDER"
    return shlex.join(["orbitune", "report", out])


def _sections(view: ReportView, folder: Path) -> Iterator[Section]:
    """The long part in its order; a section without blocks is left out."""
    drawn = method_styles(view)
    yield Section("Every verdict", _verdicts(view))
    yield Section("Accuracy against cost", [cost_figure(view, drawn)] * (len(view.rows) > 1))
    yield from _sweeps(view, drawn)
    yield Section("Classes", _classes(view))
    yield Section("Confusion on the test split", [confusion_figure(view, drawn)] * bool(view.rows))
    yield Section(
        "Where the methods disagree",
        [disagreement_gallery(entry, folder) for entry in view.results.get("disagreements", [])],
    )
    yield Section("Calibration", _calibration(view, drawn))
    yield Section("Robustness", _robustness(view, drawn))
    yield Section("Alarms", _alarms(view))
    yield Section("Training curves", [curve_figure(view, drawn)] * bool(view.rows))
    yield Section("Every run", _runs(view))
    yield Section("Plan and measurement", _plans(view))
    yield Section("Data", _data(view), measured=False)
    differences = run_details.difference_table(view)
    yield Section(
        "Recipe", [*([differences] if differences else []), *run_details.recipes(view)], measured=False
    )
    yield Section("Environment", [DescriptionList(run_details.environment_facts(view))], measured=False)
    commands = CodeBlock(f"{view.results['command']}\n{_again(view.results['command'])}", "sh")
    yield Section("How it was done", [BulletList(methodology.describe_runs(view)), commands], measured=False)


def _verdicts(view: ReportView) -> list[Component]:
    if not view.results.get("verdicts"):
        return []
    sentences = BulletList(tables.judged(view))
    return [
        tables.verdict_table(view),
        Collapsible("The verdicts in sentences", [sentences]) if view.many else sentences,
    ]


def _sweeps(view: ReportView, drawn: MethodStyles) -> Iterator[Section]:
    for sweep in SWEEPS:
        lines = {split: sweep_lines(view, sweep, split) for split in view.splits}
        found = [
            tables.sweep_table(view, points, fmt.capital(sweep.axis), split)
            for split, points in lines.items()
            if points
        ]
        if found:
            yield Section(
                sweep.title, [sweep_figure(view, sweep, drawn), Collapsible("The numbers", [*found])]
            )


def _classes(view: ReportView) -> list[Component]:
    found: list[Component] = [tables.class_table(view, split) for split in view.splits]
    if view.reference is None or len(view.rows) < 2:
        return found
    plate = class_figure(view, view.reference)
    return [plate, Collapsible("The numbers", found)] if view.many else [plate, *found]


def _calibration(view: ReportView, drawn: MethodStyles) -> list[Component]:
    splits = [s for s in view.splits if any("calibration" in group.summary for group in view.on(s))]
    if not splits:
        return []
    return [reliability_figure(view, splits, drawn), *(tables.calibration_table(view, s) for s in splits)]


def _robustness(view: ReportView, drawn: MethodStyles) -> list[Component]:
    measured = {entry["split"] for entry in view.results.get("robustness", [])}
    return [
        block
        for split in view.splits
        if split in measured
        for block in (
            robustness_figure(view, split, drawn),
            tables.robustness_table(view, split),
            Collapsible("Every severity", [tables.severity_table(view, split)]),
        )
    ]


def _alarms(view: ReportView) -> list[Component]:
    entries = view.results.get("alarms", [])
    return [
        BulletList(
            [
                f"{fmt.capital(view.split_name(entry['split']))}. {line}" if len(entries) > 1 else line
                for entry in entries
                for line in methodology.leakage_checks(entry)
            ]
        )
    ] * bool(entries)


def _runs(view: ReportView) -> list[Component]:
    blocks: list[Component] = []
    if view.done:
        count = f"{len(view.done)} runs" if len(view.done) > 1 else "The run"
        blocks += [
            Collapsible(count, [run_details.run_table(view)])
            if len(view.done) > 3
            else run_details.run_table(view)
        ]
    if view.results.get("trials"):
        trials = run_details.trial_table(view)
        blocks += [Collapsible(f"{len(trials.rows)} trials of learning rates", [trials])]
    return blocks


def _data(view: ReportView) -> list[Component]:
    data = view.results["data"]
    warning = [WARNING] if data["synthetic"] else []
    lines = [*warning, *(f"Note: {note}" for note in data["notes"])]
    return [DescriptionList(run_details.data_facts(view)), *([BulletList(lines)] if lines else [])]


def _plans(view: ReportView) -> list[Component]:
    plan = run_details.plan_table(view)
    if plan is None:
        return []
    return [Collapsible("Of the first run of each method", [plan]) if view.many else plan]
