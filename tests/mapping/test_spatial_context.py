"""Class probabilities averaged with those of similar cells around."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from scenes import mosaic, write_scene

from orbitune.mapping.dense_fit import fit_dense_head
from orbitune.mapping.grid import CellGrid
from orbitune.mapping.map_plan import plan_map
from orbitune.mapping.options import MapOptions
from orbitune.mapping.spatial_context import SpatialContext
from orbitune.mapping.worker import Worker
from orbitune.models.checkpoint_io import write_metadata

AROUND = SpatialContext(steps=1, spacing=1)


def field(probabilities, rows=5, columns=5):
    return np.tile(np.array(probabilities, np.float32), (rows, columns, 1))


@pytest.mark.parametrize(
    ("stride", "window", "steps", "spacing"),
    [(16, 16, 2, 1), (8, 16, 2, 2), (32, 32, 1, 1), (16, 32, 1, 2), (64, 64, 0, 1), (16, 64, 0, 4)],
)
def test_the_windows_that_count_lie_in_a_training_tile(stride, window, steps, spacing):
    found = SpatialContext.within_tile(CellGrid(640, 640, stride, window), side=64)
    assert found == SpatialContext(steps, spacing) and found.reach == steps * spacing


def test_a_cell_that_its_neighbours_nearly_agree_with_takes_their_class():
    probabilities = field((0.7, 0.3))
    probabilities[2, 2] = (0.48, 0.52)
    found = AROUND.average(probabilities)
    assert found[2, 2].argmax() == 0 and found[2, 2].sum() == pytest.approx(1)
    assert np.allclose(found[0, 0], (0.7, 0.3))  # cells beyond the edge do not count


def test_a_cell_that_differs_clearly_keeps_its_class():
    probabilities = field((0.98, 0.01, 0.01))
    probabilities[2] = (0.02, 0.96, 0.02)  # a river of one cell
    found = AROUND.average(probabilities)
    assert (found[2].argmax(-1) == 1).all() and (found[2, :, 1] > 0.7).all()
    assert (found[:2].argmax(-1) == 0).all()


def test_a_cell_that_does_not_count_has_no_influence_and_no_class():
    probabilities = field((0.7, 0.3))
    probabilities[2, 2] = 0
    found = AROUND.average(probabilities)
    assert (found[2, 2] == 0).all()
    assert np.allclose(found[1, 1], (0.7, 0.3))


def test_neighbours_are_a_window_apart():
    probabilities = field((0.6, 0.4), 9, 9)
    probabilities[4, 3] = (0.1, 0.9)  # within the window of the cell in the middle
    probabilities[1, 1] = (0.1, 0.9)
    found = SpatialContext(steps=1, spacing=3).average(probabilities)
    assert 0.4 < found[4, 4, 1] < 0.5
    probabilities[1, 1] = (0.6, 0.4)
    assert SpatialContext(steps=1, spacing=3).average(probabilities)[4, 4, 1] == pytest.approx(0.4)


@pytest.fixture(scope="module")
def window_bundle(bundle, tmp_path_factory):
    """Return the folder of a bundle whose training showed windows of 4 pixels, a quarter of a tile."""
    folder = shutil.copytree(bundle.folder, tmp_path_factory.mktemp("windows") / "bundle")
    data = bundle.metadata.data.model_copy(update={"window": 4})
    write_metadata(folder, bundle.metadata.model_copy(update={"data": data}))
    return folder


@pytest.fixture
def labelled(window_bundle, grid, tmp_path):
    """Return a function that labels a scene in parts of some rows, uint8 (3, 20, 24)."""
    scene = write_scene(tmp_path / "scene.tif", mosaic(grid))

    def labelled(rows, **options):
        settings = MapOptions(stride=4, **options)
        spec = plan_map(window_bundle, [scene], paths={"map": tmp_path / "map.tif"}, options=settings).spec
        worker = Worker(replace(spec, rows=rows))
        if options["mode"] == "dense":
            worker.use_dense_head(fit_dense_head(worker))
        parts = [worker.label(number, worker.read_part(number)) for number in range(worker.spec.parts)]
        worker.close()
        return np.concatenate(parts, 1)

    return labelled


def test_parts_show_no_seams(labelled):
    whole = labelled(20, mode="tiles", not_sure=False)
    parts = labelled(3, mode="tiles", not_sure=False)
    assert whole.shape == parts.shape == (3, 20, 24)
    assert np.mean(whole[0] != parts[0]) < 0.01  # other batches may differ in the last bits
    assert np.abs(whole[1].astype(int) - parts[1]).max() <= 1


@pytest.mark.parametrize("mode", ["tiles", "dense"])
def test_the_same_map_is_made_again(labelled, mode):
    assert np.array_equal(labelled(10, mode=mode), labelled(10, mode=mode))
