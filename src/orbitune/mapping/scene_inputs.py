"""Scenes of a map: opened, scaled and laid on one grid before the map is planned."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orbitune.errors import DataError
from orbitune.mapping.map_report import SceneRecord
from orbitune.mapping.options import MapOptions
from orbitune.mapping.scene.air_match import scale_scene
from orbitune.mapping.scene.encoding import Encoding
from orbitune.mapping.scene.mosaic import Mosaic, SceneSpec
from orbitune.mapping.scene.radiometry import MATCH, NONE, ReflectanceScaling
from orbitune.mapping.scene.raster_grid import RasterGrid
from orbitune.mapping.scene.raster_io import short_name, stat_digest
from orbitune.mapping.scene.reader import Scene
from orbitune.models.metadata import TrainingData
from orbitune.resources import parse_bytes
from orbitune.sources.band_names import RGB

BASE_BYTES = 900 << 20  # memory of the libraries, the model and a batch, for any scene
_SMALL_BLOCK = 16 << 20  # bytes of a block that fit into any budget


@dataclass(frozen=True)
class SceneInputs:
    """The scenes of a map, and how they are read.

    Attributes:
        specs: what workers need to open them.
        records: the same for metadata and messages.
        grid: pixel grid that they share, at the training resolution.
        native_grid: the same area on the pixels of the first file.
        overview: the scaled scenes, uint8 (h, w, 3), downsampled, and masked where they have no data.
        files: local files that they are read from.
        digest: of all that determines their pixels. A scene on a server is known by its overview alone.
        others: name of each scene, and names of other rasters in its file.
    """

    specs: tuple[SceneSpec, ...]
    records: tuple[SceneRecord, ...]
    grid: RasterGrid
    native_grid: RasterGrid
    overview: np.ma.MaskedArray
    files: tuple[Path, ...]
    digest: str
    others: tuple[tuple[str, list[str]], ...]

    @classmethod
    def read(
        cls, names: Sequence[str | Path], options: MapOptions, *, training: TrainingData
    ) -> "SceneInputs":
        """Open scenes, and choose the scaling of each.

        Args:
            names: see `raster_io.open_raster`; where scenes overlap, the first with data counts.
            options: of the map.
            training: the tiles that the model was trained on, whose radiometry the scenes are brought to.

        Raises:
            OrbituneError: a scene cannot be used with these options, or they have no common grid.
        """
        with _open_scenes(names, options) as scenes:
            samples = [_checked_sample(scene, options) for scene in scenes]
            encodings = [
                scene.recognise_encoding(sample) if options.scale in (MATCH, NONE) else None
                for scene, sample in zip(scenes, samples, strict=True)
            ]
            scalings = [
                scale_scene(options.scale, encoding, sample=sample, training=training)
                for encoding, sample in zip(encodings, samples, strict=True)
            ]
            pairs = list(zip(scenes, scalings, strict=True))
            records = tuple(
                _record(scene, scaling, encoding=encoding)
                for (scene, scaling), encoding in zip(pairs, encodings, strict=True)
            )
            mosaic = Mosaic(scenes, resolution=options.resolution)
            files = tuple(file for scene in scenes for file in scene.files)
            return cls(
                specs=tuple(SceneSpec(scene.name, scene.bands, scaling) for scene, scaling in pairs),
                records=records,
                grid=mosaic.grid,
                native_grid=mosaic.native_grid,
                overview=mosaic.overview(scalings),
                files=files,
                digest=_digest(records, files, samples=samples),
                others=tuple((scene.name, scene.other_rasters) for scene in scenes),
            )


@contextmanager
def _open_scenes(names: Sequence[str | Path], options: MapOptions) -> Iterator[list[Scene]]:
    """Open scenes by the options, and close them after the block."""
    if not names:
        raise DataError("Name at least one scene.")
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                Scene(name, options.bands, resolution=options.resolution, driver=options.driver)
            )
            for name in names
        ]


def _checked_sample(scene: Scene, options: MapOptions) -> np.ma.MaskedArray:
    """Return the overview of a scene of three bands, whose blocks fit into memory."""
    if len(scene.bands) != len(RGB):
        raise DataError("Give three bands, red, green and blue, such as --bands B04,B03,B02.")
    check_blocks(scene, options.memory_budget)
    return scene.sample()


def check_blocks(scene: Scene, memory_budget: str) -> None:
    """Check that a block of the file fits into the memory budget.

    GDAL reads whole blocks.

    Args:
        scene: the open scene.
        memory_budget: bytes.

    Raises:
        DataError: a block is larger.
    """
    budget = parse_bytes(memory_budget)
    needed = BASE_BYTES + 4 * scene.block_bytes
    if needed > budget and scene.block_bytes > _SMALL_BLOCK:
        raise DataError(
            f"{scene.name} is stored in blocks of {scene.block_bytes / 1e9:.1f} GB: write it in tiles, such "
            f"as with gdal_translate -co TILED=YES IN OUT, or give a --memory-budget of {needed / 1e9:.1f}GB."
        )


def _record(scene: Scene, scaling: ReflectanceScaling, *, encoding: Encoding | None) -> SceneRecord:
    """Return how a scene is read."""
    return SceneRecord(
        scene=short_name(scene.name),
        bands=scene.bands,
        band_names=scene.selection.names,
        bands_source=scene.selection.source,
        encoding=encoding,
        scaling=scaling,
        resampled_from_metres=scene.grid.resampled_from,
    )


def _digest(
    records: Sequence[SceneRecord], files: Sequence[Path], *, samples: Sequence[np.ma.MaskedArray]
) -> str:
    """Return a digest of all that determines the pixels of scenes."""
    found = hashlib.sha256(stat_digest(files).encode())
    found.update(json.dumps([(each.bands, each.scaling.to_json()) for each in records]).encode())
    for sample in samples:
        found.update(sample.data.tobytes() + np.ma.getmaskarray(sample).tobytes())
    return found.hexdigest()
