"""Raster access through rasterio: files, URLs, archive members, GDAL names.

Names stay strings, as a Path would collapse the slashes of `zip://` and `/vsicurl/https://`.
"""

import hashlib
import os
import re
import shlex
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.errors import DataError, first_line, one_line
from orbitune.extras import require
from orbitune.mapping.scene.containers import list_files, path_exists, rasters_among
from orbitune.sources.codecs.library_messages import silence_rasterio
from orbitune.suggestions import did_you_mean_path

# Block cache of GDAL, whose default is 5 % of the memory. Two rows of the blocks of a Sentinel-2 product
# (three bands of 10,980 pixels, 1,024 x 1,024) take 138 MB: with less, its JPEG 2000 is decoded three times.
CACHE_BYTES = 192 << 20
_MAX_REASON = 800  # characters of an error of GDAL, which may repeat the name
_MAX_LISTED = 12  # rasters of a container that a message names
_ARCHIVE = re.compile(r"(zip|tar)(?:\+file)?://([^!]+)!/*(.+)", re.DOTALL)
_GDAL_OPTIONS = {  # unless the environment sets them
    # Fail on a server that stops responding, instead of waiting forever.
    "GDAL_HTTP_CONNECTTIMEOUT": "20",
    "GDAL_HTTP_LOW_SPEED_TIME": "30",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
    "CPL_LOG": os.devnull,  # threads of GDAL have no error handler and would print to the terminal
}


def import_rasterio() -> Any:
    """Return the module rasterio.

    Raises:
        MissingExtraError: it is not installed.
    """
    require("geo", "rasterio", purpose="maps")
    import rasterio
    import rasterio.errors

    return rasterio


@contextmanager
def gdal_environment() -> Iterator[None]:
    """Run GDAL with a small cache, network timeouts, and no output on the terminal.

    GDAL keeps its settings and error handler per thread, so every thread that reads must enter this.
    """
    silence_rasterio()
    options = {name: value for name, value in _GDAL_OPTIONS.items() if name not in os.environ}
    with import_rasterio().Env(GDAL_CACHEMAX=CACHE_BYTES, GDAL_NUM_THREADS="2", **options):
        yield


def open_raster(name: str, driver: str | None = None) -> Any:
    """Open a raster as a rasterio dataset.

    Args:
        name: a path, a URL (`https://`, `s3://`), a member of an archive (`zip://a.zip!b.tif`), or a GDAL
            dataset identifier (`/vsizip/a.zip/b.tif`, `NETCDF:"a.nc":red`).
        driver: the only GDAL driver allowed; None for any.

    Raises:
        DataError: it cannot be opened, or holds several rasters; the message lists them.
    """
    rasterio = import_rasterio()
    if not name.strip():
        raise DataError("The name of the scene is empty: give a file, a URL or a GDAL dataset identifier.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            file = rasterio.open(_rasterio_name(name), driver=driver)
    except (rasterio.errors.RasterioError, ValueError, TypeError, UnicodeError) as error:
        _raise_if_several(name, rasters_among(list_files(name)))
        if path_exists(Path(name)) and Path(name).is_dir():
            raise DataError(f"{name} is a folder without a raster: name a file.") from None
        shown = one_line(name)
        reason = one_line(first_line(error).replace(name, shown), _MAX_REASON)
        near = None if "://" in name else did_you_mean_path(name, folders=True)
        raise DataError(f"Cannot open {shown}: {reason}{f'; {near}' if near else '.'}") from None
    if file.count:
        return file
    inner = list(file.subdatasets)
    file.close()
    _raise_if_several(name, inner)
    raise DataError(f"There is no raster in {name}: name a file with bands.")


def local_files(file: Any, name: str) -> list[Path]:
    """Return the local files that an open raster is read from.

    For a member of an archive, this is the archive.
    """
    found = []
    for each in (name, *file.files):
        plain = re.sub(r"^(?:[A-Z_]+:\d+:)?(?:[a-z+0-9]+://|(?:/vsi[a-z0-9_]+/)+)", "", each)
        paths = [Path(each), Path(plain), Path(plain.partition("!")[0])]
        for candidate in (*paths[:2], *paths[1].parents, paths[2]):
            if path_exists(candidate) and candidate.is_file():
                found.append(candidate)
                break
    return sorted(set(found))


def stat_digest(files: Sequence[Path]) -> str:
    """Return a SHA-256 over names, sizes and modification times of files.

    Their folders are ignored.
    """
    seen = [(file.name, (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]
    return hashlib.sha256(repr(seen).encode()).hexdigest()


def short_name(name: str) -> str:
    """Return the last component of a scene's name, without its query string.

    A query string can contain a secret.
    """
    plain = name if path_exists(Path(name)) else re.sub(r"[?#].*", "", name, flags=re.DOTALL)
    return plain.rstrip("/").rpartition("/")[2] or plain


def _rasterio_name(name: str) -> str:
    """Return the name as rasterio needs it: colons escaped, archives absolute."""
    if path_exists(Path(name)):
        return f"./{name}" if ":" in name.partition("/")[0] else name
    archive = _ARCHIVE.fullmatch(name)
    return f"/vsi{archive[1]}/{archive[2]}/{archive[3]}" if archive else name


def _raise_if_several(name: str, inner: Sequence[str]) -> None:
    """Raise a DataError that lists the rasters in a container, if there are any."""
    if not inner:
        return
    more = f", and {len(inner) - _MAX_LISTED} more" if len(inner) > _MAX_LISTED else ""
    named = ", ".join(shlex.quote(each) for each in inner[:_MAX_LISTED])
    many = f"{len(inner)} rasters: name one of them" if len(inner) > 1 else "one raster: name it"
    raise DataError(f"{name} holds {many}: {named}{more}.")


def block_bytes(file: Any) -> int:
    """Return the size in memory of the largest block of an open rasterio dataset."""
    sizes = [
        height * width * (4 if kind == "complex_int16" else np.dtype(kind).itemsize)  # numpy has no such type
        for (height, width), kind in zip(file.block_shapes, file.dtypes, strict=True)
    ]
    together = file.interleaving is None or file.interleaving.name == "pixel"
    return max(sizes) * (len(sizes) if together else 1)
