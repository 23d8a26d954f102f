"""Class names and colours of a map in sidecar files: .aux.xml and .qml.

A TIFF's own colour table always has 256 entries; these list the codes of the map alone.
"""

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from orbitune.files import write_text
from orbitune.mapping.grid import NODATA
from orbitune.mapping.outputs.legend import Colour

# Columns of the raster attribute table: name, and GDAL's numbers of type (GDALRATFieldType: 0 integer,
# 2 string) and usage (GDALRATFieldUsage).
_COLUMNS = (
    ("Value", 0, 5),
    ("Class", 2, 2),
    ("Count", 0, 1),
    ("Red", 0, 6),
    ("Green", 0, 7),
    ("Blue", 0, 8),
    ("Alpha", 0, 9),
)
_QML_HEAD = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"


def write_attribute_table(
    path: Path, names: Mapping[int, str], *, colours: Mapping[int, Colour], counts: np.ndarray
) -> None:
    """Write category names and a raster attribute table to the .aux.xml of a map.

    Args:
        path: the map; `.aux.xml` is appended to its name.
        names: name of each code.
        colours: colour of each code.
        counts: int (256,), number of pixels of each code.
    """
    dataset = ET.Element("PAMDataset")
    band = ET.SubElement(dataset, "PAMRasterBand", band="1")
    categories = ET.SubElement(band, "CategoryNames")
    for code in range(256):  # by position
        ET.SubElement(categories, "Category").text = names.get(code, "")
    table = ET.SubElement(band, "GDALRasterAttributeTable", tableType="thematic")
    for index, (name, kind, usage) in enumerate(_COLUMNS):
        column = ET.SubElement(table, "FieldDefn", index=str(index))
        for tag, value in (("Name", name), ("Type", kind), ("Usage", usage)):
            ET.SubElement(column, tag).text = str(value)
    for index, (code, name) in enumerate(sorted(names.items())):
        row = ET.SubElement(table, "Row", index=str(index))
        for value in (code, name, counts[code], *colours[code], 0 if code == NODATA else 255):
            ET.SubElement(row, "F").text = str(value)
    ET.indent(dataset)
    write_text(path.with_name(f"{path.name}.aux.xml"), ET.tostring(dataset, encoding="unicode") + "\n")


def write_qgis_style(
    path: Path, names: Mapping[int, str], *, colours: Mapping[int, Colour], nodata: int = NODATA
) -> None:
    """Write a .qml beside a map, so that QGIS draws it with paletted values.

    Args:
        path: the map; the style has its name with the ending `.qml`, by which QGIS finds it.
        names: name of each code; nodata, which QGIS does not draw, is left out.
        colours: colour of each code.
        nodata: its code.
    """
    style, renderer = _first_band_style("paletted")
    palette = ET.SubElement(renderer, "colorPalette")
    for code, name in sorted(names.items()):
        if code != nodata:
            colour = _hex(colours[code])
            ET.SubElement(palette, "paletteEntry", value=str(code), label=name, color=colour, alpha="255")
    _write_style(path, style)


def write_qgis_gradient(path: Path, name: str, *, low: Colour, high: Colour) -> None:
    """Write a .qml beside a map of percentages, so that QGIS draws its first band in one colour's shades.

    Without a style QGIS would take the first three bands for red, green and blue.

    Args:
        path: the map, as in `write_qgis_style`.
        name: of the band.
        low, high: colours of 0 and 100.
    """
    style, renderer = _first_band_style("singlebandpseudocolor")
    renderer.attrib |= {"classificationMin": "0", "classificationMax": "100"}
    shader = ET.SubElement(ET.SubElement(renderer, "rastershader"), "colorrampshader")
    shader.attrib |= {"colorRampType": "INTERPOLATED", "minimumValue": "0", "maximumValue": "100"}
    for value, colour in ((0, low), (100, high)):
        item = ET.SubElement(shader, "item", value=str(value), color=_hex(colour), alpha="255")
        item.attrib["label"] = f"{name} {value} %"
    _write_style(path, style)


def _first_band_style(renderer: str) -> tuple[ET.Element, ET.Element]:
    """Return a style, and its renderer of the first band."""
    style = ET.Element("qgis", version="3.16", styleCategories="Symbology")
    pipe = ET.SubElement(style, "pipe")
    drawn = ET.SubElement(
        pipe, "rasterrenderer", type=renderer, band="1", opacity="1", alphaBand="-1", nodataColor=""
    )
    ET.SubElement(drawn, "rasterTransparency")
    ET.SubElement(pipe, "rasterresampler", maxOversampling="2")
    ET.SubElement(style, "blendMode").text = "0"
    return style, drawn


def _write_style(path: Path, style: ET.Element) -> None:
    ET.indent(style)
    text = ET.tostring(style, encoding="unicode")
    write_text(path.with_suffix(".qml"), f"{_QML_HEAD}{text}\n")


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
