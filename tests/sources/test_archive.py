"""A zip is checked before it is listed, and unpacked within limits."""

import io
import struct
import time
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import pytest
from image_files import encode, tile

from orbitune.data.tileset import load_tiles
from orbitune.errors import DataError
from orbitune.sources import archive as archive_module
from orbitune.sources.image_folder import open_zip, zip_files
from orbitune.sources.manifest import ColumnSelection


def pack(path: Path, names: list[str], method: int = zipfile.ZIP_STORED) -> Path:
    """A zip with a small tile under each name; folders end with a slash."""
    with zipfile.ZipFile(path, "w", method) as file:
        for number, name in enumerate(names):
            file.writestr(name, b"" if name.endswith("/") else encode(tile(number % 250)))
    return path


def good_names() -> list[str]:
    return [f"{name}/{number}.png" for name in ("Forest", "River") for number in range(3)]


def rename(path: Path, name: bytes, other: bytes) -> Path:
    """Replace a name by one of the same length that `zipfile` would not write."""
    assert len(name) == len(other)
    path.write_bytes(path.read_bytes().replace(name, other))
    return path


def test_names_of_thousands_of_folders_cost_no_memory(tmp_path):
    path = pack(tmp_path / "deep.zip", ["a/" * 32_000 + "x.png", "b/" * 32_000 + "y.png"])
    tracemalloc.start()
    with pytest.raises(
        DataError, match=r"^deep\.zip holds a name of more than 1,024 characters or 16 folders"
    ):
        load_tiles(str(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6


def test_many_parents_of_names_cost_no_memory(tmp_path):
    folders = "/".join(f"folder{i:03d}" for i in range(14))
    path = pack(tmp_path / "wide.zip", [f"{n:04d}/{folders}/x.png" for n in range(2000)])
    tracemalloc.start()
    with zip_files(path) as (entries, _):
        assert len(entries) == 2000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6  # all parents of all names would take 10 MB more


def test_a_zip_of_too_many_names_is_refused_before_they_are_read(tmp_path, monkeypatch):
    path = pack(tmp_path / "many.zip", [f"a/{n}.png" for n in range(50)])
    with (
        pytest.raises(DataError, match=r"^many\.zip lists more than 20 files"),
        zip_files(path, max_entries=20),
    ):
        pass

    def refuse(*_: object) -> None:
        raise AssertionError("an object was made for an entry")

    monkeypatch.setattr(zipfile, "ZipInfo", refuse)
    with (
        pytest.raises(DataError, match=r"^many\.zip lists more than 20 files"),
        zip_files(path, max_entries=20),
    ):
        pass


def test_a_directory_of_too_many_bytes_is_not_read(tmp_path, monkeypatch):
    path = pack(tmp_path / "large.zip", good_names())
    monkeypatch.setattr(archive_module, "MAX_DIRECTORY", 200)
    with pytest.raises(DataError, match=r"^large\.zip lists more than"):
        load_tiles(str(path))


def test_a_zip64_of_too_many_names_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 3)  # so that the end record is that of zip64
    path = pack(tmp_path / "many64.zip", good_names())
    assert b"PK\x06\x06" in path.read_bytes()
    with zip_files(path) as (entries, _):
        assert len(entries) == 6
    with pytest.raises(DataError, match="lists more than 5 files"), zip_files(path, max_entries=5):
        pass


def test_large_data_sets_are_read(tmp_path):
    names = [f"EuroSAT/2750/Class_{n % 10}/Class_{n % 10}_{n}.jpg" for n in range(60_000)]
    with zipfile.ZipFile(tmp_path / "large.zip", "w") as file:
        for name in names:
            file.writestr(zipfile.ZipInfo(name), b"x")
    with zip_files(tmp_path / "large.zip") as (entries, read):
        assert len(entries) == 60_000 and read(names[-1]) == b"x"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Sea/../../../etc/x.png", "holds names with `..`"),
        ("/etc/x.png", "holds names that do not begin with a folder or file"),
        ("Sea//x.png", "holds names that do not begin"),
        ("Sea/./x.png", "holds names that do not begin"),
        ("././Sea/x.png", "holds names that do not begin"),
        ("./Forest/0.png", "holds two files of the same name"),
        ("Sea\\x.png", "holds names with a backslash"),
        ("a" * 1025, "holds a name of more than 1,024 characters"),
        ("a/" * 17 + "x.png", "or 16 folders"),
    ],
)
def test_names_that_no_honest_program_packs_are_one_line(tmp_path, name, message):
    path = pack(tmp_path / "odd.zip", [*good_names(), name])
    with pytest.raises(DataError) as caught:
        load_tiles(str(path))
    assert message in str(caught.value) and len(str(caught.value)) < 200
    assert str(caught.value).startswith("odd.zip ")


