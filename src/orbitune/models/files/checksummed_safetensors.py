"""safetensors files with a CRC-32 of all other bytes in their metadata."""

import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from orbitune.files import replacing

if TYPE_CHECKING:
    from torch import Tensor

_PLACEHOLDER = "0" * 8
_ENTRY = re.compile(rb'"crc32":"([0-9a-f]{8})"')
_HEADER = 100 << 20  # bytes; safetensors reads no longer header
_BLOCK = 4 << 20


def save_checksummed(
    path: Path, tensors: "dict[str, Tensor]", *, metadata: dict[str, str] | None = None
) -> None:
    """Write tensors and text as one safetensors file with a checksum.

    Args:
        path: file to write.
        tensors: tensors by name.
        metadata: strings for the header.

    Raises:
        OrbituneError: it cannot be written.
    """
    from safetensors.torch import save_file

    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(contiguous, temporary, metadata={**(metadata or {}), "crc32": _PLACEHOLDER})
        place, _, crc = _compute_checksum(temporary)
        with temporary.open("r+b") as file:
            file.seek(place)
            file.write(b"%08x" % crc)


def check_checksum(path: Path) -> None:
    """Compare a file with its checksum.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or has no checksum.
    """
    _, stated, crc = _compute_checksum(path)
    if stated != b"%08x" % crc:
        raise ValueError("it does not match its checksum")


def _compute_checksum(path: Path) -> tuple[int, bytes, int]:
    """Return the checksum's place, its stated value, and the computed value."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= _HEADER:
            raise ValueError("its header is damaged")
        header = file.read(length)
        # The last one: text before it may hold the same words.
        entry = next(reversed(list(_ENTRY.finditer(header))), None)
        if entry is None:
            raise ValueError("it has no checksum, or a damaged one")
        blanked = header[: entry.start(1)] + _PLACEHOLDER.encode() + header[entry.end(1) :]
        crc = zlib.crc32(blanked, zlib.crc32(length.to_bytes(8, "little")))
        while block := file.read(_BLOCK):
            crc = zlib.crc32(block, crc)
    return 8 + entry.start(1), entry[1], crc
