import shutil

import pytest
from PIL import Image

from orbitune.exporting import validation
from orbitune.exporting.exporter import export
from orbitune.exporting.reference import ReferenceModel


@pytest.fixture(scope="module")
def short_timing():
    """Measure latency for a moment only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "TIMING_SECONDS", 0.0)
        yield


@pytest.fixture(scope="module")
def original(run):
    return ReferenceModel.open(run, progress=False)


@pytest.fixture(scope="module")
def folder(run, short_timing, tmp_path_factory):
    """The exported page."""
    out = tmp_path_factory.mktemp("web") / "out"
    export(run, ["web"], out=out, progress=False)
    return out / "web"


@pytest.fixture(scope="module")
def pictures(tiles, tmp_path_factory):
    """Tiles of each class, larger ones, one as JPEG, and photographs that a browser would turn."""
    place = tmp_path_factory.mktemp("pictures")
    names = [file for each in sorted(tiles.iterdir()) for file in sorted(each.iterdir())[:3]]
    for file in names:
        shutil.copy(file, place / file.name)
    with Image.open(names[0]) as tile:
        larger = tile.convert("RGB").resize((150, 90), Image.Resampling.BICUBIC)
    larger.save(place / "larger.png")
    larger.save(place / "picture.jpg", quality=90)
    exif = Image.Exif()
    exif[0x0112] = 6  # the orientation
    larger.save(place / "turned.jpg", quality=90, exif=exif)
    larger.save(place / "turned.png", exif=exif)
    return sorted(place.iterdir())
