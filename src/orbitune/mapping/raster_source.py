"""Opening a scene by its name: a file, an address, a member of an archive, or one of GDAL's names.

Names stay strings: a path would make one slash of `zip://` and `/vsicurl/https://`.
"""

import hashlib
import os
import re
import shlex
import tarfile
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from orbitune.errors import DataError, first_line, one_line
from orbitune.extras import require
from orbitune.sources.library_messages import silence_rasterio

CACHE_BYTES = 64 << 20  # GDAL would take a twentieth of the machine's memory
_LONGEST_REASON = 800  # characters, as GDAL's may hold the name once more
_LISTED = 12  # rasters of a container that a message names
_ARCHIVE = re.compile(r"(zip|tar)(?:\+file)?://([^!]+)!/*(.+)", re.DOTALL)
_RASTERS = (".tif", ".tiff", ".jp2", ".vrt", ".img", ".nc", ".png", ".jpg", ".h5", ".hdf5", ".hdf", ".gpkg")
_OPTIONS = {  # of GDAL, where the environment does not say otherwise
    # A server that no longer answers is an error and no endless wait.
    "GDAL_HTTP_CONNECTTIMEOUT": "20",
    "GDAL_HTTP_LOW_SPEED_TIME": "30",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
    "CPL_LOG": os.devnull,  # its own threads have no handler of errors, and would write to the terminal
}


def import_rasterio() -> Any:
    """Return rasterio, or raise a MissingExtraError that says how to install it."""
    require("geo", "rasterio", purpose="maps")
    import rasterio
    import rasterio.errors

    return rasterio


@contextmanager
def gdal() -> Iterator[None]:
    """Run GDAL with a small cache and patience with servers; its own lines do not reach the terminal.

    Settings and the handler of errors are a thread's own: each thread that reads enters this.
    """
    silence_rasterio()
    options = {name: value for name, value in _OPTIONS.items() if name not in os.environ}
    with import_rasterio().Env(GDAL_CACHEMAX=CACHE_BYTES, GDAL_NUM_THREADS="2", **options):
        yield


def open_raster(name: str, driver: str | None = None) -> Any:
    """Open a raster as rasterio's dataset.

    Args:
        name: a path, an address (`https://`, `s3://`), a member of an archive (`zip://a.zip!b.tif`), or a
            name that only GDAL knows (`/vsizip/a.zip/b.tif`, `NETCDF:"a.nc":red`).
        driver: the only format that is taken; None for any.

    Raises:
        DataError: nothing can be opened, or it holds several rasters; these are named.
    """
    rasterio = import_rasterio()
    if not name.strip():
        raise DataError("The name of the scene is empty: give a file, an address or a name of GDAL's.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            file = rasterio.open(_plain(name), driver=driver)
    except (rasterio.errors.RasterioError, ValueError, TypeError, UnicodeError) as error:
        _list(name, _members(name))
        if _exists(Path(name)) and Path(name).is_dir():
            raise DataError(f"{name} is a folder without a raster: name a file.") from None
        shown = one_line(name)
        reason = one_line(first_line(error).replace(name, shown), _LONGEST_REASON)
        raise DataError(f"Cannot open {shown}: {reason}.") from None
    if file.count:
        return file
    inner = list(file.subdatasets)
    file.close()
    _list(name, inner)
    raise DataError(f"There is no raster in {name}: name a file with bands.")


def local_files(file: Any, name: str) -> list[Path]:
    """Return the files on this machine that an open raster is read from; archives stand for their members."""
    found = []
    for each in (name, *file.files):
        plain = re.sub(r"^(?:[A-Z_]+:\d+:)?(?:[a-z+0-9]+://|(?:/vsi[a-z0-9_]+/)+)", "", each)
        paths = [Path(each), Path(plain), Path(plain.partition("!")[0])]
        for candidate in (*paths[:2], *paths[1].parents, paths[2]):
            if _exists(candidate) and candidate.is_file():
                found.append(candidate)
                break
    return sorted(set(found))


def state(files: Sequence[Path]) -> str:
    """Return a digest of the sizes and times of files, wherever they lie."""
    seen = [(file.name, (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]
    return hashlib.sha256(repr(seen).encode()).hexdigest()


def short_name(name: str) -> str:
    """Return the last part of a scene's name; what follows a `?` may be a secret and is left out."""
    plain = name if _exists(Path(name)) else re.sub(r"[?#].*", "", name, flags=re.DOTALL)
    return plain.rstrip("/").rpartition("/")[2] or plain


def _plain(name: str) -> str:
    """The name for rasterio, which misses archives in the working folder and takes a colon for a scheme."""
    if _exists(Path(name)):
        return f"./{name}" if ":" in name.partition("/")[0] else name
    archive = _ARCHIVE.fullmatch(name)
    return f"/vsi{archive[1]}/{archive[2]}/{archive[3]}" if archive else name


def _exists(path: Path) -> bool:
    with suppress(OSError, ValueError):
        return path.exists()
    return False


def _list(name: str, inner: Sequence[str]) -> None:
    """Raise a DataError that names the rasters in a container, if there are any."""
    if not inner:
        return
    more = f", and {len(inner) - _LISTED} more" if len(inner) > _LISTED else ""
    named = ", ".join(shlex.quote(each) for each in inner[:_LISTED])
    many = f"{len(inner)} rasters: name one of them" if len(inner) > 1 else "one raster: name it"
    raise DataError(f"{name} holds {many}: {named}{more}.")


def _members(name: str) -> list[str]:
    """Names to open the rasters of an archive or a folder by."""
    plain = re.sub(r"^(?:(?:zip|tar)(?:\+file)?://|/vsi(?:zip|tar)/)", "", name)
    path = Path(plain)
    if not _exists(path):
        return []
    with suppress(OSError, zipfile.BadZipFile, tarfile.TarError, NotImplementedError):
        if path.is_dir():
            return sorted(str(file) for file in path.iterdir() if file.suffix.lower() in _RASTERS)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return [f"/vsizip/{plain}/{each}" for each in _rasters(archive.namelist())]
        if tarfile.is_tarfile(path):
            with tarfile.open(path) as archive:
                return [f"/vsitar/{plain}/{each}" for each in _rasters(archive.getnames())]
    return []


def _rasters(names: Sequence[str]) -> list[str]:
    return sorted(name for name in names if name.lower().endswith(_RASTERS) and "__MACOSX" not in name)
