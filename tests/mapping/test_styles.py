"""What QGIS and GDAL read beside a map: names and colours of its codes."""

import ctypes
import json
import os
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import rasterio
from scenes import read_band

from orbitune.mapping.outputs.legend import class_colours

SYSTEM_PYTHON = Path("/usr/bin/python3")
IN_QGIS = """
import json, os, sys
from qgis.core import QgsApplication, QgsRasterLayer
app = QgsApplication([], False)
app.initQgis()
layer = QgsRasterLayer(sys.argv[1], "map")
renderer = layer.renderer()
entries = [[int(each.value), each.label, each.color.name()] for each in renderer.classes()]
print(json.dumps({"valid": layer.isValid(), "type": renderer.type(), "entries": entries}), flush=True)
os._exit(0)  # what QGIS takes down at its exit, Python has still references to
"""


@pytest.fixture
def written(draw, scene):
    return draw(scene, grid="scene")


def expected(drawn):
    """Code, name and colour of each class and of *not sure*."""
    classes = drawn.report.metadata.classes
    names = {0: "no data", **dict(enumerate(classes, 1)), 255: "not sure"}
    return [(code, names[code], colour) for code, colour in sorted(class_colours(classes).items())]


def test_the_style_lists_each_class_and_not_sure_with_name_and_colour(written):
    text = written.path.with_suffix(".qml").read_text()
    assert text.startswith("<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>")
    renderer = ET.fromstring(text).find("pipe/rasterrenderer")
    assert (renderer.get("type"), renderer.get("band")) == ("paletted", "1")
    entries = [
        (int(each.get("value")), each.get("label"), tuple(bytes.fromhex(each.get("color")[1:])))
        for each in renderer.find("colorPalette")
    ]
    assert entries == expected(written)[1:]  # QGIS does not draw nodata


def test_qgis_draws_a_map_by_its_style(written):
    """QGIS itself, where Debian's python3-qgis is installed."""
    ask = [SYSTEM_PYTHON, "-c", "import qgis"]
    if not SYSTEM_PYTHON.exists() or subprocess.run(ask, capture_output=True).returncode:
        pytest.skip("needs Debian's python3-qgis")
    environment = {"QT_QPA_PLATFORM": "offscreen", "HOME": str(written.path.parent)}
    command = [SYSTEM_PYTHON, "-c", IN_QGIS, written.path]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=True)
    layer = json.loads(done.stdout.splitlines()[-1])
    assert layer["valid"] and layer["type"] == "paletted"
    assert layer["entries"] == [
        [code, name, "#{:02x}{:02x}{:02x}".format(*colour)] for code, name, colour in expected(written)[1:]
    ]


def test_the_colour_table_has_colours_for_the_codes_of_the_map_alone(written):
    with rasterio.open(written.path) as file:
        colormap = file.colormap(1)
    codes = {code: (*colour, 255) for code, _, colour in expected(written)[1:]}
    assert {code: colour for code, colour in colormap.items() if colour[:3] != (0, 0, 0)} == codes
    assert colormap[0] == (0, 0, 0, 0)


def test_gdal_reads_the_attribute_table(written):
    """By GDAL's own functions, from the library that rasterio brings."""
    libraries = sorted(Path(rasterio.__file__).parent.parent.glob("rasterio.libs/libgdal*"))
    if not libraries:
        pytest.skip("needs a wheel of rasterio with GDAL inside")
    gdal = ctypes.CDLL(str(libraries[0]))
    for name in ("GDALOpen", "GDALGetRasterBand", "GDALGetDefaultRAT"):
        getattr(gdal, name).restype = ctypes.c_void_p
    gdal.GDALRATGetValueAsString.restype = gdal.GDALRATGetNameOfCol.restype = ctypes.c_char_p
    dataset = ctypes.c_void_p(gdal.GDALOpen(os.fsencode(written.path), 0))
    table = ctypes.c_void_p(gdal.GDALGetDefaultRAT(ctypes.c_void_p(gdal.GDALGetRasterBand(dataset, 1))))
    columns = range(gdal.GDALRATGetColumnCount(table))
    usages = [gdal.GDALRATGetUsageOfCol(table, column) for column in columns]
    rows = [
        [gdal.GDALRATGetValueAsString(table, row, column).decode() for column in columns]
        for row in range(gdal.GDALRATGetRowCount(table))
    ]
    gdal.GDALClose(dataset)
    assert usages == [5, 2, 1, 6, 7, 8, 9]  # value, name, count, red, green, blue, alpha
    counts = np.bincount(read_band(written.path).ravel(), minlength=256)
    assert rows == [
        [str(code), name, str(counts[code]), *map(str, colour), "0" if code == 0 else "255"]
        for code, name, colour in expected(written)
    ]


def test_the_files_of_a_map_have_the_mode_of_the_umask(draw, scene, tmp_path):
    before = os.umask(0o027)
    try:
        draw(scene)
    finally:
        os.umask(before)
    made = [path for path in tmp_path.iterdir() if path.is_file()]
    assert {path.suffix for path in made} == {".tif", ".xml", ".qml"}
    assert {path.stat().st_mode & 0o777 for path in made} == {0o640}
