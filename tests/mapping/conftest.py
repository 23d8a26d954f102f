"""Scenes made of a model's training tiles, so that their maps are known."""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scenes import mosaic, read_band, write_scene

from orbitune import Classifier
from orbitune.cli.main import main
from orbitune.mapping.grid import NOT_SURE
from orbitune.mapping.map_report import MapReport
from orbitune.mapping.pipeline import map_scene

pytest.importorskip("rasterio", reason="needs the extra geo")

ROWS, COLUMNS = 5, 6


@pytest.fixture(autouse=True, scope="module")
def one_core():
    """Tests run side by side: a map takes all cores it may use, and here these are one."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(before)[os.getpid() % len(before)]})
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture(scope="session")
def grid(tiles):
    """uint8 (5, 6, 16, 16, 3): training tiles, the classes mixed."""
    files = sorted(tiles.rglob("*.png"))
    chosen = np.random.default_rng(0).permutation(len(files))[: ROWS * COLUMNS]
    return np.stack([np.asarray(Image.open(files[n])) for n in chosen]).reshape(ROWS, COLUMNS, 16, 16, 3)


@pytest.fixture(scope="session")
def classifier(bundle):
    return Classifier.from_pretrained(bundle.folder)


@pytest.fixture(scope="session")
def ask(classifier):
    """Return a function that predicts map codes and confidence in percent of tiles (N, 16, 16, 3)."""

    def ask(tiles):
        rows = list(classifier.predict(list(tiles)))
        codes = [1 + classifier.classes.index(row.labels[0][0]) if row.sure else NOT_SURE for row in rows]
        percent = [100 * row.labels[0][1] if row.sure else 0 for row in rows]
        return np.array(codes), np.array(percent)

    return ask


@pytest.fixture(scope="session")
def scene(grid, tmp_path_factory):
    """80 x 96 pixels of 10 m, uint8."""
    return write_scene(tmp_path_factory.mktemp("scene") / "scene.tif", mosaic(grid), compress="deflate")


@dataclass
class Drawn:
    """A map and its messages; codes and confidence have a pixel for each cell."""

    path: Path
    report: MapReport
    said: list[str]
    codes: np.ndarray
    confidence: np.ndarray


@pytest.fixture
def draw(bundle, tmp_path):
    def draw(scene, **request):
        """Map a scene, by default with a pixel for each cell."""
        said: list[str] = []
        outputs = {"map": tmp_path / "map.tif", "confidence": tmp_path / "confidence.tif"}
        settings = {"grid": "cells", **request}
        report = map_scene(bundle.folder, scene, outputs=outputs, progress=False, log=said.append, **settings)
        return Drawn(outputs["map"], report, said, *(read_band(path) for path in outputs.values()))

    return draw


@pytest.fixture
def orbitune(monkeypatch, capsys):
    """Runs the command line in this process: exit code, stdout and stderr."""
    handler = signal.getsignal(signal.SIGINT)

    def orbitune(*arguments):
        monkeypatch.setattr(sys, "argv", ["orbitune", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capsys.readouterr()

    yield orbitune
    signal.signal(signal.SIGINT, handler)
