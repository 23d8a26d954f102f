"""Files of equally sized rows, with checksums that are verified on reading.

So damage is found without reading a whole file of gigabytes. CRC-32 is the cheapest checksum at hand: 4 GB/s
on one core (SHA-256 1.8, BLAKE2b 0.9), 3.5 microseconds for a tile of 64 x 64 pixels.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MAX_VERIFIED = 1 << 30  # bytes that are verified when a file is opened, in a quarter of a second
_BLOCK = 4 << 20  # bytes read at a time


class DamagedRowError(Exception):
    """A row does not match its checksum.

    Attributes:
        row: its index.
    """

    def __init__(self, row: int) -> None:
        super().__init__(f"row {row} is damaged")
        self.row = row


@dataclass(frozen=True)
class ChecksummedRows:
    """N rows in a file.

    Attributes:
        file: must not change while rows are read.
        offset: bytes before the first row.
        row_bytes: bytes of each row.
        sums: CRC-32 of each row, uint32 (N,).
    """

    file: Path
    offset: int
    row_bytes: int
    sums: np.ndarray

    def read(self, rows: Sequence[int], out: np.ndarray) -> None:
        """Read rows and verify their checksums.

        Args:
            rows: indices of the rows.
            out: receives them, uint8 (len(rows), row_bytes), contiguous.

        Raises:
            DamagedRowError: a row is missing or does not match its checksum.
        """
        # Not through a memory map, whose pages would count as memory of this process.
        with self.file.open("rb", buffering=0) as file:
            for target, row in zip(out, rows, strict=True):
                file.seek(self.offset + row * self.row_bytes)
                if file.readinto(target.data) != self.row_bytes or zlib.crc32(target.data) != self.sums[row]:
                    raise DamagedRowError(row)

    @property
    def whole(self) -> bool:
        """Return whether the size and, up to `MAX_VERIFIED` bytes, all rows are right."""
        size = self.row_bytes * len(self.sums)
        if not self.file.is_file() or self.file.stat().st_size != self.offset + size:
            return False
        return size > MAX_VERIFIED or np.array_equal(self._compute_sums(), self.sums)

    def _compute_sums(self) -> np.ndarray:
        """Return the checksums of the rows in the file."""
        with self.file.open("rb") as file:
            file.seek(self.offset)
            count = max(1, _BLOCK // self.row_bytes) * self.row_bytes
            blocks = iter(lambda: file.read(count), b"")
            return np.fromiter(
                (sum_ for block in blocks for sum_ in checksums(block, self.row_bytes)), np.uint32
            )


def checksums(data: bytes | memoryview, row_bytes: int) -> Iterator[int]:
    """Yield the CRC-32 of each row of contiguous bytes.

    Args:
        data: contiguous rows.
        row_bytes: bytes per row.

    Yields:
        One CRC-32 per row.
    """
    view = memoryview(data)
    return (zlib.crc32(view[start : start + row_bytes]) for start in range(0, len(view), row_bytes))
