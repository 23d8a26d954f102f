"""Sieve: patches of a class below a minimum area take the class around them."""

import heapq
from dataclasses import replace

import numpy as np

from orbitune.mapping.grid import NODATA, NOT_SURE
from orbitune.mapping.map_report import SieveRecord
from orbitune.mapping.outputs.rasters import MapRasters


def sieve_rasters(rasters: MapRasters, min_hectares: float) -> MapRasters:
    """Return the rasters of a map with small patches removed, see `sieve`."""
    codes, record = sieve(rasters.codes(), rasters.cell_hectares(), min_hectares=min_hectares)
    metadata = rasters.metadata.model_copy(update={"sieve": record})
    return replace(rasters, sieved=codes, metadata=metadata)


def sieve(codes: np.ndarray, hectares: np.ndarray, *, min_hectares: float) -> tuple[np.ndarray, SieveRecord]:
    """Give small patches the class that they share the longest border with.

    A patch is a set of cells of one class, connected by their sides. The smallest patch is merged first, so
    patches that are small together can grow to the minimum; GDAL's sieve leaves such patches. Nodata and
    not-sure cells stay as they are: they join no class, and no class joins them.

    Args:
        codes: uint8 (rows, columns).
        hectares: area of each cell, float (rows, columns).
        min_hectares: the minimum area.

    Returns:
        Codes, uint8 (rows, columns), and what was changed.
    """
    patches, found = _label_patches(codes)
    areas = np.bincount(patches.ravel(), hectares.ravel(), len(found))
    merged = _merge(areas, found, borders=_borders(patches, len(found)), least=min_hectares)
    changed = found[merged] != found
    is_patch = np.arange(len(found)) > 1
    left = (np.bincount(merged, areas, len(found)) < min_hectares) & (np.arange(len(found)) == merged)
    record = SieveRecord(
        min_hectares=min_hectares,
        patches=int(changed.sum()),
        hectares=float(areas[changed].sum()),
        remaining=int((left & is_patch).sum()),
    )
    return found[merged][patches], record


def _label_patches(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the patch of each cell, int32 (rows, columns), and codes, uint8 (N,).

    All nodata cells are one patch, and so are all not-sure cells.
    """
    from scipy.ndimage import label

    patches, found = np.zeros(codes.shape, np.int32), [NODATA, NOT_SURE]
    patches[codes == NOT_SURE] = 1
    for code in np.unique(codes):
        if code not in (NODATA, NOT_SURE):
            mask = codes == code
            numbers, count = label(mask)
            patches[mask] = numbers[mask] + (len(found) - 1)
            found += [int(code)] * count
    return patches, np.array(found, np.uint8)


def _borders(patches: np.ndarray, count: int) -> list[dict[int, int]]:
    """Return the number of cell sides that patches share with each neighbour.

    Borders with nodata and not-sure cells (patches 0 and 1) are left out.
    """
    pairs = []
    for one, other in ((patches[:, :-1], patches[:, 1:]), (patches[:-1], patches[1:])):
        across = (one != other) & (one > 1) & (other > 1)
        pairs.append(one[across].astype(np.int64) * count + other[across])
        pairs.append(other[across].astype(np.int64) * count + one[across])
    keys, lengths = np.unique(np.concatenate(pairs), return_counts=True)
    borders: list[dict[int, int]] = [{} for _ in range(count)]
    for key, length in zip(keys.tolist(), lengths.tolist(), strict=True):
        borders[key // count][key % count] = length
    return borders


def _merge(
    areas: np.ndarray, codes: np.ndarray, *, borders: list[dict[int, int]], least: float
) -> np.ndarray:
    """Merge patches until none that has a neighbour is smaller than the least area.

    Returns:
        The patch that each patch ends in, int (N,); its code is that of the merged patch.
    """
    sizes, into = areas.tolist(), list(range(len(areas)))
    same = codes.tolist()
    queue = [(size, patch) for patch, size in enumerate(sizes) if patch > 1 and size < least]
    heapq.heapify(queue)
    while queue:
        size, patch = heapq.heappop(queue)
        if into[patch] != patch or size != sizes[patch] or not borders[patch]:
            continue  # merged, or grown since it was queued, or surrounded by cells without a class
        target = max(borders[patch], key=lambda other: (borders[patch][other], sizes[other], -other))
        _join(patch, target, borders=borders, into=into, sizes=sizes)
        # Neighbours of the target's class are one patch with it now.
        for other in [each for each in borders[target] if same[each] == same[target]]:
            _join(other, target, borders=borders, into=into, sizes=sizes)
        if sizes[target] < least:
            heapq.heappush(queue, (sizes[target], target))
    return np.array([_find(into, patch) for patch in range(len(into))])


def _join(
    patch: int, target: int, *, borders: list[dict[int, int]], into: list[int], sizes: list[float]
) -> None:
    """Merge a patch into a neighbour, which gets its area and borders."""
    into[patch] = target
    sizes[target] += sizes[patch]
    for other, length in borders[patch].items():
        del borders[other][patch]
        if other != target:
            borders[target][other] = borders[target].get(other, 0) + length
            borders[other][target] = borders[other].get(target, 0) + length
    borders[patch] = {}


def _find(into: list[int], patch: int) -> int:
    """Return the patch that a patch ends in, and shorten the way to it."""
    while into[patch] != patch:
        into[patch] = patch = into[into[patch]]
    return patch
