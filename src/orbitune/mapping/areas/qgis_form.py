"""QGIS form of points to label: a list of classes in the field of the truth."""

import sqlite3
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

# The table in which QGIS keeps the styles of a GeoPackage.
_TABLE = """CREATE TABLE layer_styles (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256), f_table_schema TEXT(256),
    f_table_name TEXT(256), f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT, styleSLD TEXT,
    useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30),
    update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')))"""
_CONTENT = (
    "INSERT INTO gpkg_contents (table_name, data_type, identifier) "
    "VALUES ('layer_styles', 'attributes', 'layer_styles')"
)
_STYLE = (
    "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, "
    "styleQML, styleSLD, useAsDefault, description, owner) "
    "VALUES ('', '', ?, 'geom', 'labels', ?, '', 1, '', '')"
)


def add_label_form(file: Path, layer: str, *, field: str, classes: list[str]) -> None:
    """Store a default style in a GeoPackage, with a value map for a field.

    Args:
        file: GeoPackage.
        layer: its layer of points.
        field: the text field to label.
        classes: the values to choose from.

    Raises:
        OSError: it cannot be written.
    """
    try:
        with closing(sqlite3.connect(file)) as database, database:
            database.execute(_TABLE)
            database.execute(_CONTENT)
            database.execute(_STYLE, (layer, _style(field, classes)))
    except sqlite3.Error as error:
        raise OSError(str(error)) from None


def _style(field: str, classes: list[str]) -> str:
    """Return the QML with a ValueMap widget, a list of maps from label to value."""
    root = ElementTree.Element("qgis", styleCategories="Fields|Forms")
    configuration = ElementTree.SubElement(root, "fieldConfiguration")
    widget = ElementTree.SubElement(
        ElementTree.SubElement(configuration, "field", name=field), "editWidget", type="ValueMap"
    )
    options = ElementTree.SubElement(ElementTree.SubElement(widget, "config"), "Option", type="Map")
    choices = ElementTree.SubElement(options, "Option", name="map", type="List")
    for name in classes:
        choice = ElementTree.SubElement(choices, "Option", type="Map")
        ElementTree.SubElement(choice, "Option", name=name, value=name, type="QString")
    return "<!DOCTYPE qgis>\n" + ElementTree.tostring(root, encoding="unicode")
