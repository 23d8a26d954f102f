"""Encoding of a scene: how its numbers become reflectance."""

from collections.abc import Callable, Sequence
from typing import Literal, cast

import numpy as np

from orbitune.mapping.scene.bands import BandTags, Level
from orbitune.mapping.scene.encoding_statistics import (
    EUROSAT_WHITE,
    FRACTIONS,
    QUANTIFICATION,
    BandStatistics,
    Finding,
    find_level,
    find_offset,
    find_unit,
    telling_bands,
)
from orbitune.records import JsonTuple, Record

Kind = Literal["reflectance", "digital numbers", "16-bit fractions", "scaled numbers", "8 bits", "unknown"]
Certainty = Literal["stated", "likely", "unknown"]

NO_DATA = "no pixel holds data"  # the evidence of an empty scene
_MAX_REFLECTANCE_SCALE = 0.01  # tagged scales up to this yield reflectance, larger ones other units
_NAMES = {"digital numbers": "digital numbers x 10,000", "16-bit fractions": "reflectance x 65,535"}


class Encoding(Record):
    """The encoding of the bands that are read: reflectance = number * scale + offset.

    Attributes:
        kind: `digital numbers` are reflectance x 10,000, as integers or floats; `16-bit fractions` are
            reflectance x 65,535 (Sentinel Hub); `scaled numbers` have another scale in their metadata; the
            reflectance of `8 bits` is not known, and taken as EuroSAT's, where 255 is 0.275.
        scale, offset: of each band.
        level: Sentinel-2's L1C (top of the atmosphere) or L2A (surface); None if not known.
        offset_stated: whether metadata states the offset; else it was found by the darkest pixels.
        certainty: `stated` by metadata, `likely` by dtype and statistics, or `unknown`.
        evidence: what it was recognised by.
    """

    kind: Kind
    scale: JsonTuple[float]
    offset: JsonTuple[float]
    level: Level | None = None
    offset_stated: bool = False
    certainty: Certainty
    evidence: JsonTuple[str] = ()

    @property
    def certain(self) -> bool:
        """Return whether metadata or statistics tell the encoding."""
        return self.certainty != "unknown"

    @property
    def white(self) -> int | None:
        """Return the number in the file that is 255 of 8 bits; None for other encodings, or where unsure."""
        if self.kind != "8 bits" or not self.certain:
            return None
        return round(EUROSAT_WHITE / self.scale[0])  # 1 for floats in steps of 1/255

    def describe(self) -> str:
        """Return the encoding and its evidence in one line."""
        parts = [_NAMES.get(self.kind, self.kind)]
        if any(self.offset):
            parts.append("offset " + ", ".join(f"{offset:g}" for offset in dict.fromkeys(self.offset)))
        if self.level:
            parts.append(self.level)
        return f"{', '.join(parts)} ({self.certainty}: {'; '.join(self.evidence)})"


def recognise_encoding(
    tags: Sequence[BandTags],
    dtype: str,
    *,
    sample: np.ma.MaskedArray,
    pixels: Callable[[], np.ndarray],
    names: Sequence[str | None],
    level: Level | None = None,
) -> Encoding:
    """Recognise the encoding of a scene.

    Args:
        tags: what metadata states of each band.
        dtype: of the bands, as numpy names it.
        sample: an overview of the scene (bands, H, W), masked where it has no data.
        pixels: returns some numbers as they are in the file, neither averaged nor interpolated, float
            (bands, N); called only if no metadata state a scale.
        names: canonical name of each band, such as B04; None where it is not known.
        level: as metadata states it; None to tell it by the statistics.
    """
    scale = np.array([tag.scale for tag in tags])
    offset = np.array([tag.offset or 0.0 for tag in tags])
    offset_stated = any(tag.offset is not None for tag in tags)
    telling = telling_bands(names)
    names = [names[band] for band in telling]
    kind, measured = _stated_kind(scale), BandStatistics.measure(sample[telling])
    findings: list[Finding] = []
    if measured is None:
        findings.append(Finding(kind or "unknown", 1.0, False, NO_DATA))
    elif kind is None:
        numbers = pixels()[telling] * scale[telling, None] + offset[telling, None]
        statistics = measured.linear(scale[telling], offset[telling])
        findings.append(find_unit(statistics, dtype, pixels=numbers, names=names))
    if kind is None:
        kind = cast(Kind, findings[0].kind)
        scale, offset = scale * findings[0].value, offset * findings[0].value
    if measured is not None and kind not in ("8 bits", "unknown"):
        reflectance = measured.linear(scale[telling], offset[telling])
        if not offset_stated:
            findings.append(find_offset(reflectance, names))
            offset = offset + findings[-1].value
            reflectance = measured.linear(scale[telling], offset[telling])
        level = level or cast("Level | None", find_level(reflectance.dark, names))
    sources = [tag.source for tag in tags if tag.source]
    return Encoding(
        kind=kind,
        scale=tuple(scale.tolist()),
        offset=tuple(offset.tolist()),
        level=level,
        offset_stated=offset_stated,
        certainty=_certainty(findings),
        evidence=tuple(dict.fromkeys([*sources, *(found.evidence for found in findings)])),
    )


def _stated_kind(scale: np.ndarray) -> Kind | None:
    """Return the kind of numbers with these scales; None for other units."""
    if not ((scale != 1) & (np.abs(scale) <= _MAX_REFLECTANCE_SCALE)).any():
        return None
    for kind, steps in (("digital numbers", QUANTIFICATION), ("16-bit fractions", FRACTIONS)):
        if np.allclose(scale * steps, 1, rtol=1e-6):
            return cast(Kind, kind)
    return "scaled numbers"


def _certainty(findings: Sequence[Finding]) -> Certainty:
    """Return how certain an encoding is that metadata and these findings tell."""
    if not all(found.likely for found in findings):
        return "unknown"
    return "likely" if findings else "stated"
