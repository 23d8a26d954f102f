"""What the figures of maps share: a bundle of the run, a large scene, and a part of a real one."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from orbitune.deploy.make import make_bundle
from orbitune.deploy.scene.mapper import make_map
from orbitune.deploy.scene.request import MapReport, MapRequest, Outputs
from orbitune.errors import OrbituneError
from orbitune.training.evaluate import reopen

SIDE = 10_980  # pixels of a Sentinel-2 tile at 10 m
_PART = 2_000
_WHITE = 2750  # digital numbers that EuroSAT's 255 stands for


@contextmanager
def workshop(run: str) -> Iterator[Path]:
    """A temporary folder with a bundle of the run in `bundle`."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_bundle(run, folder / "bundle", progress=False)
        yield folder


def mapped(folder: Path, scene: str | Path, **request: object) -> MapReport:
    """Map a scene with the workshop's bundle."""
    out = Outputs(folder / "map.tif", confidence=folder / "confidence.tif")
    return make_map(folder / "bundle", scene, out, MapRequest(**request), progress=False)  # type: ignore[arg-type]


def large_scene(run: str, path: Path) -> None:
    """Write a scene of 10,980 x 10,980 pixels, three bands of 16 bits, laid out of the run's test tiles."""
    import rasterio
    from rasterio.transform import from_origin

    _, job = reopen(Path(run), progress=False)
    random = np.random.default_rng(0)
    indices = np.sort(random.permutation(job.splits["test"])[:1000])
    tiles = job.tiles.read(indices)
    side = tiles.shape[1]
    count = -(-SIDE // side)
    profile = {
        "driver": "GTiff", "height": SIDE, "width": SIDE, "count": 3, "dtype": "uint16", "crs": "EPSG:32632",
        "transform": from_origin(600_000, 5_300_000, 10, 10), "tiled": True, "blockxsize": 512,
        "blockysize": 512, "compress": "deflate", "predictor": 2,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        for row in range(0, SIDE, side):
            strip = np.concatenate(list(tiles[random.integers(len(tiles), size=count)]), 1)
            strip = strip[: SIDE - row, :SIDE].transpose(2, 0, 1).astype(np.uint32) * _WHITE // 255
            file.write(strip.astype(np.uint16), window=((row, row + strip.shape[1]), (0, SIDE)))


def middle(scene: str | None, path: Path) -> None:
    """Write the middle 2,000 x 2,000 pixels of a scene, as far as there are so many.

    Raises:
        OrbituneError: no scene is named.
    """
    import rasterio
    from rasterio.windows import Window

    if scene is None:
        raise OrbituneError("These figures are of a real scene: name its file with --scene.")
    with rasterio.open(scene) as file:
        height, width = min(_PART, file.height), min(_PART, file.width)
        window = Window((file.width - width) // 2, (file.height - height) // 2, width, height)
        profile = {
            **file.profile,
            "height": height,
            "width": width,
            "transform": file.window_transform(window),
        }
        with rasterio.open(path, "w", **profile) as part:
            part.write(file.read(window=window))
