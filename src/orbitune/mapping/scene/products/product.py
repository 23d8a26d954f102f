"""Recognition of scenes whose bands lie in files of their own."""

from orbitune.mapping.scene.containers import list_files, rasters_among
from orbitune.mapping.scene.products.band_files import Product, name_bands
from orbitune.mapping.scene.products.landsat import read_landsat
from orbitune.mapping.scene.products.safe import find_safe_metadata, read_safe
from orbitune.mapping.scene.products.stac import is_stac_item, read_stac_item


def find_product(name: str) -> Product | None:
    """Return the band files of a scene; None if its name is that of a raster.

    Args:
        name: a folder or an archive of band files, of which Landsat's products are some, a SAFE product
            (folder, zip or file of metadata), or a STAC item (file or URL).

    Raises:
        DataError: it is a SAFE product or a STAC item that cannot be read, a Landsat Level-1 product, or has
            several files of a band.
    """
    if not name.strip():
        return None
    if is_stac_item(name):
        return read_stac_item(name)
    if metadata := find_safe_metadata(name):
        return read_safe(metadata)
    rasters = rasters_among(list_files(name))
    return read_landsat(rasters, whose=name) or name_bands(rasters, whose=name)
