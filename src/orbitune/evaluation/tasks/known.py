"""The tasks by name."""

from dataclasses import replace

import numpy as np

from orbitune.data.tileset import TileSet
from orbitune.errors import DataError, printable
from orbitune.evaluation.tasks.multi_label import MultiLabel
from orbitune.evaluation.tasks.single_label import SingleLabel
from orbitune.evaluation.tasks.task import Task
from orbitune.recipe_settings import TaskName

TASKS: dict[TaskName, Task] = {task.name: task for task in (SingleLabel(), MultiLabel())}


def find_task(name: TaskName | None) -> Task:
    """Return a task by its name; None is that of versions that knew one label a tile only."""
    return TASKS[name or "single-label"]


def task_of(tiles: TileSet, asked: TaskName | None = None) -> tuple[Task, TileSet]:
    """Return the task of some tiles, and the tiles with labels of its form.

    Args:
        tiles: labelled tiles.
        asked: the task to have; None for the one that the labels state.

    Raises:
        DataError: one label a tile is asked for, and some have several or none.
    """
    stated: TaskName = "multi-label" if tiles.multi_label else "single-label"
    if asked == "single-label" and tiles.multi_label:
        others = np.flatnonzero(tiles.labels.sum(1) != 1)
        such = f", such as {printable(tiles.names[others[0]])}" if len(others) else ""
        raise DataError(
            f"The labels of the data are lists, and {len(others):,} of {len(tiles.names):,} tiles have not "
            f"exactly one label{such}: choose task multi-label, or give each tile one label."
        )
    if asked == "multi-label" and not tiles.multi_label:
        tiles = replace(tiles, labels=tiles.membership.astype(np.uint8))
    return TASKS[asked or stated], tiles
