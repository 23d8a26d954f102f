"""One raster of band files, as a VRT on the grid of the finest band."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from orbitune.errors import DataError
from orbitune.mapping.scene.bands import gdal_name, sentinel_tags
from orbitune.mapping.scene.products.band_files import BandFile
from orbitune.mapping.scene.raster_io import block_bytes, local_files, open_raster

_MAX_RATIO = 12  # of pixel sides of two bands; Sentinel-2's are 10, 20 and 60 m
_TYPES = {"uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32"}
_TYPES |= {"int32": "Int32", "float32": "Float32", "float64": "Float64"}


@dataclass(frozen=True)
class _Header:
    """What a VRT states of a band, read from the header of its file."""

    band: BandFile
    number: int
    source: str
    crs: Any
    transform: Any
    width: int
    height: int
    dtype: str
    nodata: float | None
    scale: float
    offset: float
    tags: dict[str, str]
    has_mask: bool
    block_bytes: int
    files: tuple[Path, ...]

    @classmethod
    def read(cls, band: BandFile) -> "_Header":
        from rasterio.enums import MaskFlags

        with open_raster(band.path) as file:
            number = band.number or _only_band(file, band)
            if number > file.count:
                raise DataError(f"{band.path} has {file.count} bands and lacks band {number}.")
            return cls(
                band=band,
                number=number,
                source=gdal_name(file),
                crs=file.crs,
                transform=file.transform,
                width=file.width,
                height=file.height,
                dtype=file.dtypes[number - 1],
                nodata=band.nodata if band.nodata is not None else file.nodatavals[number - 1],
                scale=file.scales[number - 1],
                offset=file.offsets[number - 1],
                tags=sentinel_tags(file, number),
                has_mask=file.mask_flag_enums[number - 1] == [MaskFlags.per_dataset],
                block_bytes=block_bytes(file),
                files=tuple(local_files(file, band.path)),
            )

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Return the coordinates of the first and of the last corner."""
        return (*(self.transform * (0, 0)), *(self.transform * (self.width, self.height)))

    @property
    def side(self) -> float:
        """Return the length of a row's pixel in units of the CRS."""
        return abs(complex(self.transform.a, self.transform.d))


def _only_band(file: Any, band: BandFile) -> int:
    """Return the number of the one band of a file that is no transparency.

    Raises:
        DataError: there are several.
    """
    from rasterio.enums import ColorInterp

    numbers = [n for n, shown in enumerate(file.colorinterp, 1) if shown != ColorInterp.alpha]
    if len(numbers) != 1:
        raise DataError(
            f"{band.path} has {len(numbers)} bands, but its name is that of band {band.name} alone: rename "
            "the file, or give a file for each band."
        )
    return numbers[0]


@dataclass(frozen=True)
class BandVRT:
    """A VRT of band files.

    Attributes:
        xml: which GDAL opens as a file.
        files: local files that it is read from.
        block_bytes: size in memory of a block of each band, together.
    """

    xml: str
    files: tuple[Path, ...]
    block_bytes: int


def stack_bands(bands: Sequence[BandFile], *, whose: str) -> BandVRT:
    """Return a VRT of some band files, those of coarser pixels resampled bilinearly.

    Args:
        bands: in the order of the VRT's bands.
        whose: the scene, for messages.

    Raises:
        DataError: a file cannot be opened, or the bands lie on grids that do not fit.
    """
    headers = [_Header.read(band) for band in bands]
    finest = min(headers, key=lambda header: header.side)
    for header in headers:
        _check_fit(header, finest, whose=whose)
    inner = "".join(_band_xml(header, finest, number=n) for n, header in enumerate(headers, 1))
    masked = [header for header in headers if header.has_mask]
    if masked:
        mask = _source_xml(masked[0], finest, kind="SimpleSource", number=f"mask,{masked[0].number}")
        inner += f'<MaskBand><VRTRasterBand dataType="Byte">{mask}</VRTRasterBand></MaskBand>'
    place, crs = finest.transform, finest.crs
    srs = f"<SRS>{escape(crs.to_wkt())}</SRS>" if crs else ""
    coefficients = (place.c, place.a, place.b, place.f, place.d, place.e)
    return BandVRT(
        f'<VRTDataset rasterXSize="{finest.width}" rasterYSize="{finest.height}">{srs}'
        f"<GeoTransform>{','.join(map(repr, coefficients))}</GeoTransform>{inner}</VRTDataset>",
        tuple(sorted({file for header in headers for file in header.files})),
        sum(header.block_bytes for header in headers),
    )


