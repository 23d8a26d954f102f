"""Zip archives, read without unpacking them to disk.

The central directory is checked before anything is listed or unpacked, as a hostile archive of a few
kilobytes can claim millions of entries, deeply nested folders, or gigabytes per entry.
"""

import stat
import struct
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from orbitune.errors import DataError, first_line, printable
from orbitune.sources.decode import BadImageError

MAX_ENTRIES = 500_000  # in one archive
MAX_DIRECTORY = 48 * 2**20  # bytes of the central directory
MAX_NAME = 1024  # characters of an entry's name, folders included
MAX_DEPTH = 16  # folders in an entry's name

_ENTRY = struct.Struct("<4s24x3H12x")  # signature; lengths of name, extra field and comment; 46 bytes
_LOCAL_HEADER = 30  # bytes of the smallest header before an entry's data


@contextmanager
def open_archive(
    path: Path, max_entries: int = MAX_ENTRIES
) -> Iterator[tuple[dict[str, zipfile.ZipInfo], Callable[[zipfile.ZipInfo], bytes]]]:
    """Open a zip archive.

    Args:
        path: the file.
        max_entries: largest number of entries to accept.

    Yields:
        The entries by name, and a thread-safe function that returns the bytes of one. It unpacks at most the
        size that the entry states (check `file_size` first), and raises BadImageError if that fails.

    Raises:
        DataError: the file is not a zip archive, has too many entries, or is malformed.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"{path.name} cannot be read: {error.strerror}.") from None
    with file:
        checked = _CheckedFile(file, path.name, max_entries=max_entries)
        try:
            archive = zipfile.ZipFile(checked)
        except DataError:
            raise
        except Exception:  # BadZipFile, NotImplementedError, UnicodeDecodeError, ...
            raise DataError(f"{path.name} is damaged or not a zip file: download it again.") from None
        checked.checking = False
        with archive:
            entries = archive.infolist()
            # Some programs (bsdtar) begin every name with the folder that they packed.
            names = [entry.filename.removeprefix("./") for entry in entries]
            _check_names(names, entries, archive=path.name)
            _check_overlaps(entries, archive.start_dir, archive=path.name)
            named = {name: entry for name, entry in zip(names, entries, strict=True) if name}
            yield named, lambda entry: _unpack(archive, entry)


class _CheckedFile:
    """A zip file whose central directory is checked while `zipfile` reads it.

    `zipfile` locates the directory itself: a second search could be tricked into finding another one.
    """

    def __init__(self, file: BinaryIO, name: str, *, max_entries: int) -> None:
        self._file, self._name, self._max_entries = file, name, max_entries
        self.checking = True
        self.seek, self.tell, self.seekable, self.close = file.seek, file.tell, file.seekable, file.close

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes; check them first if they are the directory."""
        if not self.checking:
            return self._file.read(size)
        start, end = self.tell(), self.seek(0, 2)
        self.seek(start)
        size = end - start if size < 0 else min(size, end - start)
        if size > MAX_DIRECTORY or _count(data := self._file.read(size)) > self._max_entries:
            raise DataError(
                f"{self._name} lists more than {self._max_entries:,} files, or {MAX_DIRECTORY // 2**20} MB "
                "of names: unpack it and pass the folder."
            )
        return data


def _count(directory: bytes) -> int:
    """Return the number of entries in a central directory; 0 for other bytes."""
    count = offset = 0
    while offset + _ENTRY.size <= len(directory):
        signature, *lengths = _ENTRY.unpack_from(directory, offset)
        if signature != b"PK\x01\x02":
            break
        count, offset = count + 1, offset + _ENTRY.size + sum(lengths)
    return count


def _check_names(names: Sequence[str], entries: Sequence[zipfile.ZipInfo], *, archive: str) -> None:
    """Raise a DataError for duplicate, overlong or unsafe names."""
    if len(set(names)) < len(names):
        raise DataError(f"{archive} holds two files of the same name: create it again.")
    for name, entry in zip(names, entries, strict=True):
        bounded = f"/{name.removesuffix('/')}/" if name else ""
        if len(name) > MAX_NAME or name.count("/") > MAX_DEPTH:
            fault = f"a name of more than {MAX_NAME:,} characters or {MAX_DEPTH} folders"
        elif "/../" in bounded:
            fault = "names with `..`, which would leave its folder"
        elif "//" in bounded or "/./" in bounded:
            fault = f"names that do not begin with a folder or file ({printable(name)[:80]!r})"
        elif "\0" in entry.orig_filename or "\\" in name:
            fault = f"names with a backslash or a zero byte ({printable(name)[:80]!r})"
        else:
            continue
        raise DataError(f"{archive} holds {fault}: it is not read. Create it again, or pass a folder.")


def _check_overlaps(entries: Sequence[zipfile.ZipInfo], end: int, *, archive: str) -> None:
    """Raise a DataError if entries overlap, as in a zip bomb (Fifield 2019)."""
    starts = sorted((entry.header_offset, entry.compress_size) for entry in entries)
    ends = [start for start, _ in starts] + [end]
    for (start, size), after in zip(starts, ends[1:], strict=True):
        if start < 0 or start + _LOCAL_HEADER + size > after:
            raise DataError(f"{archive} holds files that overlap: it is damaged. Create it again.")


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Return the bytes of one entry; raise a BadImageError if it cannot be an image."""
    if entry.filename.lower().endswith(".zip"):
        raise BadImageError("is a zip within the zip: unpack it")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise BadImageError("is a link, not an image")
    if entry.flag_bits & 1:
        raise BadImageError("is encrypted")
    # The other methods decompress without a limit, and images are not packed with them.
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BadImageError("uses another compression than deflate")
    try:
        with archive.open(entry) as file:
            return file.read(entry.file_size)  # read() without a size would unpack everything first
    except Exception as error:  # zipfile's, zlib's, ...
        raise BadImageError(f"cannot be unpacked ({first_line(error)})") from None
