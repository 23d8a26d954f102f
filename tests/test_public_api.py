"""Public names of the package, their examples, and what importing them loads."""

import doctest
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scenes import label_cells, mosaic, write_scene
from study_tasks import ForkedExecutor

import orbitune
from orbitune.study.runner import EXECUTORS
from orbitune.training.callbacks import Callback

WITHOUT_EXAMPLE = {"__version__", "OrbituneError", "Recipe"}
WITH_EXAMPLE = [
    pytest.param(name, marks=pytest.mark.slow if name == "Study" else ())
    for name in sorted({*orbitune.__all__} - WITHOUT_EXAMPLE)
]


@pytest.fixture
def example_folder(run, bundle, tiles, tmp_path, monkeypatch):
    """A working directory with tiles, a run, a bundle, a scene and a hub."""
    (tmp_path / "tiles").symlink_to(tiles)
    (tmp_path / "bundle").symlink_to(bundle.folder)
    shutil.copytree(run, tmp_path / "runs" / "lora")
    some = [np.asarray(Image.open(path)) for path in sorted(tiles.rglob("*.png"))[::20]]
    write_scene(tmp_path / "scene.tif", mosaic(np.stack(some).reshape(2, 3, *some[0].shape)))
    label_cells(tmp_path / "labels.gpkg", rows=2, columns=3)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", lambda *args, **more: None)
    commit = type("Commit", (), {"commit_url": "https://huggingface.co/owner/name/commit/1"})
    monkeypatch.setattr("huggingface_hub.HfApi.upload_folder", lambda *args, **more: commit)
    return tmp_path


def make_maps():
    """Write the maps and polygons that examples name, of the scene there."""
    import pyogrio.raw
    import shapely

    for name in ("before.tif", "landcover.tif"):
        orbitune.map_scene("bundle", "scene.tif", outputs=name, grid="cells", progress=False)
    box = shapely.to_wkb([shapely.box(600_000, 5_499_800, 600_200, 5_500_000)])
    field = {"field_data": [np.array([1])], "fields": ["id"]}
    pyogrio.raw.write("fields.gpkg", box, **field, geometry_type="Polygon", crs="EPSG:32632")


def first_tiles(folder):
    """Three tiles of a folder, uint8 (3, H, W, 3)."""
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.rglob("*.png"))[:3]])


def examples_of(value):
    return doctest.DocTestParser().get_examples(value.__doc__ or "")


def run_examples(value, backbone, **names):
    """Run a docstring's examples with another backbone than the one named."""
    for example in examples_of(value):
        source = example.source.replace('"demo"', repr(str(backbone)))
        exec(compile(source, "<example>", "single"), names)
    return names


def test_every_public_name_is_listed_and_documented():
    assert dir(orbitune) == sorted(orbitune.__all__)
    for name in orbitune.__all__:
        if name != "__version__":
            assert getattr(orbitune, name).__doc__
    assert orbitune.__version__.count(".") == 2
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        orbitune.nothing  # noqa: B018


def test_the_example_of_the_package_runs(example_folder, tiles):
    (example_folder / "bundle").unlink()
    shutil.rmtree(example_folder / "runs")
    names = run_examples(orbitune, tiles.parent / "backbone", tiles=first_tiles(tiles))
    assert names["probabilities"].shape == (3, 3)


@pytest.mark.parametrize("name", WITH_EXAMPLE)
def test_the_example_of_a_docstring_runs(example_folder, tiles, monkeypatch, name):
    monkeypatch.setitem(EXECUTORS, "local", lambda *_, **settings: ForkedExecutor())
    assert examples_of(getattr(orbitune, name))
    if "landcover.tif" in getattr(orbitune, name).__doc__:
        make_maps()
    run_examples(getattr(orbitune, name), tiles.parent / "backbone", tiles=first_tiles(tiles))


def test_the_example_of_a_callback_runs(example_folder, tiles, capsys):
    run_examples(Callback, tiles.parent / "backbone", Callback=Callback)
    assert capsys.readouterr().out.startswith("1 0.")


# Prediction from a bundle must work where these extras are not installed. PEFT and transformers import
# accelerate and scipy themselves where they are installed, so only imports by Orbitune are counted there.
PREDICT = """
import builtins, json, sys
for name in ("datasets", "matplotlib", "sklearn", "pandas"):
    sys.modules[name] = None
plain, by_us = builtins.__import__, set()

def watch(name, globals=None, *args, **more):
    if (globals or {}).get("__name__", "").startswith("orbitune"):
        by_us.add(name.partition(".")[0])
    return plain(name, globals, *args, **more)

builtins.__import__ = watch
from orbitune import Classifier
(prediction,) = Classifier.from_pretrained(sys.argv[1]).predict(sys.argv[2])
training = [name for name in sys.modules if name.startswith(("orbitune.training", "orbitune.study"))]
print(json.dumps([prediction.error, sorted(by_us & {"accelerate", "scipy", "jinja2"}), training]))
"""


@pytest.mark.slow
def test_prediction_imports_nothing_of_the_extras(bundle, tiles):
    tile = next(tiles.rglob("*.png"))
    done = subprocess.run(
        [sys.executable, "-c", PREDICT, bundle.folder, tile], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[null, [], []]"
