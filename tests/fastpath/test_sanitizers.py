"""The tests of the kernels pass under the address sanitizer, on any processor."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orbitune.fastpath import native

pytestmark = pytest.mark.slow

FLAGS = ("-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
HERE = Path(__file__).parent


def sanitizers(command):
    """Return the libraries to preload; skip the test where one is absent."""
    found = []
    for name in ("libasan.so", "libubsan.so"):
        asked = subprocess.run([*command, f"-print-file-name={name}"], capture_output=True, text=True)
        path = Path(asked.stdout.strip())
        if not path.is_absolute():  # a compiler prints a name that it does not know as it is
            pytest.skip(f"needs the compiler's {name}")
        found.append(str(path))
    return ":".join(found)


def run_sanitized(code):
    """Run Python with the sanitizers; uninitialised memory is filled with NaN."""
    command = native.compiler()
    if command is None:
        pytest.skip("needs a C compiler")
    settings = {
        "LD_PRELOAD": sanitizers(command),
        "ASAN_OPTIONS": f"detect_leaks=0:max_malloc_fill_size={1 << 30}:malloc_fill_byte=255",
        "EMULATED_KERNELS": str(native.build_library(command, (*native.EMULATED, *FLAGS))),
        "OMP_NUM_THREADS": "2",
    }
    return subprocess.run(
        [sys.executable, *code], env={**os.environ, **settings}, capture_output=True, text=True
    )


def test_the_kernels_stay_within_their_memory_at_odd_shapes(tmp_path):
    tests = [str(HERE / name) for name in ("test_kernels.py", "test_fused_layer.py")]
    options = ["-k", "emulated", "-p", "no:cacheprovider", "-o", "addopts=", f"--basetemp={tmp_path}/runs"]
    done = run_sanitized(["-m", "pytest", *options, *tests])
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_reading_one_element_too_many_is_found():
    code = """
import ctypes, os, numpy
numbers = [numpy.ones(39, numpy.uint16) for _ in range(3)]
pointers = [ctypes.c_void_p(each.ctypes.data) for each in numbers]
ctypes.CDLL(os.environ["EMULATED_KERNELS"]).gelu(*pointers, ctypes.c_int64(40))
"""
    done = run_sanitized(["-c", code])
    assert done.returncode and "heap-buffer-overflow" in done.stderr
