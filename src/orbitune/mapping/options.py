"""What is asked of a map, and what is said of it when it is done."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from orbitune.errors import DataError
from orbitune.mapping.reader import RESOLUTION


@dataclass(frozen=True)
class MapOptions:
    """What is asked for besides the map itself.

    Attributes:
        bands: numbers from 1 of red, green and blue; None for those that the file names so.
        stride: side of a labelled cell in pixels of the training resolution; None for the tile's.
        mode: `tiles`, each cell by a tile of its own; `dense`, by tokens that tiles share; or `auto`, dense
            where the stride is a quarter of the tile or less.
        scale: see `scaling.choose_scaling`.
        resolution: metres per pixel of the training tiles.
        grid: `scene`, pixels as those of the scene; or `cells`, a pixel for each cell.
        memory_budget: of this process, such as 2GB.
        engine: `local` or `ray`.
        not_sure: `on`, cells unlike the training tiles have no class; or `off`.
        driver: the only format of the scene that is taken, as GDAL names it; None for any.
    """

    bands: tuple[int, ...] | None = None
    stride: int | None = None
    mode: str = "auto"
    scale: str | None = None
    resolution: float = RESOLUTION
    grid: str = "scene"
    memory_budget: str = "2GB"
    engine: str = "local"
    not_sure: str = "on"
    driver: str | None = None

    def __post_init__(self) -> None:
        for name, allowed in (
            ("mode", ("auto", "tiles", "dense")),
            ("grid", ("scene", "cells")),
            ("engine", ("local", "ray")),
            ("not_sure", ("on", "off")),
        ):
            if getattr(self, name) not in allowed:
                option, given = name.replace("_", "-"), getattr(self, name)
                raise DataError(f"There is no --{option} {given}; there is: {', '.join(allowed)}.")
        if not 0 < self.resolution < math.inf:
            raise DataError(f"--resolution is in metres per pixel, such as 10, not {self.resolution:g}.")


def parse_bands(text: str) -> tuple[int, ...] | None:
    """Return `3,2,1` as numbers; None for a blank, which leaves it to the file.

    Raises:
        DataError: it is something else.
    """
    if not text.strip():
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise DataError(f"--bands are three numbers, such as 3,2,1, not {text!r}.") from None


@dataclass(frozen=True)
class Outputs:
    """Where files go; None for those that are not wanted."""

    map: Path
    confidence: Path | None = None
    polygons: Path | None = None
    preview: Path | None = None

    def check(self, scene: Sequence[Path]) -> None:
        """Raise a DataError if an output would replace the scene, another output or a folder.

        Args:
            scene: the files that the scene is read from, see `opening.local_files`.
        """
        named = [path for path in (self.map, self.confidence, self.polygons, self.preview) if path]
        places = [*{path.resolve() for path in scene}, *(path.resolve() for path in named)]
        if len(set(places)) < len(places):
            raise DataError("The scene and the files to write must have different names.")
        for path in named:
            if path.exists() and not path.is_file():
                what = "a folder" if path.is_dir() else "no regular file"
                raise DataError(f"{path} is {what}: name a file.")


@dataclass
class MapReport:
    """What was done, as it is said to the user and written beside the map's tags.

    Attributes:
        facts: how the map was made.
        areas: one row for each class, see `areas.areas`.
        warnings: what the user should look at.
        agreement: of a dense map with the tile-by-tile answers, see `Agreement`; None of another.
    """

    facts: dict[str, Any]
    areas: list[dict[str, Any]]
    warnings: list[str] = field(default_factory=list)
    agreement: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the report for --json."""
        return asdict(self)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return header and rows of the table of areas."""
        header = ["class", "hectares", "share", "estimated hectares (95 % interval)"]
        rows = []
        for area in self.areas:
            row = [area["name"], f"{area['hectares']:,.0f}", f"{area['share']:.1%}", ""]
            if "low_hectares" in area:
                values = (area[f"{name}_hectares"] for name in ("estimated", "low", "high"))
                row[-1] = "{:,.0f} ({:,.0f} to {:,.0f})".format(*values)
            rows.append(row)
        return header, rows
