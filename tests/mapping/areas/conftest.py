"""Maps of known classes, and reference points on them."""

import json

import numpy as np
import pytest
from scenes import write_scene

pytest.importorskip("rasterio", reason="needs the extra geo")

NAMES = {0: "no data", 1: "Forest", 2: "River", 3: "Highway", 255: "not sure"}


@pytest.fixture
def write_map(tmp_path):
    """Writes codes (H, W) as a map with pixels of 10 m and the usual tags."""
    import rasterio

    from orbitune.mapping.map_report import MapMetadata
    from orbitune.mapping.scene.radiometry import ReflectanceScaling

    def write_map(
        codes,
        name="map.tif",
        confusion=None,
        names=NAMES,
        tile=2,
        confusion_tile=None,
        adapted_at=(),
        **profile,
    ):
        metadata = MapMetadata(
            made_by="orbitune",
            model="bundle",
            classes=tuple(text for code, text in names.items() if code not in (0, 255)),
            scene="scene.tif",
            pixels=codes.shape,
            bands=(1, 2, 3),
            bands_source="given",
            scaling=ReflectanceScaling(low=(0.0,) * 3, high=(255.0,) * 3, source=""),
            resolution_metres=10.0,
            stride=tile,
            tile=tile,
            mode="tiles",
            not_sure=True,
            parts=1,
            confusion=confusion,
            confusion_tile=confusion_tile,
            adapted_at=adapted_at,
        )
        path = write_scene(tmp_path / name, np.asarray(codes, np.uint8)[:, :, None], nodata=0, **profile)
        with rasterio.open(path, "r+") as file:
            file.update_tags(
                CLASSES=json.dumps({str(code): text for code, text in names.items()}),
                ORBITUNE=metadata.model_dump_json(),
            )
        return path

    return write_map


@pytest.fixture
def write_points(tmp_path):
    """Writes points at pixels (row, column) of a map of `write_map`, with fields."""
    import pyogrio.raw
    import shapely

    def write_points(pixels, name="points.gpkg", crs="EPSG:32632", **fields):
        rows, columns = np.array(pixels, float).reshape(-1, 2).T
        places = shapely.points(600_000 + 10 * (columns + 0.5), 5_500_000 - 10 * (rows + 0.5))
        kinds = [float if isinstance(value[0], float) else object for value in fields.values()]
        values = [np.array(value, kind) for value, kind in zip(fields.values(), kinds, strict=True)]
        pyogrio.raw.write(
            tmp_path / name, shapely.to_wkb(places), values, list(fields), geometry_type="Point", crs=crs
        )
        return tmp_path / name

    return write_points