def _check_fit(header: _Header, finest: _Header, *, whose: str) -> None:
    """Raise a DataError unless a band can be resampled to the grid of the finest one."""
    pair = f"bands {finest.band.name} and {header.band.name} of {whose}"
    if header.crs != finest.crs:
        systems = " and ".join(crs.to_string()[:40] if crs else "none" for crs in (finest.crs, header.crs))
        raise DataError(
            f"The {pair} have different coordinate reference systems, {systems}: warp them to one, such as "
            "with gdalwarp -t_srs EPSG:32632 IN OUT."
        )
    same_size = (header.width, header.height) == (finest.width, finest.height)
    if same_size and header.transform.almost_equals(finest.transform, 1e-9 * finest.side):
        return
    if any((each.transform.b, each.transform.d) != (0, 0) for each in (header, finest)):
        raise DataError(
            f"The {pair} lie on different grids, one of them turned: warp them to one, such as with gdalwarp "
            "-t_srs EPSG:32632 -tr 10 10 IN OUT."
        )
    if header.side > _MAX_RATIO * finest.side:
        raise DataError(
            f"The {pair} have pixels of {finest.side:g} and {header.side:g} units of their CRS, which "
            "are too different to resample here: resample them first, such as with gdalwarp -tr 10 10 IN OUT."
        )
    away = max(abs(one - other) for one, other in zip(header.bounds, finest.bounds, strict=True))
    if away > header.side:
        raise DataError(
            f"The {pair} cover different areas: cut them to one, such as with gdalwarp -te XMIN YMIN XMAX "
            "YMAX IN OUT."
        )


def _band_xml(header: _Header, finest: _Header, *, number: int) -> str:
    """Return the element of one band."""
    if header.dtype not in _TYPES:
        raise DataError(
            f"Band {header.band.name} in {header.band.path} is of the type {header.dtype}: write it as "
            "UInt16 or Float32."
        )
    items = "".join(f"<MDI key={quoteattr(key)}>{escape(value)}</MDI>" for key, value in header.tags.items())
    nodata = "" if header.nodata is None else f"<NoDataValue>{header.nodata!r}</NoDataValue>"
    source = _source_xml(
        header,
        finest,
        kind="SimpleSource" if header.nodata is None else "ComplexSource",
        number=str(header.number),
    )
    return (
        f'<VRTRasterBand dataType="{_TYPES[header.dtype]}" band="{number}"><Metadata>{items}</Metadata>'
        f"<Description>{escape(header.band.name)}</Description>{nodata}<Offset>{header.offset!r}</Offset>"
        f"<Scale>{header.scale!r}</Scale>{source}</VRTRasterBand>"
    )


def _source_xml(header: _Header, finest: _Header, *, kind: str, number: str) -> str:
    """Return the source element of a band or mask, on the grid of the finest band."""
    to_pixels = ~finest.transform
    left, top, right, bottom = (
        round(value, 6)
        for x, y in ((0, 0), (header.width, header.height))
        for value in to_pixels * (header.transform * (x, y))
    )
    nodata = f"<NODATA>{header.nodata!r}</NODATA>" if kind == "ComplexSource" else ""
    return (
        f'<{kind} resampling="bilinear"><SourceFilename relativeToVRT="0">{escape(header.source)}'
        f"</SourceFilename><SourceBand>{number}</SourceBand>"
        f'<SrcRect xOff="0" yOff="0" xSize="{header.width}" ySize="{header.height}"/>'
        f'<DstRect xOff="{left!r}" yOff="{top!r}" xSize="{right - left!r}" ySize="{bottom - top!r}"/>'
        f"{nodata}</{kind}>"
    )
