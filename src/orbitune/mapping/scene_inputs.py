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
from orbitune.mapping.scene.atmosphere_match import scale_scene
from orbitune.mapping.scene.encoding import NO_DATA, Encoding
from orbitune.mapping.scene.mosaic import Mosaic, SceneSpec
from orbitune.mapping.scene.radiometry import MATCH, NONE, TOP, ReflectanceScaling
from orbitune.mapping.scene.raster_grid import RasterGrid
from orbitune.mapping.scene.raster_io import short_name, stat_digest
from orbitune.mapping.scene.reader import Scene
from orbitune.mapping.scene.tile_numbers import are_colours
from orbitune.models.metadata import ModelMetadata
from orbitune.models.preprocessing import Preprocessing
from orbitune.resources import parse_bytes
from orbitune.sources.band_names import RGB, BandChoice, MissingBandError, canonical_name, check_count

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
        overview: the scaled scenes (h, w, bands), downsampled, and masked where they have no data.
        files: local files that they are read from.
        digest: of all that determines their pixels. A scene on a server is known by its overview alone.
        adapted: indices of the scenes that the model was adapted to.
        others: name of each scene, and names of other rasters in its file.
    """

    specs: tuple[SceneSpec, ...]
    records: tuple[SceneRecord, ...]
    grid: RasterGrid
    native_grid: RasterGrid
    overview: np.ma.MaskedArray
    files: tuple[Path, ...]
    digest: str
    adapted: tuple[int, ...]
    others: tuple[tuple[str, list[str]], ...]

    @classmethod
    def read(cls, names: Sequence[str | Path], options: MapOptions, *, model: ModelMetadata) -> "SceneInputs":
        """Open scenes, and choose the scaling of each.

        Args:
            names: see `raster_io.open_raster`; where scenes overlap, the first with data counts.
            options: of the map.
            model: the model, to whose bands and radiometry the scenes are brought.

        Raises:
            OrbituneError: a scene cannot be used with these options, or they have no common grid.
        """
        with _open_scenes(names, options, used=model.preprocessing) as scenes:
            for scene in scenes:
                check_blocks(scene, options.memory_budget)
            scaled = [_scale(scene, options=options, model=model) for scene in scenes]
            samples = [scene.sample() for scene in scenes]
            scalings = [scaling for scaling, _ in scaled]
            pairs = list(zip(scenes, scalings, strict=True))
            records = tuple(
                _record(scene, scaling, encoding=encoding, asked=options.bands)
                for scene, (scaling, encoding) in zip(scenes, scaled, strict=True)
            )
            adapted = _adapted_scenes(scenes, model)
            mosaic = Mosaic(scenes, resolution=options.resolution)
            files = tuple(file for scene in scenes for file in scene.files)
            return cls(
                specs=tuple(
                    SceneSpec(scene.name, scene.bands, scaling, scene.white) for scene, scaling in pairs
                ),
                records=records,
                grid=mosaic.grid,
                native_grid=mosaic.native_grid,
                overview=mosaic.overview(scalings),
                files=files,
                digest=_digest(records, files, samples=samples),
                adapted=adapted,
                others=tuple((scene.name, scene.other_rasters) for scene in scenes),
            )


@contextmanager
def _open_scenes(
    names: Sequence[str | Path], options: MapOptions, *, used: Preprocessing
) -> Iterator[list[Scene]]:
    """Open scenes with the bands of a model, and close them after the block."""
    if not names:
        raise DataError("Name at least one scene.")
    bands = options.bands
    if bands is None and tuple(map(canonical_name, used.bands)) != RGB:  # RGB is found without names too
        bands = used.bands
    with ExitStack() as stack:
        scenes = []
        for name in names:
            try:
                scene = Scene(name, bands, resolution=options.resolution, driver=options.driver)
            except MissingBandError as error:
                if options.bands is not None:
                    raise
                own = ", ".join(used.bands)
                raise DataError(f"{error} The model reads {own}: name them so with --bands.") from None
            scenes.append(stack.enter_context(scene))
            check_count(len(scene.bands), used.bands)
        yield scenes


def _scale(
    scene: Scene, *, options: MapOptions, model: ModelMetadata
) -> tuple[ReflectanceScaling, Encoding | None]:
    """Return the scaling of a scene, and its encoding unless the user gave a range.

    Raises:
        DataError: nothing tells the scaling.
    """
    encoding, used = None, model.preprocessing
    if options.scale in (MATCH, NONE):
        encoding = scene.recognise_encoding(scene.sample(), read_as=used.bands)
        _check_depth(encoding, used, whose=scene.name)
        if encoding.white is not None and np.dtype(scene.dtype).itemsize > 1:
            scene.read_as_8_bits(encoding.white)
    scaling = scale_scene(options.scale, encoding, sample=scene.sample(), training=model.data, used=used)
    return scaling, encoding


def _check_depth(encoding: Encoding, used: Preprocessing, *, whose: str) -> None:
    """Raise a DataError unless the reflectance of scene and tiles can be compared."""
    has_8_bits, tiles_have = encoding.kind == "8 bits", used.dtype == "uint8"
    if has_8_bits == tiles_have or (tiles_have and are_colours(used)) or NO_DATA in encoding.evidence:
        return
    values, bits = ("8-bit", 16) if has_8_bits else ("other than 8-bit", 8)
    raise DataError(
        f"{whose} has {values} values, and the model was trained on {bits}-bit tiles of "
        f"{', '.join(used.bands)}, so their scale is not known: give the values of the scene that become 0 "
        f"and {TOP[used.dtype]} with --scale LOW:HIGH."
    )


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
            f"as with gdal_translate -co TILED=YES IN OUT, or give a --memory-budget of {enough(needed)}."
        )


def enough(size: int) -> str:
    """Return the smallest memory budget of at least some bytes, such as 1.5GB."""
    return f"{-(-size // 10**8) / 10:.1f}GB"


def _record(
    scene: Scene,
    scaling: ReflectanceScaling,
    *,
    encoding: Encoding | None,
    asked: Sequence[BandChoice] | None,
) -> SceneRecord:
    """Return how a scene is read, with the bands that the user asked for."""
    source = scene.selection.source
    return SceneRecord(
        scene=short_name(scene.name),
        bands=scene.bands,
        band_names=scene.selection.names,
        bands_source="by their names" if source == "given" and asked is None else source,
        encoding=encoding,
        scaling=scaling,
        resampled_from_metres=scene.grid.resampled_from,
    )


def _adapted_scenes(scenes: Sequence[Scene], model: ModelMetadata) -> tuple[int, ...]:
    """Return the indices of the scenes that a model was adapted to, known by their pixels."""
    if model.adaptation is None or model.adaptation.scene_sha256 is None:
        return ()
    known = model.adaptation.scene_sha256
    return tuple(number for number, scene in enumerate(scenes) if scene.digest() == known)


def _digest(
    records: Sequence[SceneRecord], files: Sequence[Path], *, samples: Sequence[np.ma.MaskedArray]
) -> str:
    """Return a digest of all that determines the pixels of scenes."""
    found = hashlib.sha256(stat_digest(files).encode())
    found.update(json.dumps([(each.bands, each.scaling.to_json()) for each in records]).encode())
    for sample in samples:
        found.update(sample.data.tobytes() + np.ma.getmaskarray(sample).tobytes())
    return found.hexdigest()
