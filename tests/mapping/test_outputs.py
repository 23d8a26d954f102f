"""The table of outputs: each entry can be written and has an option."""

from pathlib import Path

import pytest

from orbitune.errors import DataError
from orbitune.mapping.outputs.table import OUTPUTS, MapOutput, resolve_paths


def test_every_output_is_written(scene, tmp_path, bundle):
    from orbitune import map_scene

    paths = {
        name: tmp_path / output.filename for name, output in OUTPUTS.items() if "single-label" in output.tasks
    }
    map_scene(bundle.folder, str(scene), outputs=paths, progress=False)
    assert all(path.stat().st_size for path in paths.values())


def test_every_output_but_the_map_is_an_option(orbitune):
    code, out, _ = orbitune("map", "--help")
    assert code == 0
    assert all(f"--{name}" in out for name in OUTPUTS if name != "map")


def test_a_new_entry_is_written_by_its_name(scene, monkeypatch, tmp_path, bundle):
    from orbitune import map_scene

    monkeypatch.setitem(OUTPUTS, "again", MapOutput("again", "again.tif", "", OUTPUTS["map"].write))
    outputs = {"map": str(tmp_path / "m.tif"), "again": str(tmp_path / "a.tif")}
    map_scene(bundle.folder, str(scene), outputs=outputs, progress=False)
    assert (tmp_path / "m.tif").read_bytes() == (tmp_path / "a.tif").read_bytes()


def test_paths_are_by_name_in_the_order_of_the_table():
    assert resolve_paths("m.tif") == {"map": Path("m.tif")}
    paths = resolve_paths({"polygons": "p.gpkg", "map": "m.tif"})
    assert list(paths.items()) == [("map", Path("m.tif")), ("polygons", Path("p.gpkg"))]


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (
            {"map": "m.tif", "relief": "r.tif"},
            "Unknown output 'relief'\\. Did you mean preview\\? Choose from: map, ",
        ),
        ({}, "path of the map"),
    ],
)
def test_unknown_or_missing_outputs_are_one_line(outputs, message):
    with pytest.raises(DataError, match=message):
        resolve_paths(outputs)
