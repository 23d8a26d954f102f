"""Seconds from the start of a training's process until it has reached a validation accuracy."""

import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from orbitune.errors import OrbituneError
from orbitune.evaluation.run_result import read_recipe
from orbitune.files import scratch
from orbitune.recipe import Recipe

_POLL_SECONDS = 0.05


def measure(
    run: str, *, accuracy: float, seeds: int = 5, recipe: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the median of the seconds over seeds; a training that never reaches it counts as infinite.

    The clock starts with the process and stops when the log has an epoch of that accuracy. Tiles are already
    decoded.

    Args:
        run: a finished run, whose recipe is trained anew.
        accuracy: accuracy to reach on the validation split, 0..1.
        seeds: number of trainings, of seeds from 0.
        recipe: settings that replace those of the run.

    Raises:
        OrbituneError: the median training does not reach it.
    """
    changed = read_recipe(Path(run)).replace(**(recipe or {}))
    seconds = [_seconds_until(changed.replace(seed=seed), accuracy) for seed in range(seeds)]
    value = statistics.median_low(seconds)
    if math.isinf(value):
        raise OrbituneError(f"The median of {seeds} trainings does not reach {accuracy:.1%}: train longer.")
    each = ", ".join("not reached" if math.isinf(one) else f"{one:.0f} s" for one in seconds)
    settings = ", ".join(f"{name} {setting}" for name, setting in (recipe or {}).items())
    return {
        "value": value,
        "details": [["seeds", each], ["changed settings", settings or "none"]],
    }


def _seconds_until(recipe: Recipe, accuracy: float) -> float:
    """Train in a process of its own until an epoch has the accuracy; infinity if none has."""
    with scratch() as folder:
        recipe.save(folder / "recipe.yaml")
        command = ["train", "--recipe", str(folder / "recipe.yaml"), "--out", str(folder / "run"), "--quiet"]
        start = time.monotonic()
        process = subprocess.Popen([sys.executable, "-m", "orbitune", *command], stdout=subprocess.DEVNULL)
        try:
            while process.poll() is None:
                if _best_accuracy(folder / "run" / "log.jsonl") >= accuracy:
                    return time.monotonic() - start
                time.sleep(_POLL_SECONDS)
        finally:
            process.kill()
            process.wait()
        if process.returncode:
            raise OrbituneError(f"The training with seed {recipe.seed} failed; its message is above.")
        return math.inf


def _best_accuracy(log: Path) -> float:
    """Return the highest validation accuracy that a log has so far; 0 without one."""
    lines = log.read_text().splitlines() if log.is_file() else []
    return max((json.loads(line)["validation_accuracy"] for line in lines), default=0.0)
