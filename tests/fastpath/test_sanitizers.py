"""The tests of the kernels hold where every byte that they read and write is watched, on any processor."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orbitune.fastpath import native

FLAGS = ("-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
HERE = Path(__file__).parent


def sanitizers(command):
    """The libraries that have to be loaded before Python's own; the test skips where one is absent."""
    found = []
    for name in ("libasan.so", "libubsan.so"):
        asked = subprocess.run([*command, f"-print-file-name={name}"], capture_output=True, text=True)
        path = Path(asked.stdout.strip())
        if not path.is_absolute():  # a compiler repeats a name that it does not know
            pytest.skip(f"needs the compiler's {name}")
        found.append(str(path))
    return ":".join(found)


def watched(code):
    """Run Python with the sanitizers; fresh memory holds what is no number, so that using it shows."""
    command = native.compiler()
    if command is None:
        pytest.skip("needs a C compiler")
    settings = {
        "LD_PRELOAD": sanitizers(command),
        "ASAN_OPTIONS": f"detect_leaks=0:max_malloc_fill_size={1 << 30}:malloc_fill_byte=255",
        "STAND_IN_KERNELS": str(native.built(command, (*native.STAND_IN, *FLAGS))),
        "OMP_NUM_THREADS": "2",
    }
    return subprocess.run(
        [sys.executable, *code], env={**os.environ, **settings}, capture_output=True, text=True
    )


def test_the_kernels_stay_within_their_memory_at_odd_shapes(tmp_path):
    tests = [str(HERE / name) for name in ("test_kernels.py", "test_layer.py")]
    options = ["-k", "stand-in", "-p", "no:cacheprovider", "-o", "addopts=", f"--basetemp={tmp_path}/runs"]
    done = watched(["-m", "pytest", *options, *tests])
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_one_number_too_many_would_be_found():
    code = """
import ctypes, os, numpy
numbers = [numpy.ones(39, numpy.uint16) for _ in range(3)]
pointers = [ctypes.c_void_p(each.ctypes.data) for each in numbers]
ctypes.CDLL(os.environ["STAND_IN_KERNELS"]).gelu(*pointers, ctypes.c_int64(40))
"""
    done = watched(["-c", code])
    assert done.returncode and "heap-buffer-overflow" in done.stderr
