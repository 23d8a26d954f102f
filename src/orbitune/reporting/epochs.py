"""Scores by epoch as a panel."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orbitune.reporting.components import Panel
from orbitune.reporting.drawing import HALF_WIDTH, Look, legend, new_figure, to_panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RING: Look = {"marker": "o", "markersize": 11, "markerfacecolor": "none", "linestyle": "none"}
"""Look of the mark around the epoch whose weights were kept."""


@dataclass(frozen=True)
class EpochLine:
    """Values of some epochs, from 1, and how they are drawn."""

    epochs: Sequence[int]
    values: Sequence[float]
    look: Look


def epoch_panel(
    name: str,
    title: str,
    *,
    lines: Sequence[EpochLine],
    entries: Sequence[tuple[str, Look]],
    alt: str,
    synthetic: bool,
) -> Panel:
    """Draw lines by epoch.

    Args:
        name: of the panel, unique in the report.
        title: of the axes.
        lines: in the order in which they are drawn.
        entries: label and look of each entry of the legend.
        alt: text alternative.
        synthetic: whether the tiles are synthetic.
    """
    figure, axes = new_figure(title, width=HALF_WIDTH, height=340, synthetic=synthetic)
    for line in lines:
        axes.plot(line.epochs, line.values, **line.look)
    _epoch_axis(axes, max(max(line.epochs) for line in lines))
    legend(figure, entries, width=HALF_WIDTH)
    return to_panel(figure, name, alt=alt, width=HALF_WIDTH)


def _epoch_axis(axes: "Axes", epochs: int) -> None:
    """Label the epochs."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    axes.set_xlim(0.7, epochs + 0.3)
