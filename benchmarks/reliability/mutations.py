"""Mutate small valid files at random and count the outcomes of reading them.

Each `mutations_*.py` beside this file lists `TARGETS`, the kinds of file it reads. Run all of them with

    python benchmarks/reliability/mutations.py --count 1000

which prints the counts as JSON and exits with 1 if any read did not end in a result or a user error.
"""

import argparse
import importlib
import json
import os
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from orbitune.errors import OrbituneError

SECONDS = 30.0  # a longer read counts as a hang
MEMORY = 2**30  # bytes that reading one small file may add

_VALUES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_EDGE = 160  # bytes at both ends of a file, where headers are


@dataclass(frozen=True)
class Target:
    """One kind of file.

    Attributes:
        name: name of the kind, such as "images".
        samples: returns valid files by name; called once.
        read: reads a mutant, given the sample's name and its bytes, as Orbitune does.
    """

    name: str
    samples: Callable[[], dict[str, bytes]]
    read: Callable[[str, bytes], object]


@dataclass
class Findings:
    """Outcomes of the mutants of one target.

    Attributes:
        read: number of mutants that could be read.
        refused: number of mutants that ended in a user error (`OrbituneError`).
        tracebacks: "SAMPLE SEED: TYPE: MESSAGE (FILE:LINE)" of each other error.
        hangs: "SAMPLE SEED" of each read that took longer than `SECONDS`.
        lines: lines that libraries printed to stderr.
        slowest: duration of the slowest read in seconds.
        memory: growth of the peak memory in bytes.
    """

    read: int = 0
    refused: int = 0
    tracebacks: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    slowest: float = 0.0
    memory: int = 0

    @property
    def clean(self) -> bool:
        """Return whether all outcomes are results or user errors, within the bounds."""
        return not (self.tracebacks or self.hangs or self.lines) and self.memory < MEMORY

    def to_json(self) -> dict[str, Any]:
        """Return the counts and the first ten faults of each kind."""
        return {
            "mutants": self.read + self.refused + len(self.tracebacks) + len(self.hangs),
            "read": self.read,
            "refused": self.refused,
            "tracebacks": len(self.tracebacks),
            "hangs": len(self.hangs),
            "lines_on_stderr": len(self.lines),
            "slowest_seconds": round(self.slowest, 3),
            "memory_mb": round(self.memory / 1e6, 1),
            "examples": self.tracebacks[:10] + self.hangs[:10] + self.lines[:10],
        }


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Return a copy of a file with one to four random changes, drawn from `rng`."""
    mutant = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        rng.choice(_CHANGES)(mutant, rng)
    if mutant.startswith(_PNG) and rng.random() < 0.5:
        _fix_checksums(mutant)
    return bytes(mutant)


def attack(target: Target, count: int, *, seed: int = 0) -> Findings:
    """Read `count` mutants of a target's samples in turn, reproducible by the seed."""
    samples = list(target.samples().items())
    findings = Findings()
    for name, data in samples:
        target.read(name, data)  # valid files must be readable; imports do not count as growth
    before = _peak()
    with _caught_stderr() as lines, warnings.catch_warnings():
        # PEFT's warning about unknown settings is meant for the user.
        warnings.filterwarnings("ignore", message="Unexpected keyword arguments")
        for number in range(count):
            name, data = samples[number % len(samples)]
            mutant = mutate(data, random.Random(f"{seed} {target.name} {number}"))
            _read_one(target, f"{name} {number}", name=name, mutant=mutant, findings=findings)
    findings.lines = lines
    findings.memory = _peak() - before
    return findings


@contextmanager
def _caught_stderr() -> Iterator[list[str]]:
    """Capture what any code, C included, writes to stderr; filled at the end."""
    lines: list[str] = []
    with tempfile.TemporaryFile() as file:
        sys.stderr.flush()
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        lines += file.read().decode(errors="replace").splitlines()


def _read_one(target: Target, title: str, *, name: str, mutant: bytes, findings: Findings) -> None:
    started = time.monotonic()
    try:
        with _alarm():
            target.read(name, mutant)
        findings.read += 1
    except OrbituneError as error:
        if "\n" in str(error).strip():
            findings.tracebacks.append(f"{title}: a user error of several lines: {error}")
        else:
            findings.refused += 1
    except _Hang:
        findings.hangs.append(title)
    except Exception as error:  # the user would see a traceback
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}:{last.lineno}"
        findings.tracebacks.append(f"{title}: {type(error).__name__}: {error} ({place})")
    findings.slowest = max(findings.slowest, time.monotonic() - started)


class _Hang(BaseException):
    """A read took too long; a BaseException, which no `except Exception` catches."""


