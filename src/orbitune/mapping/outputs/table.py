"""The files that a map is written to: one table of outputs.

To add an output, add one entry to OUTPUTS: the command line gets an option of its name, `map_scene` a key of
its name, and the app puts its file into the download.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orbitune.errors import DataError
from orbitune.inference.output_places import check_name, check_parent
from orbitune.suggestions import unknown

if TYPE_CHECKING:
    from orbitune.mapping.outputs.rasters import MapRasters


@dataclass(frozen=True)
class MapOutput:
    """One kind of file that a map can be written to.

    Attributes:
        name: of the option, and of the key in `map_scene`.
        filename: the default file name, used by the app.
        help: for the command line.
        write: writes the file. The file of the output `map` exists before all others are written.
        tasks: of the models that it can be made with, see `Bundle.task`.
    """

    name: str
    filename: str
    help: str
    write: "Callable[[MapRasters, Path], None]"
    tasks: tuple[str, ...] = ("single-label", "multi-label")

    def check_suffix(self, path: Path) -> None:
        """Check that the ending of a file name, if it has one, is that of the format.

        Raises:
            DataError: it is that of another.
        """
        own = Path(self.filename).suffix
        if path.suffix.lower().replace(".tiff", ".tif") not in ("", own):
            raise DataError(f"{path}: the file of the {self.name} ends in {own}; give it such a name.")


# The writers are imported on use, so that the command line starts without numpy and rasterio.


def _write_map(rasters: "MapRasters", path: Path) -> None:
    if rasters.label_sets:
        from orbitune.mapping.label_sets.files import write_probabilities

        write_probabilities(rasters, path)
        return
    from orbitune.mapping.outputs.writer import write_map

    write_map(rasters, path)


def _write_labels(rasters: "MapRasters", path: Path) -> None:
    from orbitune.mapping.label_sets.files import write_labels

    write_labels(rasters, path)


def _write_confidence(rasters: "MapRasters", path: Path) -> None:
    from orbitune.mapping.outputs.writer import write_confidence

    write_confidence(rasters, path)


def _write_polygons(rasters: "MapRasters", path: Path) -> None:
    from orbitune.mapping.outputs.polygons import write_polygons

    write_polygons(rasters, path)


def _write_preview(rasters: "MapRasters", path: Path) -> None:
    if rasters.label_sets:
        from orbitune.mapping.label_sets.preview import write_panels

        write_panels(rasters, path)
        return
    from orbitune.mapping.outputs.preview import write_preview

    write_preview(rasters, path)


OUTPUTS = {
    output.name: output
    for output in (
        MapOutput(
            "map",
            "landcover.tif",
            "Map to write: a Cloud Optimized GeoTIFF; with several labels a tile, percentages by class",
            _write_map,
        ),
        MapOutput(
            "confidence",
            "confidence.tif",
            "GeoTIFF of the probability of each label, in percent",
            _write_confidence,
            ("single-label",),
        ),
        MapOutput(
            "polygons",
            "landcover.gpkg",
            "GeoPackage of the map as polygons",
            _write_polygons,
            ("single-label",),
        ),
        MapOutput(
            "labels",
            "labels.tif",
            "GeoTIFF with a band of 0 and 1 per class, for models that give a tile several labels",
            _write_labels,
            ("multi-label",),
        ),
        MapOutput(
            "preview",
            "preview.png",
            "PNG of scene and map, with legend and scale bar",
            _write_preview,
        ),
    )
}


def resolve_paths(outputs: str | Path | Mapping[str, str | Path]) -> dict[str, Path]:
    """Return the path of each output by its name, in the order of OUTPUTS.

    Args:
        outputs: path of the map, or paths by name; `map` is required.

    Raises:
        DataError: a name is unknown, or `map` is missing.
    """
    given = outputs if isinstance(outputs, Mapping) else {"map": outputs}
    for name in given:
        if name not in OUTPUTS:
            raise DataError(unknown("output", name, known=OUTPUTS))
    if "map" not in given:
        raise DataError("Give the path of the map as output 'map': the other outputs are made from it.")
    return {name: Path(given[name]) for name in OUTPUTS if name in given}


def check_output_paths(
    paths: Mapping[str, Path], inputs: Sequence[Path], *, derived: Sequence[Path] = ()
) -> None:
    """Check that outputs replace no input, output or folder, fit their format, and can be written.

    Args:
        paths: path of each output by its name.
        inputs: files that the map is made from, such as those of the scene, see `raster_io.local_files`.
        derived: files that are written beside the map, see `analysis.derived_files`.

    Raises:
        DataError: one does not.
    """
    check_files([*paths.values(), *derived], inputs)
    for name, path in paths.items():
        OUTPUTS[name].check_suffix(path)


def check_files(written: Sequence[Path], inputs: Sequence[Path]) -> None:
    """Check that files can be written and replace no input: before the work, which would be lost.

    Raises:
        DataError: one is an input or another file to write, a folder or a device, or its folder is none or
            not writable, or its name is too long.
    """
    taken = {path.resolve() for path in inputs}
    for path in written:
        if path.resolve() in taken:
            raise DataError(
                f"The inputs and the files to write must have different names: {path} is named twice."
            )
        taken.add(path.resolve())
        _check_place(path)


def _check_place(path: Path) -> None:
    """Raise a DataError unless a file can be written at a path."""
    check_name(path)
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "not a regular file"
        raise DataError(f"{path} is {kind}: name a file.")
    check_parent(path)
