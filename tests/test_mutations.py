"""Mutated files give a result or one line: no traceback, hang or memory flood.

benchmarks/reliability/mutations.py runs thousands; these are some of the same.
"""

import random
import struct
import time

import mutations
import pytest
from mutations import Target, attack, mutate
from mutations_data import TARGETS as DATA
from mutations_data import image_samples
from mutations_scenes import TARGETS as SCENES

from orbitune.errors import DataError

COUNTS = {"images": 400, "zips": 200, "parquet": 40, "tables": 100, "scenes": 60}


@pytest.mark.parametrize("target", [*DATA, *SCENES], ids=lambda target: target.name)
def test_mutants_are_read_or_refused_in_one_line(target):
    findings = attack(target, COUNTS[target.name], seed=1)
    assert findings.clean, findings.to_json()
    assert findings.refused


def test_mutants_follow_the_seed_and_differ_from_what_they_were():
    data = image_samples()["png"]
    first, second = ([mutate(data, random.Random(seed)) for seed in range(50)] for _ in range(2))
    assert first == second and len(set(first)) > 40 and first.count(data) < 5


def test_any_bytes_can_be_mutated():
    for data in (b"", b"x", b"II*\0", b"\x89PNG\r\n\x1a\n", struct.pack("<4sI", b"II*\0", 2**32 - 1)):
        for seed in range(200):
            mutate(data, random.Random(seed))


def test_what_is_neither_a_result_nor_a_line_is_found(monkeypatch):
    def read(name: str, data: bytes) -> None:
        if data == b"sound":
            return
        kind = len(data) % 4
        if kind == 0:
            raise KeyError("a traceback")
        if kind == 1:
            raise DataError("one line")
        if kind == 2:
            raise DataError("two\nlines")
        while True:
            time.sleep(0.01)

    monkeypatch.setattr(mutations, "SECONDS", 0.05)
    found = attack(Target("made", lambda: {"a": b"sound"}, read), 60)
    assert found.refused and found.hangs and not found.clean
    assert any("KeyError" in line for line in found.tracebacks)
    assert any("several lines" in line for line in found.tracebacks)
