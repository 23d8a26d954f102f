"""Integrity of stored values: hashes, JSON with a digest, bytes with a checksum."""

import functools
import hashlib
import json
import re
import stat
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from orbitune.errors import OrbituneError, first_line
from orbitune.files import json_text, write_text

LARGEST_JSON = 64 << 20  # bytes; parsed, it takes about ten times that
_DIGEST, _SEAL = '"digest": ', b"crc32:"


def file_hash(*files: Path, opened: Callable[[Path], BinaryIO] = lambda file: file.open("rb")) -> str:
    """Return the SHA-256 over the contents of files in this order, 64 hex digits.

    Args:
        opened: opens a file to read bytes.
    """
    digest = hashlib.sha256()
    for file in files:
        with opened(file) as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


@functools.cache
def code_hash() -> str:
    """Return twelve hex digits of a hash over the Python sources of this package."""
    return file_hash(*sorted(Path(__file__).parent.rglob("*.py")))[:12]


def write_checksummed_json(path: str | Path, value: dict[str, Any]) -> None:
    """Write a JSON object with a digest, which `read_checksummed_json` checks.

    Args:
        path: file to write or replace.
        value: JSON object without an entry `digest`.
    """
    text = json_text({**value, "digest": ""})
    hashed = hashlib.sha256(text[: text.rindex(_DIGEST)].encode()).hexdigest()
    length = len(text) + len(hashed) + 1
    length += len(str(length + len(str(length))))
    write_text(path, json_text({**value, "digest": f"{hashed}:{length}"}))


def read_checksummed_json(path: str | Path, largest: int = LARGEST_JSON) -> dict[str, Any]:
    """Read a JSON object without its digest.

    A digest that does not match is an error, unless the length of the text has changed too: then somebody
    edited the file, and the content is accepted. Objects without a digest, as earlier versions wrote them,
    are accepted as well.

    Args:
        path: file to read.
        largest: size limit in bytes.

    Returns:
        The object without its digest.

    Raises:
        OrbituneError: as `read_json`; or it holds no JSON object, or was damaged.
    """
    text, value = _load_json(Path(path), largest)
    if not isinstance(value, dict):
        raise OrbituneError(f"{path} holds no JSON object; it is damaged.")
    if not _matches_digest(text, value):
        raise OrbituneError(
            f"{path} is damaged: it does not match its digest. If it was edited on purpose, remove its entry "
            '"digest".'
        )
    return {name: each for name, each in value.items() if name != "digest"}


def read_cached_json(path: str | Path) -> dict[str, Any] | None:
    """Read a cached JSON object; None if it is missing or damaged."""
    try:
        return read_checksummed_json(path)
    except OrbituneError:
        return None


def _matches_digest(text: str, value: dict[str, Any]) -> bool:
    """Return whether a text is undamaged, by the digest in it."""
    stated = value.get("digest")
    if stated is None:  # never there, or the name of the entry is what was damaged
        return not re.search(rf'"[0-9a-f]{{64}}:{len(text)}"', text)
    body, _, end = text.rpartition(_DIGEST)
    hashed, _, length = str(stated).partition(":")
    same_text = hashlib.sha256(body.encode()).hexdigest() == hashed
    same_length = length == str(len(text))
    whole = same_text and same_length and end == f'"{stated}"\n}}\n'
    edited = bool(re.fullmatch(r"[0-9a-f]{64}:[0-9]+", str(stated))) and not same_text and not same_length
    return whole or edited


def with_checksum(content: bytes) -> bytes:
    """Return the content with its CRC-32 at the end, 14 bytes of ASCII."""
    return content + _SEAL + b"%08x" % zlib.crc32(content)


def without_checksum(data: bytes) -> bytes:
    """Return the content of what `with_checksum` made.

    Raises:
        ValueError: it is damaged, or has no checksum.
    """
    content = data[: -len(with_checksum(b""))]
    if with_checksum(content) != data:
        raise ValueError("damaged: it does not match its checksum")
    return content


def read_json(path: str | Path) -> Any:
    """Read a JSON file that another program may have written or damaged.

    Raises:
        OrbituneError: it is missing, larger than `LARGEST_JSON`, or no JSON: not UTF-8, nested too deeply, or
            with NaN or Infinity, which JSON does not have.
    """
    return _load_json(Path(path), LARGEST_JSON)[1]


def _load_json(path: Path, largest: int) -> tuple[str, Any]:
    """Return the text of a JSON file and its value."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("no regular file")  # a pipe would be waited for
        if found.st_size > largest:
            raise ValueError(f"larger than {largest >> 20} MB")
        text = path.read_bytes().decode("utf-8")
        return text, json.loads(text, parse_constant=_refuse_constant)
    except OSError as error:
        raise OrbituneError(f"Cannot read {path}: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else first_line(error)
        raise OrbituneError(f"{path} is not valid JSON ({reason}); it is damaged.") from None


def _refuse_constant(name: str) -> None:
    """Raise a ValueError for NaN and Infinity, which JSON does not have."""
    raise ValueError(f"it has {name}")
