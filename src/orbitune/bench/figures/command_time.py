"""Seconds that a user waits for whole commands of `orbitune`, each in a fresh process."""

import os
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from orbitune.bench.figures.scenes import temporary_bundle
from orbitune.errors import OrbituneError
from orbitune.evaluation.run_result import RunResult
from orbitune.training.evaluate import reopen

_TILES = 200  # in the folder {tiles}, as many of each class


def measure(
    run: str,
    *,
    commands: Sequence[str],
    repeats: int = 5,
    exit_code: int = 0,
    beyond_training: bool = False,
    cpu: bool = False,
) -> dict[str, Any]:
    """Return the median seconds of a command, of several the largest median.

    A first call of each is not counted: it fills caches of files.

    Args:
        run: a finished run.
        commands: words after `orbitune`, in which stand {run}; {bundle}, a bundle of it; {tile}, a PNG of one
            of its test tiles; {tiles}, a folder with 200 of its training tiles; {backbone}, its checkpoint;
            and {out}, a new path for each call.
        repeats: counted calls of each command.
        exit_code: that each call has to end with.
        beyond_training: count neither training nor evaluation of the run that is written to {out}.
        cpu: count CPU seconds of all threads and child processes in place of wall time.

    Raises:
        OrbituneError: a call ended with another exit code.
    """
    with temporary_bundle(run) as folder:
        places = _write_inputs(run, folder)
        taken: dict[str, list[float]] = {command: [] for command in commands}
        for number, command in enumerate(commands):
            for call in range(1 + repeats):
                out = folder / f"out-{number}-{call}"
                seconds = _call(command, {**places, "out": out}, exit_code, cpu=cpu)
                taken[command].append(seconds - (_training_seconds(out) if beyond_training else 0.0))
    counted = {command: each[1:] for command, each in taken.items()}
    return {
        "value": max(statistics.median(each) for each in counted.values()),
        "details": [
            [f"orbitune {command}", ", ".join(f"{one:.2f} s" for one in each)]
            for command, each in counted.items()
        ],
    }


def _write_inputs(run: str, folder: Path) -> dict[str, str | Path]:
    """Write tiles of the run as files, and return what stands for each name in a command."""
    result, setup = reopen(Path(run), progress=False)
    tiles, labels = setup.tiles, setup.tiles.labels
    each = _TILES // len(tiles.classes)
    for label, name in enumerate(tiles.classes):
        place = folder / "tiles" / name
        place.mkdir(parents=True)
        indices = setup.splits["train"][labels[setup.splits["train"]] == label][:each]
        for number, tile in enumerate(tiles.read(indices)):
            Image.fromarray(tile).save(place / f"{number}.png")
    Image.fromarray(tiles.read(setup.splits["test"][:1])[0]).save(folder / "tile.png")
    return {
        "run": run,
        "bundle": folder / "bundle",
        "tile": folder / "tile.png",
        "tiles": folder / "tiles",
        "backbone": result.recipe.backbone,
    }


def _call(command: str, places: dict[str, str | Path], exit_code: int, *, cpu: bool) -> float:
    words = [word.format(**places) for word in shlex.split(command)]
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "orbitune", *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = usage.ru_utime + usage.ru_stime if cpu else time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != exit_code:
        raise OrbituneError(f"orbitune {command} ended with exit code {process.returncode}.")
    return seconds


def _training_seconds(run: Path) -> float:
    cost = RunResult.load(run).cost
    return cost.train_seconds + cost.evaluation_seconds