@contextmanager
def _alarm() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise _Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _peak() -> int:
    """Return the peak memory of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# --- changes ----------------------------------------------------------------------------------------------


def _place(mutant: bytearray, rng: random.Random) -> int:
    """Return a random position, more often near the ends than in the middle."""
    part, length = rng.random(), len(mutant)
    if part < 0.4:
        return rng.randrange(min(length, _EDGE) or 1)
    if part < 0.7:
        return max(0, length - 1 - rng.randrange(_EDGE))
    return rng.randrange(length or 1)


def _flip_bits(mutant: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 8))):
        if mutant:
            mutant[_place(mutant, rng)] ^= 1 << rng.randrange(8)


def _overwrite_byte(mutant: bytearray, rng: random.Random) -> None:
    if mutant:
        mutant[_place(mutant, rng)] = rng.randrange(256)


def _overwrite_field(mutant: bytearray, rng: random.Random) -> None:
    """Overwrite 2, 4 or 8 bytes with a number that tends to be an edge case."""
    value = rng.choice((*_VALUES, rng.getrandbits(32), len(mutant), len(mutant) + 1))
    width = rng.choice(("H", "I", "Q"))
    size = struct.calcsize(f"<{width}")
    packed = struct.pack(rng.choice("<>") + width, value % 2 ** (8 * size))
    place = _place(mutant, rng)
    mutant[place : place + size] = packed


def _truncate(mutant: bytearray, rng: random.Random) -> None:
    del mutant[_place(mutant, rng) :]


def _cut_out(mutant: bytearray, rng: random.Random) -> None:
    place = _place(mutant, rng)
    del mutant[place : place + rng.choice((1, 2, 4, 16, 64, 256))]


def _insert(mutant: bytearray, rng: random.Random) -> None:
    place = _place(mutant, rng)
    mutant[place:place] = rng.randbytes(rng.choice((1, 2, 4, 16, 256)))


def _zero(mutant: bytearray, rng: random.Random) -> None:
    place = _place(mutant, rng)
    size = len(mutant[place : place + rng.choice((1, 4, 16, 64, 512))])
    mutant[place : place + size] = bytes(size)


def _duplicate(mutant: bytearray, rng: random.Random) -> None:
    place, size = _place(mutant, rng), rng.choice((4, 16, 64, 512))
    other = _place(mutant, rng)
    mutant[other:other] = mutant[place : place + size]


def _swap(mutant: bytearray, rng: random.Random) -> None:
    one, other = sorted((_place(mutant, rng), _place(mutant, rng)))
    size = min(rng.choice((1, 2, 4, 16)), other - one, len(mutant) - other)
    mutant[one : one + size], mutant[other : other + size] = (
        mutant[other : other + size],
        mutant[one : one + size],
    )


_TIFF = {b"II*\0": "<", b"MM\0*": ">"}
_PNG = b"\x89PNG\r\n\x1a\n"


def _overwrite_tag(mutant: bytearray, rng: random.Random) -> None:
    """Overwrite a field of a random TIFF directory entry; in other files any field."""
    order = _TIFF.get(bytes(mutant[:4]))
    (directory,) = struct.unpack(f"{order}I", mutant[4:8]) if order and len(mutant) > 8 else (len(mutant),)
    if directory + 2 > len(mutant):
        _overwrite_field(mutant, rng)
        return
    (count,) = struct.unpack(f"{order}H", mutant[directory : directory + 2])
    place = directory + 2 + 12 * rng.randrange(min(count, 64) or 1)
    offset, width, values = rng.choice(
        (
            (0, "H", range(254, 341)),
            (2, "H", range(14)),
            (4, "I", _VALUES),
            (8, "H", _VALUES),
            (8, "I", _VALUES),
        )
    )
    packed = struct.pack(f"{order}{width}", rng.choice(values) % 2 ** (8 * struct.calcsize(f"<{width}")))
    mutant[place + offset : place + offset + len(packed)] = packed


def _fix_checksums(mutant: bytearray) -> None:
    """Correct the checksums of a PNG's chunks, so that decoders read their content."""
    place = len(_PNG)
    while place + 12 <= len(mutant):
        (size,) = struct.unpack(">I", mutant[place : place + 4])
        end = place + 8 + size
        if end + 4 > len(mutant):
            return
        mutant[end : end + 4] = struct.pack(">I", zlib.crc32(mutant[place + 4 : end]))
        place = end + 4


_CHANGES = (
    _flip_bits,
    _overwrite_byte,
    _overwrite_field,
    _overwrite_tag,
    _overwrite_tag,
    _truncate,
    _cut_out,
    _insert,
    _zero,
    _duplicate,
    _swap,
)


def find_targets() -> list[Target]:
    """Return the targets of all `mutations_*.py` beside this file."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("mutations_*.py"))
    return [target for name in names for target in importlib.import_module(name).TARGETS]


def main(arguments: Sequence[str] | None = None) -> int:
    """Attack the targets, print the counts as JSON, and return 1 for any fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("kinds", nargs="*", help="names of targets (default: all)")
    parser.add_argument("--count", type=int, default=1000, help="mutants of each target")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", category=FutureWarning)  # as the command line does
    targets = [target for target in find_targets() if not given.kinds or target.name in given.kinds]
    found = {target.name: attack(target, given.count, seed=given.seed) for target in targets}
    report = {"count": given.count, "seed": given.seed}
    print(json.dumps({**report, "targets": {name: f.to_json() for name, f in found.items()}}, indent=1))
    return 0 if all(findings.clean for findings in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
