"""Report page of a study: its summary and its sections."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from orbitune.errors import counted
from orbitune.machine.timestamps import format_time
from orbitune.reporting import formatting as fmt
from orbitune.reporting.components import (
    BulletList,
    CodeBlock,
    Collapsible,
    Component,
    DescriptionList,
    Figure,
    Section,
    Table,
)
from orbitune.reporting.drawing import report_style
from orbitune.reporting.page import WARNING, Page
from orbitune.reporting.reliability import too_few
from orbitune.study.arms import crosses_backbones
from orbitune.study.display_names import fold_name
from orbitune.study.records import StudyResults
from orbitune.study.report import run_details, tables
from orbitune.study.report.answers.answer import asked_verdicts, write_answer
from orbitune.study.report.answers.conclusions import write_conclusions, write_title
from orbitune.study.report.answers.corruption_losses import loss_sentences
from orbitune.study.report.answers.headline import write_headline
from orbitune.study.report.answers.split_gaps import gap_notes, gap_sentences, gap_tables
from orbitune.study.report.cautions import find_cautions
from orbitune.study.report.comparison import (
    comparison_columns,
    comparison_rows,
    name_head,
    table_caption,
    table_notes,
)
from orbitune.study.report.figures.accuracy import accuracy_figure
from orbitune.study.report.figures.classes import LEAST_SUPPORT, class_figure
from orbitune.study.report.figures.confusion import confusion_figure
from orbitune.study.report.figures.costs import cost_figure
from orbitune.study.report.figures.curves import curve_figure
from orbitune.study.report.figures.differences import difference_figure
from orbitune.study.report.figures.reliability_diagram import reliability_figure
from orbitune.study.report.figures.severity_curves import robustness_figure
from orbitune.study.report.figures.styles import Styles, method_styles
from orbitune.study.report.figures.sweeps import SWEEPS, Sweep, sweep_figure, sweep_lines
from orbitune.study.report.gallery import disagreements
from orbitune.study.report.leakage import leakage_components
from orbitune.study.report.methods import methodology, tuning
from orbitune.study.report.methods.prose import write_methods
from orbitune.study.report.view_model import ReportView

_FEW_TILES = (
    f"No class has {LEAST_SUPPORT} or more test tiles, so the differences between methods are not drawn: one "
    "tile would change an F1 by several points."
)


def build_page(results: StudyResults, folder: Path) -> Page:
    """Return the content of the report.

    Args:
        results: of the study.
        folder: holds the images that the results name.
    """
    view = ReportView(results)
    columns = comparison_columns(view)
    header = [name_head(view), *(head for head, _ in columns)]
    with report_style():
        return Page(
            subject="study",
            title=write_title(view),
            stamp=format_time(results.created),
            subtitle=_backbone_line(results),
            warning=WARNING if results.data.synthetic else "",
            headline=write_headline(view),
            cautions=find_cautions(view),
            conclusions=write_answer(view),
            comparison=Table(table_caption(view), header, comparison_rows(view, columns)),
            notes=table_notes(view),
            picture=_picture(view),
            sections=[section for section in _sections(view, folder) if section.components],
            reproduction="Run the study, or write the report from its results alone",
            commands=[results.command, _report_command(results.command)],
        )


def _picture(view: ReportView) -> Figure | None:
    """Draw the answer: the differences that were asked for, else the accuracies."""
    if asked := asked_verdicts(view):
        return difference_figure(view, asked, name="differences")
    return accuracy_figure(view) if view.rows else None


def _backbone_line(results: StudyResults) -> str:
    """Name the backbones with their sizes."""
    backbones = [*results.backbones.values()] or [results.backbone]
    named = "; ".join(f"{each.description.rstrip('.')}, {each.parameters:,} parameters" for each in backbones)
    return f"Backbone{'s' if len(backbones) > 1 else ''}: {named}"


def _report_command(command: str) -> str:
    """Return the command that writes this report again."""
    words = shlex.split(command)
    out = words[words.index("--out") + 1] if "--out" in words[:-1] else "FOLDER"
    return shlex.join(["orbitune", "report", out])


def _sections(view: ReportView, folder: Path) -> Iterator[Section]:
    """Yield the sections in order; one without components is left out of the page."""
    styles = method_styles(view)
    yield Section("Conclusions", [BulletList(write_conclusions(view))], measured=False)
    yield Section("Verdicts", _verdicts(view))
    yield Section("Accuracy", [accuracy_figure(view)] if asked_verdicts(view) else [])
    yield Section("Gap between the splits", _gaps(view))
    yield Section("Accuracy against cost", [cost_figure(view, styles)] * (len(view.rows) > 1))
    yield from _sweeps(view, styles)
    yield Section("Classes", _classes(view))
    yield Section("Confusion on the test split", [confusion_figure(view, styles)] * bool(view.rows))
    yield Section("Where the methods disagree", disagreements(view, folder))
    yield Section("Calibration", _calibration(view, styles))
    yield Section("Robustness", _robustness(view, styles))
    yield Section("Leakage checks", leakage_components(view))
    yield Section("Training curves", [curve_figure(view, styles)] * bool(view.rows))
    yield Section("All runs", _runs(view))
    yield Section("Learning rates", _searches(view))
    yield Section("Planned and measured cost", _plans(view))
    yield Section("Data", _data(view), measured=False)
    differences = run_details.difference_table(view)
    recipes = [*([differences] if differences else []), *run_details.recipes(view)]
    yield Section("Recipe", recipes, measured=False)
    environment = Collapsible("Versions and hardware", [DescriptionList(run_details.environment_pairs(view))])
    yield Section("Environment", [environment], measured=False)
    command = view.results.command
    commands = CodeBlock(f"{command}\n{_report_command(command)}", "sh")
    details = BulletList(methodology.describe_runs(view))
    yield Section("Methodology", [BulletList(write_methods(view)), details, commands], measured=False)


def _verdicts(view: ReportView) -> list[Component]:
    if not view.results.verdicts:
        return []
    sentences = BulletList(tables.verdict_sentences(view))
    asked = asked_verdicts(view)
    found = [each for each in view.results.verdicts if not crosses_backbones(each.method, each.reference)]
    every = [difference_figure(view, found, name="all-differences")] if 0 < len(asked) < len(found) else []
    return [
        *every,
        tables.verdict_table(view),
        Collapsible("Verdicts in sentences", [sentences]),
    ]


def _gaps(view: ReportView) -> list[Component]:
    notes = [BulletList([*gap_sentences(view), *gap_notes(view)])] if view.results.gaps else []
    return [*gap_tables(view), *notes]


def _sweeps(view: ReportView, styles: Styles) -> Iterator[Section]:
    for sweep in SWEEPS:
        lines = {split: sweep_lines(view, sweep, split=split) for split in view.splits}
        found = [
            tables.sweep_table(view, points, head=fmt.capital(sweep.axis), split=split)
            for split, points in lines.items()
            if points
        ]
        if found:
            figure = sweep_figure(view, sweep, styles=styles)
            notes = next(tables.passes_note(points) for points in lines.values() if points)
            judged = [*([BulletList(notes)] if notes else []), *_sweep_verdicts(view, sweep)]
            yield Section(sweep.title, [figure, *judged, Collapsible("Numbers", [*found])])


def _sweep_verdicts(view: ReportView, sweep: Sweep) -> list[Component]:
    """Return a table of the comparisons at the points of a sweep on each split."""
    own = [each for each in view.results.sweep_verdicts if each.sweep == sweep.name]
    return [
        tables.sweep_verdict_table(view, verdicts, head=fmt.capital(sweep.axis))
        for split in view.splits
        if (verdicts := [each for each in own if each.split == split])
    ]


def _classes(view: ReportView) -> list[Component]:
    found: list[Component] = [tables.class_table(view, split) for split in view.splits]
    if view.reference is None or len(view.rows) < 2:
        return found
    figure = class_figure(view, view.reference) if _compares_classes(view) else BulletList([_FEW_TILES])
    return [figure, Collapsible("Numbers", found)]


def _compares_classes(view: ReportView) -> bool:
    """Return whether some class has enough test tiles to compare its F1."""
    supports = [row.support for group in view.groups for row in group.summary.per_class]
    return max(supports) >= LEAST_SUPPORT


def _calibration(view: ReportView, styles: Styles) -> list[Component]:
    splits = [s for s in view.splits if any(group.summary.calibration for group in view.groups_on(s))]
    if not splits:
        return []
    components: list[Component] = []
    if drawn := [split for split in splits if view.shows_calibration(split)]:
        components += [reliability_figure(view, drawn, styles=styles)]
    for split in splits:
        if split not in drawn:
            few = too_few(view.groups_on(split)[0].summary.test_tiles)
            components += [BulletList([": ".join(filter(None, [fmt.capital(view.split_name(split)), few]))])]
        components += [tables.calibration_table(view, split)]
    return components


def _robustness(view: ReportView, styles: Styles) -> list[Component]:
    return [
        component
        for split in view.splits
        if view.robustness_on(split)
        for component in (
            BulletList(loss_sentences(view, split)),
            robustness_figure(view, split, styles=styles),
            tables.robustness_table(view, split),
            Collapsible("All severities", [tables.severity_table(view, split)]),
        )
    ]


def _runs(view: ReportView) -> list[Component]:
    components: list[Component] = []
    count = len(view.results.done)
    if count:
        table = run_details.run_table(view)
        components += [Collapsible(f"{count} runs", [table]) if count > 3 else table]
    return components


def _searches(view: ReportView) -> list[Component]:
    """Return how learning rates were chosen; of older results the trials alone."""
    if not view.results.trials:
        return []
    trials = tuning.trial_table(view)
    all_trials = Collapsible(counted(len(trials.rows), "learning-rate trial"), [trials])
    if not view.results.searches:
        return [all_trials]
    finalists = tuning.finalist_table(view)
    return [
        tuning.search_table(view),
        Collapsible(counted(len(finalists.rows), "finalist"), [finalists]),
        all_trials,
    ]


def _data(view: ReportView) -> list[Component]:
    data = view.results.data
    warning = [WARNING] if data.synthetic else []
    fold = f" on {fold_name(view.results.recipe.fold)}" if view.results.recipe.fold else ""
    lines = [*warning, *(f"Note{fold}: {note}" for note in data.notes)]
    return [DescriptionList(run_details.data_pairs(view)), *([BulletList(lines)] if lines else [])]


def _plans(view: ReportView) -> list[Component]:
    plan = run_details.planned_costs_table(view)
    if plan is None:
        return []
    return [Collapsible("First run of each method", [plan])]
