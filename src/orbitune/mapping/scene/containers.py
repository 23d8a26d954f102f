"""Files in folders and archives, as names that GDAL opens."""

import re
import tarfile
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from orbitune.errors import DataError, first_line

_RASTERS = (".tif", ".tiff", ".jp2", ".vrt", ".img", ".nc", ".png", ".jpg", ".h5", ".hdf5", ".hdf", ".gpkg")
_PREFIX = re.compile(r"^(?:(?:zip|tar)(?:\+file)?://|/vsi(?:zip|tar)/)")
_MAX_METADATA = 64 << 20  # bytes of a file of metadata


def path_exists(path: Path) -> bool:
    """Return whether a path exists; False for names that the system refuses."""
    with suppress(OSError, ValueError):
        return path.exists()
    return False


def list_files(name: str, *, below: bool = False) -> list[str]:
    """Return names that open the files of a folder or archive, but macOS forks.

    Args:
        name: a folder, a zip or a tar, or `zip://` or `/vsizip/` and its path, or a folder in an archive.
        below: whether to list those of the folders below a folder; those of an archive always are.

    Returns:
        Sorted names; empty if it is no folder and no archive.
    """
    path, inner = _split(name)
    found: list[str] = []
    with suppress(OSError, ValueError, zipfile.BadZipFile, tarfile.TarError, NotImplementedError):
        if path.is_dir():
            files = path.rglob("*") if below else path.iterdir()
            found = [str(file) for file in files if file.is_file()]
        elif path.is_file() and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                found = [f"/vsizip/{path}/{each}" for each in archive.namelist() if each.startswith(inner)]
        elif path.is_file() and tarfile.is_tarfile(path):
            with tarfile.open(path) as archive:
                names = [each.removeprefix("./") for each in archive.getnames()]
                found = [f"/vsitar/{path}/{each}" for each in names if each.startswith(inner)]
    return sorted(each for each in found if "__MACOSX" not in each)


def rasters_among(names: Sequence[str]) -> list[str]:
    """Return the names with the ending of a raster."""
    return [name for name in names if name.lower().endswith(_RASTERS)]


def read_metadata(name: str) -> bytes:
    """Read a small file, which may lie in a zip (`/vsizip/`).

    Raises:
        DataError: it cannot be read, or is larger than 64 MiB.
    """
    path, inner = _split(name)
    try:
        if not inner:
            size = path.stat().st_size
            data = path.read_bytes() if size <= _MAX_METADATA else b""
        else:
            with zipfile.ZipFile(path) as packed:
                size = packed.getinfo(inner).file_size
                data = packed.read(inner) if size <= _MAX_METADATA else b""
    except (OSError, KeyError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
        raise DataError(f"Cannot read {name}: {first_line(error)}.") from None
    if size > _MAX_METADATA:
        raise DataError(f"{name} has {size:,} bytes, too many for metadata.")
    return data


def _split(name: str) -> tuple[Path, str]:
    """Return the file or folder of a name, and the name's part in an archive."""
    path = Path(_PREFIX.sub("", name))
    with suppress(OSError, ValueError):
        if not path.exists():
            for parent in path.parents:
                if parent.is_file():
                    return parent, path.relative_to(parent).as_posix()
    return path, ""
