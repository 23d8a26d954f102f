"""Finished maps opened again: tags of other versions, and damaged ones."""

import json

import numpy as np
import pytest
import rasterio

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
