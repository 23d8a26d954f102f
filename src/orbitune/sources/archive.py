"""Zip archives, read in place; their directory is checked before anything is listed or unpacked.

A zip of some kilobytes may claim millions of names, names of thousands of folders, and gigabytes in each.
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

MAX_ENTRIES = 500_000  # of one zip
MAX_DIRECTORY = 48 * 2**20  # bytes of the list of its entries, names and all
MAX_NAME = 1024  # characters of one name, its folders included
MAX_DEPTH = 16  # folders in one name

_ENTRY = struct.Struct("<4s24x3H12x")  # signature; lengths of name, extra field and comment; 46 bytes in all
_LOCAL_HEADER = 30  # bytes before an entry's name and data, at least


@contextmanager
def open_archive(
    path: Path, most: int = MAX_ENTRIES
) -> Iterator[tuple[dict[str, zipfile.ZipInfo], Callable[[zipfile.ZipInfo], bytes]]]:
    """Open a zip; yield its entries by name and a thread-safe function that unpacks one.

    The function raises a BadImageError, and never unpacks more than an entry claims: judge `file_size` first.

    Args:
        most: number of entries that it may have.

    Raises:
        DataError: it is no zip, has more than `most` entries, or is malformed.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"{path.name} cannot be read: {error.strerror}.") from None
    with file:
        judged = _JudgedFile(file, path.name, most)
        try:
            archive = zipfile.ZipFile(judged)
        except DataError:
            raise
        except Exception:  # BadZipFile, NotImplementedError, UnicodeDecodeError, ...
            raise DataError(f"{path.name} is damaged or no zip file: fetch it again.") from None
        judged.judging = False
        with archive:
            entries = archive.infolist()
            # Some programs (bsdtar) begin every name with the folder that they packed.
            names = [entry.filename.removeprefix("./") for entry in entries]
            _check_names(names, entries, path.name)
            _check_places(entries, archive.start_dir, path.name)
            named = {name: entry for name, entry in zip(names, entries, strict=True) if name}
            yield named, lambda entry: _unpack(archive, entry)


class _JudgedFile:
    """The file of a zip, whose list of entries is judged when `zipfile` reads it, before it makes objects.

    `zipfile` decides where the list is; a second search for it could be made to find another one.
    """

    def __init__(self, file: BinaryIO, name: str, most: int) -> None:
        self._file, self._name, self._most = file, name, most
        self.judging = True
        self.seek, self.tell, self.seekable, self.close = file.seek, file.tell, file.seekable, file.close

    def read(self, size: int = -1) -> bytes:
        if not self.judging:
            return self._file.read(size)
        place, end = self.tell(), self.seek(0, 2)
        self.seek(place)
        size = end - place if size < 0 else min(size, end - place)
        if size > MAX_DIRECTORY or _count(data := self._file.read(size)) > self._most:
            raise DataError(
                f"{self._name} lists more than {self._most:,} files, or {MAX_DIRECTORY // 2**20} MB "
                "of names: unpack it and pass the folder."
            )
        return data


def _count(directory: bytes) -> int:
    """Return the number of entries in a central directory; 0 for other bytes."""
    count = place = 0
    while place + _ENTRY.size <= len(directory):
        signature, *lengths = _ENTRY.unpack_from(directory, place)
        if signature != b"PK\x01\x02":
            break
        count, place = count + 1, place + _ENTRY.size + sum(lengths)
    return count


def _check_names(names: Sequence[str], entries: Sequence[zipfile.ZipInfo], archive: str) -> None:
    """Raise a DataError for duplicate, overlong or unsafe names."""
    if len(set(names)) < len(names):
        raise DataError(f"{archive} holds two files of one name: pack it anew.")
    for name, entry in zip(names, entries, strict=True):
        bounded = f"/{name.removesuffix('/')}/" if name else ""
        if len(name) > MAX_NAME or name.count("/") > MAX_DEPTH:
            wrong = f"a name of more than {MAX_NAME:,} characters or {MAX_DEPTH} folders"
        elif "/../" in bounded:
            wrong = "names with `..`, which no honest zip does"
        elif "//" in bounded or "/./" in bounded:
            wrong = f"names that do not begin with a folder or file ({printable(name)[:80]!r})"
        elif "\0" in entry.orig_filename or "\\" in name:
            wrong = f"names with a backslash or a zero byte ({printable(name)[:80]!r})"
        else:
            continue
        raise DataError(f"{archive} holds {wrong}: it is not read. Pack it again, or pass a folder.")


def _check_places(entries: Sequence[zipfile.ZipInfo], end: int, archive: str) -> None:
    """Raise a DataError where entries share bytes: so a small zip unpacks to any size (Fifield 2019)."""
    starts = sorted((entry.header_offset, entry.compress_size) for entry in entries)
    ends = [start for start, _ in starts] + [end]
    for (start, size), after in zip(starts, ends[1:], strict=True):
        if start < 0 or start + _LOCAL_HEADER + size > after:
            raise DataError(f"{archive} holds files that overlap: it is damaged. Pack it again.")


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    if entry.filename.lower().endswith(".zip"):
        raise BadImageError("is a zip within the zip: unpack it")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise BadImageError("is a link, not an image")
    if entry.flag_bits & 1:
        raise BadImageError("is encrypted")
    # Other methods unpack without bounds, and nobody zips images with them.
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BadImageError("is packed in another way than deflate")
    try:
        with archive.open(entry) as file:
            return file.read(entry.file_size)  # without a number all that is packed would be unpacked first
    except Exception as error:  # zipfile's, zlib's, ...
        raise BadImageError(f"cannot be unpacked ({first_line(error)})") from None
