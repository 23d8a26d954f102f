"""Training curves of a run, with the epoch whose weights were kept."""

from orbitune.evaluation.run_result import RunResult
from orbitune.reporting.components import Figure, Panel
from orbitune.reporting.drawing import Look
from orbitune.reporting.epochs import RING, EpochLine, epoch_panel
from orbitune.reporting.run_sentences import criterion_title
from orbitune.reporting.views.score_view import COLOUR

_MEASURES = (
    ("loss", "Loss, nats", 1),
    ("accuracy", "Accuracy, %", 100),
    ("map", "Mean average precision, %", 100),
    ("micro_f1", "Micro-F1, %", 100),
    ("macro_f1", "Macro-F1, %", 100),
)
_SIDES: tuple[tuple[str, Look], ...] = (
    ("train", {"color": "#5c6b7a", "linestyle": "--", "marker": "s", "markersize": 4}),
    ("validation", {"color": COLOUR, "linestyle": "-", "marker": "o"}),
)


def curve_figure(result: RunResult) -> Figure:
    """Draw loss, accuracy and macro-F1 by epoch, as far as they were measured."""
    panels = [
        panel
        for measure, title, scale in _MEASURES
        if (panel := _draw_panel(result, measure, title=title, scale=scale))
    ]
    caption = (
        f"Solid: the {result.data.sizes['validation']:,} validation tiles of the {result.split_name}. "
        f"Dashed: training, averaged over the epoch. Ring: epoch {result.best_epoch}, "
        f"with the best validation {criterion_title(result.recipe)}, whose weights were kept."
    )
    return Figure(caption, panels)


def _draw_panel(result: RunResult, measure: str, *, title: str, scale: int) -> Panel | None:
    """Draw one measure; None where no epoch has it."""
    lines, entries = [], []
    for side, look in _SIDES:
        points = [
            (row.epoch, scale * value)
            for row in result.history
            if (value := getattr(row, f"{side}_{measure}", None)) is not None
        ]
        if points:
            epochs, values = zip(*points, strict=True)
            lines.append(EpochLine(epochs, values, look))
            entries.append((side, look))
    kept = [row for row in result.history if row.epoch == result.best_epoch]
    lines += [
        EpochLine([row.epoch], [scale * value], {**RING, "color": COLOUR})
        for row in kept
        if (value := getattr(row, f"validation_{measure}")) is not None
    ]
    if not lines:
        return None
    return epoch_panel(
        f"curves-{measure}".replace("_", "-"),
        title,
        lines=lines,
        entries=entries,
        alt=f"Line chart: {title} by epoch; epoch {result.best_epoch} was kept.",
        synthetic=bool(result.data.synthetic),
    )
