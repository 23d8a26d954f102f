"""A training in a process of its own whose epochs are timed from the start of the process."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orbitune.cache import ACTIVATIONS, cache_dir
from orbitune.errors import OrbituneError
from orbitune.evaluation.run_result import RunResult, read_recipe
from orbitune.files import scratch
from orbitune.recipe import Recipe

_POLL_SECONDS = 0.05


def seeded_recipes(run: str, *, seeds: int, changes: dict[str, Any]) -> list[Recipe]:
    """Return the recipe of a run with some settings changed, once for each seed from 0."""
    changed = read_recipe(Path(run)).replace(**changes)
    return [changed.replace(seed=seed) for seed in range(seeds)]


def describe_changes(changes: dict[str, Any]) -> list[str]:
    """Return the changed settings as a row of a figure's details."""
    settings = (f"{name} {setting}" for name, setting in changes.items())
    return ["changed settings", ", ".join(settings) or "none"]


def watch_epochs(recipe: Recipe) -> Iterator[tuple[float, float]]:
    """Train, and yield after each epoch the seconds since the process started and the best accuracy so far.

    The accuracy is that of the validation split, 0..1. The training ends where the caller stops reading.

    Raises:
        OrbituneError: the training failed.
    """
    with scratch() as folder, _training(recipe, folder) as process:
        start, log, read = time.monotonic(), folder / "run" / "log.jsonl", 0
        while True:
            running = process.poll() is None
            scores = _scores(log)
            if len(scores) > read:
                read = len(scores)
                yield time.monotonic() - start, max(scores)
            elif not running:
                break
            time.sleep(_POLL_SECONDS)
        _check_end(process, recipe)


def time_training(recipe: Recipe) -> tuple[RunResult, float]:
    """Train, and return the result and the seconds from the start of the process to its end.

    Raises:
        OrbituneError: the training failed.
    """
    with scratch() as folder, _training(recipe, folder) as process:
        start = time.monotonic()
        process.wait()
        seconds = time.monotonic() - start
        _check_end(process, recipe)
        return RunResult.load(folder / "run"), seconds


def _check_end(process: subprocess.Popen[bytes], recipe: Recipe) -> None:
    if process.returncode:
        raise OrbituneError(f"The training with seed {recipe.seed} failed; its message is above.")


@contextmanager
def _training(recipe: Recipe, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a training in folder/run; it is ended at the latest with the block."""
    recipe.save(folder / "recipe.yaml")
    command = ["train", "--recipe", str(folder / "recipe.yaml"), "--out", str(folder / "run"), "--quiet"]
    process = subprocess.Popen(
        [sys.executable, "-m", "orbitune", *command],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "ORBITUNE_CACHE": str(_cache_without_activations(folder))},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _cache_without_activations(folder: Path) -> Path:
    """Link the cache in a folder, so that each training pays for its own cached activations."""
    own, shared = folder / "cache", cache_dir()
    own.mkdir(mode=0o700)
    for each in shared.iterdir() if shared.is_dir() else ():
        if each.name != ACTIVATIONS:
            (own / each.name).symlink_to(each.absolute())
    return own


def _scores(log: Path) -> list[float]:
    """Return the validation accuracies that a log has so far."""
    lines = log.read_text().splitlines() if log.is_file() else []
    return [json.loads(line)["validation_accuracy"] for line in lines]
