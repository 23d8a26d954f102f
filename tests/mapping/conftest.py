"""Scenes made of a model's training tiles, so that their maps are known."""

import os
import signal
import sys
from dataclasses import dataclass
from functools import partial
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
    """Give maps one core: tests run side by side, and a map takes all it may use."""
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
    """Return a function that predicts codes and percentages of tiles (N, 16, 16, 3)."""

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


def draw_map(bundle, scene, folder, **request):
    """Map a scene into a folder, by default with a pixel for each cell."""
    said: list[str] = []
    outputs = {"map": folder / "map.tif", "confidence": folder / "confidence.tif"}
    settings = {"grid": "cells", **request}
    report = map_scene(bundle.folder, scene, outputs=outputs, progress=False, log=said.append, **settings)
    return Drawn(outputs["map"], report, said, *(read_band(path) for path in outputs.values()))


@pytest.fixture
def draw_with(tmp_path):
    return lambda bundle, scene, **request: draw_map(bundle, scene, tmp_path, **request)


@pytest.fixture
def draw(bundle, draw_with):
    return partial(draw_with, bundle)


@pytest.fixture(scope="session")
def scene_codes(bundle, scene, tmp_path_factory):
    """The codes of the map of `scene`, made once."""
    return draw_map(bundle, scene, tmp_path_factory.mktemp("map")).codes


@pytest.fixture
def interrupt(bundle, monkeypatch):
    """Interrupts a map after some parts."""
    from orbitune.mapping.part_store import PartStore

    def interrupt(scenes, out, *, parts, source=bundle.folder, **options):
        write = PartStore.write

        def stop(store, number, labels):
            if number == parts:
                raise KeyboardInterrupt
            write(store, number, labels)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(PartStore, "write", stop)
            map_scene(source, scenes, outputs=out, progress=False, **options)

    return interrupt


@pytest.fixture(scope="session")
def fields(tiles, tmp_path_factory):
    """192 x 192 pixels: one field per class and one more, with little noise."""
    random = np.random.default_rng(1)
    colours = (np.eye(3)[[0, 1, 2, 0]] * 120 + 60).reshape(2, 2, 1, 1, 3)
    pixels = mosaic(np.clip(random.normal(np.broadcast_to(colours, (2, 2, 96, 96, 3)), 32), 0, 254))
    return write_scene(tmp_path_factory.mktemp("fields") / "fields.tif", pixels.astype(np.uint8))


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
