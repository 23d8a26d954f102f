"""Training curves, mean over the seeds."""

import numpy as np

from orbitune.reporting import formatting as fmt
from orbitune.reporting.components import Figure, Panel
from orbitune.reporting.drawing import INK, Look
from orbitune.reporting.epochs import RING, EpochLine, epoch_panel
from orbitune.study.report.figures.styles import Styles
from orbitune.study.report.split_origins import scored_on_each
from orbitune.study.report.view_model import ReportView, RunGroup

_MEASURES = (("loss", "Loss, nats", 1), ("accuracy", "Accuracy, %", 100))


def curve_figure(view: ReportView, styles: Styles) -> Figure:
    """Draw loss and accuracy by epoch; with few methods, of the training split too."""
    panels = [
        _draw_panel(view, split, measure=measure, title=title, scale=scale, styles=styles)
        for split in view.splits
        for measure, title, scale in _MEASURES
    ]
    return Figure(_caption(view), panels)


def _draw_panel(
    view: ReportView, split: str, *, measure: str, title: str, scale: int, styles: Styles
) -> Panel:
    groups = view.groups_on(split)
    sides = [("validation", "-")] if view.many else [("train", "--"), ("validation", "-")]
    lines = []
    for group in groups:
        for side, line in sides:
            look = {**styles[group.title], "linestyle": line, "alpha": 0.55 if side == "train" else 1}
            lines.append(_curve(group, key=f"{side}_{measure}", scale=scale, look=look))
        lines += _ring(group, key=f"validation_{measure}", scale=scale, colour=styles[group.title]["color"])
    entries: list[tuple[str, Look]] = [
        (group.title, {"linestyle": "-", **styles[group.title]}) for group in groups
    ]
    if not view.many:
        entries += [(side, {"linestyle": line, "color": INK}) for side, line in reversed(sides)]
    tiles = fmt.listed([side for side, _ in sides])
    names = ", ".join(group.title for group in groups)
    return epoch_panel(
        fmt.slug(view.with_split(f"curves {measure}", split)),
        view.with_split(title, split),
        lines=lines,
        entries=entries,
        alt=f"{view.with_split('Line chart', split)}: {measure} by epoch on the {tiles} tiles for {names}.",
        synthetic=view.synthetic,
    )


def _caption(view: ReportView) -> str:
    """Return the caption of the figure."""
    tiles = scored_on_each(view, part="validation")
    training = "" if view.many else " Dashed: training, averaged over the epoch."
    sentences = [f"{'On' if view.many else 'Solid: on'} {tiles}.{training}"]
    if any(len(group.runs) > 1 for group in view.groups):
        over = "seeds and folds" if view.folds else "seeds"
        return " ".join([*sentences, f"Mean over {over}."])
    return " ".join([*sentences, "Ring: epoch of the checkpoint that was kept."])


def _curve(group: RunGroup, *, key: str, scale: int, look: Look) -> EpochLine:
    """Return the mean of one measure over the seeds by epoch."""
    histories = [run.finished.history for run in group.runs]
    epochs = [row.epoch for row in max(histories, key=len)]
    values = [
        float(
            np.mean(
                [scale * getattr(row, key) for history in histories for row in history if row.epoch == epoch]
            )
        )
        for epoch in epochs
    ]
    return EpochLine(epochs, values, look)


def _ring(group: RunGroup, *, key: str, scale: int, colour: str) -> list[EpochLine]:
    """Mark the epoch whose checkpoint was kept, for a single run."""
    if len(group.runs) > 1:
        return []
    result = group.runs[0].finished
    return [
        EpochLine([row.epoch], [scale * getattr(row, key)], {**RING, "color": colour})
        for row in result.history
        if row.epoch == result.best_epoch
    ]
