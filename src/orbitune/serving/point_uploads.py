"""Copies of uploaded reference points (GeoPackage) that are safe to read."""

import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from orbitune.errors import DataError

MAX_POINTS_BYTES = 20 * 2**20  # 60 points with their index take 0.1 MB
_SECONDS = 10  # to copy them
_STEPS = 1000  # of SQLite's virtual machine between two looks at the clock
# The index of geometries, as GDAL makes it. Its name may hold anything but the quote.
_RTREE = re.compile(r'create virtual table "(?:[^"]|"")*" using rtree\([\w", ]*\)')


def copy_points(path: Path, out: Path) -> None:
    """Copy a GeoPackage of plain tables, so that reading the copy is bounded.

    A GeoPackage is an SQLite database. Views, generated columns and virtual tables run what their author
    wrote, and damaged pages and a stored number of features can claim rows without end. The copy has none of
    them.

    Args:
        path: the upload.
        out: the copy, a new file.

    Raises:
        DataError: not a GeoPackage, damaged, too large, or with other than plain tables.
    """
    if path.stat().st_size > MAX_POINTS_BYTES:
        size, limit = path.stat().st_size / 1e6, MAX_POINTS_BYTES / 1e6
        raise DataError(
            f"{path.name} has {size:.1f} MB, at most {limit:.1f} are taken: keep the points alone."
        )
    deadline = time.monotonic() + _SECONDS

    def is_too_much() -> bool:
        return time.monotonic() > deadline or (out.exists() and out.stat().st_size > 2 * MAX_POINTS_BYTES)

    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as source:
            source.set_progress_handler(is_too_much, _STEPS)
            _check_tables(source, path.name)
            source.execute("VACUUM INTO ?", (str(out),))
        with closing(sqlite3.connect(out, isolation_level=None)) as copy:
            if copy.execute("SELECT 1 FROM sqlite_master WHERE name = 'gpkg_ogr_contents'").fetchone():
                copy.execute("DELETE FROM gpkg_ogr_contents")  # stored counts; GDAL then counts itself
    except sqlite3.Error:
        raise DataError(f"{path.name} is not a GeoPackage, or is damaged.") from None


def _check_tables(database: sqlite3.Connection, name: str) -> None:
    """Check that a database is a GeoPackage that runs nothing when it is read.

    Raises:
        DataError: it is not.
    """
    (application,) = database.execute("PRAGMA application_id").fetchone()
    if application.to_bytes(4, "big", signed=True) != b"GPKG":
        raise DataError(f"{name} is not a GeoPackage, or is damaged.")
    stored = database.execute("SELECT lower(type), name, lower(sql) FROM sqlite_master").fetchall()
    for kind, table, sql in stored:
        if kind == "view" or (kind == "table" and not _is_plain(database, table, sql=sql)):
            raise DataError(f"{name} has more than plain tables: save the points as a new GeoPackage.")


def _is_plain(database: sqlite3.Connection, table: str, *, sql: str) -> bool:
    """Return whether a table is a spatial index or has plain columns alone."""
    if _RTREE.fullmatch(sql):
        return True
    hidden = database.execute("SELECT 1 FROM pragma_table_xinfo(?) WHERE hidden", (table,)).fetchone()
    return sql.startswith("create table ") and hidden is None
