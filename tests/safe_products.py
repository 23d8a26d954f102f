"""Sentinel-2 products in the layout of ESA's SAFE format, with given pixels."""

from pathlib import Path

import numpy as np

_ROOTS = {"L1C": "Level-1C_User_Product", "L2A": "Level-2A_User_Product"}
_TAGS = {
    "L1C": ("QUANTIFICATION_VALUE", "Radiometric_Offset_List", "RADIO_ADD_OFFSET"),
    "L2A": ("BOA_QUANTIFICATION_VALUE", "BOA_ADD_OFFSET_VALUES_LIST", "BOA_ADD_OFFSET"),
}


def write_jp2(path: Path, pixels: np.ndarray, **place: object) -> None:
    """Write (H, W) as a lossless JPEG 2000 like ESA's, without GDAL's sidecar."""
    import rasterio

    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = pixels.shape
    profile = {"driver": "JP2OpenJPEG", "height": height, "width": width, "count": 1, "dtype": pixels.dtype}
    with rasterio.open(path, "w", QUALITY=100, REVERSIBLE="YES", **profile, **place) as file:
        file.write(pixels, 1)
    path.with_name(f"{path.name}.aux.xml").unlink(missing_ok=True)


def write_safe(
    folder: Path, bands: dict[str, np.ndarray], *, level: str, offset: int | None, crs: str, transform: object
) -> Path:
    """Write a product of bands at 10, 20 and 60 m, and return its folder.

    `transform` is that of the 10 m pixels.

    Args:
        folder: to make it in.
        bands: uint16 (H, W), smaller ones of larger pixels, by name.
        level: L1C or L2A.
        offset: of the digital numbers, such as -1000; None for a product before baseline 04.00.
    """
    baseline = "N0301" if offset is None else "N0400"
    product = folder / f"S2A_MSI{level}_20220301T102019_{baseline}_R065_T32TLS_20220301T140000.SAFE"
    images = product / "GRANULE" / f"{level}_T32TLS_A034948_20220301T102019" / "IMG_DATA"
    widest = max(pixels.shape[1] for pixels in bands.values())
    for name, pixels in bands.items():
        factor = widest // pixels.shape[1]
        place = {"crs": crs, "transform": transform * type(transform).scale(factor)}
        for times in {factor, 2} if level == "L2A" and factor == 1 else {factor}:
            metres = 10 * times
            part = (
                f"R{metres}m/T32TLS_20220301T102019_{name}_{metres}m" if level == "L2A" else f"T32TLS_{name}"
            )
            step = times // factor
            place["transform"] = transform * type(transform).scale(times)
            write_jp2(images / f"{part}.jp2", np.ascontiguousarray(pixels[::step, ::step]), **place)
    if level == "L2A":
        write_jp2(
            images / "R20m" / "T32TLS_20220301T102019_SCL_20m.jp2", np.full((20, 20), 4, np.uint8), **place
        )
    (product / f"MTD_MSI{level}.xml").write_text(_metadata(level, offset))
    return product


def _metadata(level: str, offset: int | None) -> str:
    """The elements of a product's metadata that state its radiometry."""
    quantification, parent, tag = _TAGS[level]
    offsets = "".join(f'<{tag} band_id="{number}">{offset}</{tag}>' for number in range(13))
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><n1:{_ROOTS[level]} xmlns:n1="https://psd-14.sentinel2.eo.esa.int">'
        f"<n1:General_Info><Product_Info><PROCESSING_LEVEL>Level-{level[1:]}</PROCESSING_LEVEL></Product_Info>"
        f'<Product_Image_Characteristics><{quantification} unit="none">10000</{quantification}>'
        f"{'' if offset is None else f'<{parent}>{offsets}</{parent}>'}"
        f"</Product_Image_Characteristics></n1:General_Info></n1:{_ROOTS[level]}>"
    )