def test_names_may_begin_with_the_folder_that_was_packed(tmp_path):
    """So bsdtar names them: `./`, `./Forest/`, `./Forest/0.png`."""
    path = pack(tmp_path / "tiles.zip", ["./", "./Forest/", *(f"./{name}" for name in good_names())])
    tiles = load_tiles(str(path))
    assert tiles.classes == ("Forest", "River") and list(tiles.names) == good_names()
    assert (tiles.tiles[0] == tile(2)).all()  # the third entry


def test_a_zero_byte_in_a_name_is_one_line(tmp_path):
    path = pack(tmp_path / "odd.zip", [*good_names(), "Sea/x!.png"])
    with pytest.raises(DataError, match="a zero byte"):
        load_tiles(str(rename(path, b"Sea/x!.png", b"Sea/x\0.png")))


def test_a_name_hidden_by_unicode_extra_fields_is_checked_too(tmp_path):
    """Later versions of `zipfile` take the name from there."""
    info = zipfile.ZipInfo("Sea/x.png")
    long = b"a/" * 20_000
    field = struct.pack("<BI", 1, zlib.crc32(b"Sea/x.png")) + long
    info.extra = struct.pack("<HH", 0x7075, len(field)) + field
    with zipfile.ZipFile(pack(tmp_path / "extra.zip", good_names()), "a") as file:
        file.writestr(info, encode(tile()))
    try:
        names = load_tiles(str(tmp_path / "extra.zip")).names
        assert max(map(len, names)) < 1024
    except DataError as error:
        assert "a name of more than" in str(error)


def test_entries_that_share_bytes_are_refused(tmp_path):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        for name in good_names():
            file.writestr(name, bytes(1000))
        for entry in file.infolist():
            entry.header_offset = 0  # all of them unpack the first
    (tmp_path / "overlap.zip").write_bytes(data.getvalue())
    with pytest.raises(DataError, match=r"^overlap\.zip holds files that overlap"):
        load_tiles(str(tmp_path / "overlap.zip"))


def test_a_version_of_zip_that_is_not_known_is_one_line(tmp_path):
    path = pack(tmp_path / "new.zip", good_names())
    data = path.read_bytes()
    place = data.index(b"PK\x01\x02") + 6
    path.write_bytes(data[:place] + b"\xff" + data[place + 1 :])
    with pytest.raises(DataError, match=r"^new\.zip is damaged or not a zip file"):
        load_tiles(str(path))


def test_links_encrypted_files_and_zips_in_zips_are_bad_tiles(tmp_path):
    path = pack(tmp_path / "odd.zip", good_names())
    with zipfile.ZipFile(path, "a") as file:
        link = zipfile.ZipInfo("Forest/link.png")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "/etc/passwd")
        file.writestr("Forest/more.zip", path.read_bytes())
        file.writestr("Forest/secret.png", encode(tile()))
        file.getinfo("Forest/secret.png").flag_bits |= 1
    assert dict(load_tiles(str(path), "skip").skipped) == {
        "Forest/link.png": "is a link, not an image",
        "Forest/more.zip": "is a zip within the zip: unpack it",
        "Forest/secret.png": "is encrypted",
    }


def test_what_an_entry_claims_to_hold_less_than_is_not_unpacked(tmp_path):
    path = tmp_path / "liar.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in good_names():
            file.writestr(name, encode(tile()))
        file.writestr("River/bomb.png", bytes(50_000_000))
        file.getinfo("River/bomb.png").file_size = 100
    tracemalloc.start()
    skipped = dict(load_tiles(str(path), "skip").skipped)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "River/bomb.png" in skipped and peak < 20e6


def test_the_error_for_an_empty_zip_says_what_is_expected(tmp_path):
    with pytest.raises(DataError, match="expected a folder for each class"):
        load_tiles(str(pack(tmp_path / "empty.zip", [])))


def test_a_class_for_each_of_many_files_takes_no_time_and_one_line(tmp_path):
    path = tmp_path / "classes.zip"
    with zipfile.ZipFile(path, "w") as file:
        for number in range(20_000):
            file.writestr(zipfile.ZipInfo(f"class{number}/x.png"), b"x")
    started = time.perf_counter()
    with open_zip(path, tmp_path, selection=ColumnSelection()) as listing:
        assert len(listing.classes) == 20_000
    assert time.perf_counter() - started < 5  # looked up one by one, it took a minute
