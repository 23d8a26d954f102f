"""Confusion matrices on the test split, summed over the seeds."""

import numpy as np

from orbitune.reporting import confusion
from orbitune.reporting import formatting as fmt
from orbitune.reporting.components import Figure, Panel
from orbitune.study.report.figures.styles import Styles
from orbitune.study.report.split_origins import scored_on, scored_on_each
from orbitune.study.report.view_model import ReportView, RunGroup


def confusion_figure(view: ReportView, styles: Styles) -> Figure:
    """Draw the matrix of every method.

    For many methods, only the reference and the method closest to it.
    """
    groups = [group for split in view.splits for group in shown_groups(view, split)]
    seeds = "; tiles are counted once per seed" if any(g.seeds > 1 for g in groups) else ""
    chosen = " Only the reference and the method closest to it in accuracy are shown." if view.many else ""
    legend = confusion.LEGEND.format(counted=seeds)
    caption = f"On {scored_on_each(view)}. {legend}{chosen}"
    return Figure(caption, [_draw_panel(view, group, styles=styles) for group in groups])


def shown_groups(view: ReportView, split: str) -> list[RunGroup]:
    """Return the groups whose matrices are drawn for a split."""
    groups, reference = view.groups_on(split), view.reference
    if not view.many or reference is None or split not in reference.groups:
        return groups[:2] if view.many else groups
    first = reference.groups[split]
    others = [group for group in groups if group is not first]
    return [first, min(others, key=lambda group: abs(group.accuracy[0] - first.accuracy[0]))]


def _draw_panel(view: ReportView, group: RunGroup, *, styles: Styles) -> Panel:
    tests = [run.finished.test for run in group.runs]
    return confusion.confusion_panel(
        f"confusion-{fmt.slug(group.summary.group)}",
        view.with_split(fmt.capital(group.title), group.split),
        counts=np.sum([test.confusion for test in tests], axis=0),
        classes=[row.name for row in tests[0].per_class],
        colour=styles[group.title]["color"],
        of=f"{group.title} on {scored_on(view, group.split)}",
        synthetic=view.synthetic,
    )
