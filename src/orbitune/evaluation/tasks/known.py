"""The tasks by name."""

from orbitune.data.tileset import TileSet
from orbitune.errors import RunError
from orbitune.evaluation.tasks.multi_label import MultiLabel
from orbitune.evaluation.tasks.single_label import SingleLabel
from orbitune.evaluation.tasks.task import Task
from orbitune.recipe_settings import TaskName

TASKS: dict[TaskName, Task] = {task.name: task for task in (SingleLabel(), MultiLabel())}


def find_task(name: TaskName | None) -> Task:
    """Return a task by its name; None is that of versions that knew one label a tile only."""
    return TASKS[name or "single-label"]


def task_of(tiles: TileSet) -> Task:
    """Return the task of the labels of some tiles."""
    return TASKS["multi-label" if tiles.multi_label else "single-label"]


def require_single_label(task: TaskName | None, feature: str, *, name: str) -> None:
    """Check that a model gives a tile one label.

    Args:
        task: of the model.
        feature: what needs it, as the subject of the message, in the plural.
        name: of the model.

    Raises:
        RunError: it gives several.
    """
    if find_task(task).name != "single-label":
        raise RunError(f"{feature} know one label a tile, and {name} has several.")
