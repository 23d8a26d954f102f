"""A data set is decoded once into a store that is complete or absent."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from image_files import encode, tiff, tile, write

from orbitune.data import store_builder
from orbitune.data.tileset import load_tiles
from orbitune.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
LOAD = "import sys; from orbitune.data.tileset import load_tiles; print(load_tiles(sys.argv[1]).fingerprint)"


def stores(cache: Path) -> list[Path]:
    """Return all that a build may leave except the empty lock files."""
    return [path for path in (cache / "tiles").iterdir() if path.suffix != ".lock"]


def start(code: str, folder: Path, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


# --- the store --------------------------------------------------------------------------------------------


def test_tiles_are_memory_mapped_and_read_only(folder):
    tiles = load_tiles(str(folder)).tiles
    assert isinstance(tiles, np.memmap) and tiles.dtype == np.uint8 and tiles.shape == (15, 8, 8, 3)
    with pytest.raises(ValueError, match="read-only"):
        tiles[0] = 0


def test_a_second_start_decodes_nothing(folder, fresh_cache, monkeypatch):
    fresh_cache()
    first = load_tiles(str(folder))

    def refuse(_: bytes) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(store_builder, "read_header", refuse)
    monkeypatch.setattr(store_builder, "read_pixels", refuse)
    second = load_tiles(str(folder))
    assert second.names == first.names and second.fingerprint == first.fingerprint
    np.testing.assert_array_equal(second.tiles, first.tiles)


def test_a_copy_elsewhere_has_the_same_fingerprint(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    assert load_tiles(str(tmp_path / "copy")).fingerprint == load_tiles(str(folder)).fingerprint


def test_other_content_names_or_treatment_have_another_fingerprint(folder):
    seen = {load_tiles(str(folder)).fingerprint, load_tiles(str(folder), "skip").fingerprint}
    (folder / "Sea" / "Sea_0.png").rename(folder / "Sea" / "Sea_9.png")
    seen.add(load_tiles(str(folder)).fingerprint)
    write(folder / "Sea" / "Sea_9.png", encode(tile(250)))
    seen.add(load_tiles(str(folder)).fingerprint)
    assert len(seen) == 4


@pytest.mark.parametrize(
    ("file", "harm"),
    [
        ("tiles.npy", lambda path: os.truncate(path, path.stat().st_size - 100)),
        ("tiles.npy", lambda path: path.write_bytes(b"")),
        ("labels.npy", lambda path: path.unlink()),
        ("meta.json", lambda path: path.write_text('{"names": [')),
        ("meta.json", lambda path: path.write_text("[]")),
    ],
)
def test_a_damaged_store_is_rebuilt(folder, fresh_cache, file, harm):
    cache = fresh_cache()
    first = load_tiles(str(folder))
    harm(cache / "tiles" / first.fingerprint / file)
    second = load_tiles(str(folder))
    assert second.names == first.names
    np.testing.assert_array_equal(second.tiles[14], tile(24))


@pytest.mark.parametrize(
    ("file", "place"),
    [("tiles.npy", -100), ("tiles.npy", 60), ("labels.npy", -8), ("meta.json", 20)],
)
@pytest.mark.parametrize("byte", [0xFF, 0])
def test_a_flipped_or_zeroed_byte_is_detected_and_the_store_rebuilt(folder, fresh_cache, file, place, byte):
    cache = fresh_cache()
    first = load_tiles(str(folder))
    labels, pixels = first.labels.copy(), np.array(first.tiles)
    path = cache / "tiles" / first.fingerprint / file
    data = bytearray(path.read_bytes())
    data[place] = byte if data[place] != byte else 0x55
    path.write_bytes(data)
    second = load_tiles(str(folder))
    np.testing.assert_array_equal(second.labels, labels)
    np.testing.assert_array_equal(second.tiles, pixels)
    assert second.names == first.names


def test_a_store_in_the_place_of_another_is_rebuilt(folder, tmp_path, fresh_cache):
    cache = fresh_cache()
    other = shutil.copytree(folder, tmp_path / "other")
    write(other / "Sea" / "Sea_0.png", encode(tile(77)))
    right, wrong = (cache / "tiles" / load_tiles(str(each)).fingerprint for each in (folder, other))
    shutil.rmtree(right)
    shutil.copytree(wrong, right)
    np.testing.assert_array_equal(load_tiles(str(folder)).tiles[10], tile(20))


def test_tiles_damaged_in_use_are_one_line_and_the_next_start_decodes_them_again(folder, fresh_cache):
    cache = fresh_cache()
    tiles = load_tiles(str(folder))
    path = cache / "tiles" / tiles.fingerprint / "tiles.npy"
    with path.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    with pytest.raises(DataError, match=r"were damaged, such as Sea/Sea_4\.png: run the same command again"):
        tiles.read(np.arange(15))
    np.testing.assert_array_equal(load_tiles(str(folder)).read(np.array([14]))[0], tile(24))


def test_two_processes_that_build_at_once_share_one_complete_store(folder, fresh_cache):
    cache = fresh_cache()
    for number in range(300):
        write(folder / "Sea" / f"more_{number}.png", encode(tile(number % 250)))
    outcomes = [process.communicate(timeout=60) for process in [start(LOAD, folder) for _ in range(3)]]
    fingerprints = {out.strip() for out, _ in outcomes}
    assert len(fingerprints) == 1, outcomes
    assert [path.name for path in stores(cache)] == list(fingerprints)
    assert len(load_tiles(str(folder)).names) == 315


def test_a_kill_while_building_leaves_no_half_store_and_no_rest(folder, fresh_cache):
    cache = fresh_cache()
    slow = (
        "import time\nfrom orbitune.data import store_builder\nread = store_builder.read_pixels\n"
        "def slow_read(data):\n    time.sleep(0.2)\n    return read(data)\n"
        "store_builder.read_pixels = slow_read\n" + LOAD
    )
    process = start(slow, folder)
    deadline = time.monotonic() + 30
    while not list(cache.glob("tiles/.*/*/tiles.npy")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [path.suffix for path in stores(cache)] == [".orbitune-tmp"]
    fingerprint = load_tiles(str(folder)).fingerprint
    assert [path.name for path in stores(cache)] == [fingerprint]


def test_a_full_disk_is_one_line_and_leaves_nothing(folder, fresh_cache):
    cache = fresh_cache()
    limited = (
        "import resource, sys\nresource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "from orbitune.data.tileset import load_tiles\nfrom orbitune.errors import DataError\n"
        "try: load_tiles(sys.argv[1])\nexcept DataError as error: print(error)"
    )
    out, err = start(limited, folder).communicate(timeout=60)
    assert out.startswith("Cannot keep the decoded tiles in") and "Free some space" in out, err
    assert out.count("\n") == 1
    assert stores(cache) == []


def test_a_full_disk_under_the_parquet_copy_is_one_line_too(tmp_path, fresh_cache, monkeypatch):
    import datasets
    from parquet_files import parquet

    def fill(*_: object, **__: object) -> None:
        raise datasets.exceptions.DatasetGenerationError("failed") from OSError(errno.ENOSPC, "No space left")

    cache = fresh_cache()
    parquet(tmp_path / "set" / "train.parquet")
    monkeypatch.setattr(datasets, "load_dataset", fill)
    with pytest.raises(DataError, match=r"No space left.*Free some space"):
        load_tiles(str(tmp_path / "set"))
    assert stores(cache) == []


def test_a_cache_that_cannot_be_made_is_one_line(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("ORBITUNE_CACHE", str(write(tmp_path / "file", b"") / "cache"))
    with pytest.raises(DataError, match="set ORBITUNE_CACHE to another folder"):
        load_tiles(str(folder))


def test_only_so_many_tiles_are_read_ahead(folder, fresh_cache, monkeypatch):
    fresh_cache()
    monkeypatch.setattr(store_builder, "READ_AHEAD", 4)
    assert [pixels[0, 0, 0] for pixels in load_tiles(str(folder)).tiles[:6]] == [0, 1, 2, 3, 4, 10]


# --- sizes and depths -------------------------------------------------------------------------------------


def test_tiles_of_another_size_are_resized_to_the_most_common_with_a_note(folder):
    write(folder / "Sea" / "Sea_0.png", encode(tile(77, size=20)))
    write(folder / "Sea" / "Sea_1.png", encode(tile(78, size=5)))
    tiles = load_tiles(str(folder))
    assert tiles.tiles.shape == (15, 8, 8, 3)
    np.testing.assert_array_equal(tiles.tiles[10], tile(77))
    assert tiles.notes == ("resized 2 of 15 tiles from 20x20, 5x5 to 8x8 pixels",)


def test_large_tiles_are_kept_to_512_pixels_with_a_note(folder):
    for path in folder.rglob("*.png"):
        write(path, encode(np.zeros((300, 1024, 3), np.uint8)))
    tiles = load_tiles(str(folder))
    assert tiles.tiles.shape == (15, 150, 512, 3)
    assert tiles.notes == (
        "resized 15 of 15 tiles from 1024x300 to 512x150 pixels (the longer side is kept to 512)",
    )


def test_sixteen_bit_tiles_share_one_linear_scale_with_a_note(tmp_path):
    for label, name in enumerate(("a", "b")):
        for number in range(4):
            values = np.full((3, 8, 8), 1000 * (1 + number + 4 * label), np.uint16)
            write(tmp_path / "set" / name / f"{number}.tif", tiff(values))
    tiles = load_tiles(str(tmp_path / "set"))
    assert tiles.tiles[:, 0, 0, 0].tolist() == [32, 64, 96, 128, 159, 191, 223, 255]
    assert "0 to 8000 of 8 tiles to 0 to 255" in tiles.notes[0]


def test_the_brightest_half_percent_does_not_set_the_scale(tmp_path):
    values = np.full((8, 200), 1000, np.uint16)
    values[0, :4] = 60_000
    for name in ("a", "b"):
        write(tmp_path / "set" / name / "0.png", encode(values))
    tiles = load_tiles(str(tmp_path / "set"))
    assert tiles.tiles.min() == 255 and "0 to 1000 of" in tiles.notes[-1]


def test_eight_bit_tiles_among_sixteen_bit_ones_keep_their_values(folder):
    write(folder / "Sea" / "Sea_4.png", encode(np.full((8, 8), 5000, np.uint16)))
    tiles = load_tiles(str(folder))
    np.testing.assert_array_equal(tiles.tiles[0], tile(0))
    assert (tiles.tiles[14] == 255).all() and "of 1 tile " in tiles.notes[0]


# --- bad files --------------------------------------------------------------------------------------------


def spoil(path: Path, how: str) -> None:
    data = path.read_bytes()
    path.unlink()
    if how == "dangling":
        path.symlink_to(path.parent / "gone.png")
    elif how == "pipe":
        os.mkfifo(path)
    else:
        write(path, {"empty": b"", "text": b"this is no image", "truncated": data[: len(data) - 30]}[how])


REASONS = {
    "empty": "is empty",
    "text": "is no image of a known kind",
    "truncated": "is damaged",
    "dangling": "is a link to nothing",
    "pipe": "is no regular file",
}


@pytest.mark.parametrize("how", REASONS)
def test_a_bad_file_stops_with_its_name_reason_and_a_hint(folder, how):
    spoil(folder / "River" / "River_2.png", how)
    with pytest.raises(DataError, match=f"^River/River_2.png {REASONS[how]}.*--on-bad-image skip"):
        load_tiles(str(folder))


@pytest.mark.parametrize("how", REASONS)
def test_a_bad_file_is_skipped_on_request_and_listed(folder, how):
    spoil(folder / "River" / "River_2.png", how)
    tiles = load_tiles(str(folder), "skip")
    assert len(tiles.tiles) == len(tiles.labels) == len(tiles.names) == 14
    assert "River/River_2.png" not in tiles.names
    np.testing.assert_array_equal(tiles.tiles[7], tile(13))
    [(name, reason)] = tiles.skipped
    assert name == "River/River_2.png" and reason.startswith(REASONS[how])


def test_own_splits_still_point_at_their_tiles_after_a_skip(folder, tmp_path):
    for split in ("test", "train"):
        shutil.copytree(folder, tmp_path / "set" / split)
    spoil(tmp_path / "set" / "test" / "Forest" / "Forest_0.png", "truncated")
    tiles = load_tiles(str(tmp_path / "set"), "skip")
    assert {split: len(rows) for split, rows in tiles.own_splits.items()} == {"test": 14, "train": 15}
    for split, rows in tiles.own_splits.items():
        assert all(tiles.names[row].startswith(f"{split}/") for row in rows)


def test_nothing_but_bad_files_is_an_error_even_when_skipping(folder):
    for path in folder.rglob("*.png"):
        spoil(path, "text")
    with pytest.raises(
        DataError, match=r"^None of the 15 files .* the first, Forest/Forest_0.png, is no image"
    ):
        load_tiles(str(folder), "skip")


def test_a_huge_image_is_never_decoded(folder):
    from image_files import png_header

    write(folder / "Sea" / "bomb.png", png_header(60_000, 60_000))
    [(name, reason)] = load_tiles(str(folder), "skip").skipped
    assert name == "Sea/bomb.png" and reason == "has more than 89,478,485 pixels"


# --- EuroSAT ----------------------------------------------------------------------------------------------


@pytest.mark.shared
def test_eurosat_is_read_whole(shared):
    tiles = load_tiles(str(shared / "eurosat"))
    assert tiles.tiles.shape == (27_000, 64, 64, 3) and len(tiles.classes) == 10
    sizes = {split: len(rows) for split, rows in tiles.own_splits.items()}
    assert sizes == {"train": 16_200, "validation": 5_400, "test": 5_400}
    assert len(set(tiles.names)) == 27_000 and tiles.notes == ()
    assert all(
        tiles.names[row].split("_")[0] in tiles.classes[label].replace(" ", "")
        for row, label in list(enumerate(tiles.labels))[::500]
    )


def test_a_tile_of_a_pixel_is_a_bad_tile_and_one_of_half_the_size_is_not(tmp_path):
    for name in ("Forest", "Sea"):
        for number in range(3):
            write(tmp_path / "set" / name / f"{number}.png", encode(tile(number, 32)))
    write(tmp_path / "set" / "Sea" / "half.png", encode(tile(9, 16)))
    write(tmp_path / "set" / "Sea" / "point.png", encode(tile(9, 1)))
    with pytest.raises(DataError, match=r"^Sea/point\.png is 1x1 pixels, too small beside tiles of 32x32"):
        load_tiles(str(tmp_path / "set"))
    tiles = load_tiles(str(tmp_path / "set"), "skip")
    assert len(tiles.names) == 7 and [name for name, _ in tiles.skipped] == ["Sea/point.png"]
