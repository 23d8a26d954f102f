"""Finished maps opened again: tags of other versions, and damaged ones."""

import json

import numpy as np
import pyogrio.raw
import pytest
import rasterio
import shapely
from rasterio.shutil import copy

from orbitune.errors import DataError
from orbitune.mapping.areas.class_map import ClassMap

CODES = np.repeat([[1, 2]], 4, 0).repeat(3, 1)


@pytest.fixture
def retag(write_map):
    """Writes a map, and changes the JSON of its tag ORBITUNE."""

    def retag(change):
        path = write_map(CODES)
        with rasterio.open(path, "r+") as file:
            stated = json.loads(file.tags()["ORBITUNE"])
            file.update_tags(ORBITUNE=json.dumps(change(stated)))
        return path

    return retag


def overwrite(path):
    """Overwrite the beginning of the compressed codes of a map."""
    with rasterio.open(path) as file:
        start = int(file.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
    content = path.read_bytes()
    path.write_bytes(content[:start] + b"\xff" * 500 + content[start + 500 :])


def cut_off(path):
    """Cut off a map in the middle of its codes."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [overwrite, cut_off])
def test_a_damaged_map_is_one_line_wherever_it_is_read(orbitune, write_map, tmp_path, damage):
    codes = np.random.default_rng(0).integers(1, 4, (300, 200))
    whole = write_map(codes, "whole.tif")
    copy(write_map(codes, "map.tif"), broken := tmp_path / "broken.tif", driver="COG", compress="deflate")
    zone = shapely.to_wkb([shapely.box(600_000, 5_497_000, 602_000, 5_500_000)])
    zones = tmp_path / "zones.gpkg"
    pyogrio.raw.write(zones, zone, [], [], geometry_type="Polygon", crs="EPSG:32632")
    damage(broken)
    for command in (
        ("map-areas", broken),
        ("map-zones", broken, zones, "-o", tmp_path / "out.csv"),
        ("map-compare", broken, whole),
        ("map-compare", whole, broken),
        ("map-sample", broken, "-o", tmp_path / "out.gpkg"),
    ):
        code, said, error = orbitune(*command)
        assert (code, said, error.count("\n")) == (2, "", 1), command
        assert error.startswith(f"error: {broken} is damaged: ") and "Map the scene again." in error


def without(values, *names):
    return {name: value for name, value in values.items() if name not in names}


def test_tags_without_a_version_or_newer_fields_are_those_of_older_maps(retag):
    absent = ("format", "scale", "quality", "labelled_points")
    opened = ClassMap.open(retag(lambda stated: without(stated, *absent)))
    assert opened.metadata.format == 1 and opened.metadata.model_bands == ("red", "green", "blue")
    assert opened.metadata.scaling.top == 255 and opened.metadata.labelled_points == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda stated: {**stated, "format": 99}, "was written by a newer Orbitune; update it to read this."),
        (lambda stated: without(stated, "model"), "lacks model; it is damaged. Restore it."),
        (lambda stated: {**stated, "stride": "wide"}, "is damaged: stride: "),
        (lambda stated: [stated], "are damaged: map the scene again."),
    ],
)
def test_a_tag_of_a_newer_version_or_a_damaged_one_is_one_line(retag, change, message):
    with pytest.raises(DataError) as refused:
        ClassMap.open(retag(change))
    assert message in str(refused.value) and "map.tif" in str(refused.value)
    assert "\n" not in str(refused.value)
