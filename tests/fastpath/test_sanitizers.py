"""The tests of the kernels pass under the address sanitizer, on any processor."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orbitune.fastpath.native import build
from tests.kernel_variants import PORTABLE

pytestmark = pytest.mark.slow

FLAGS = ("-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
ASAN_OPTIONS = (
    "detect_leaks=0",
    "allocator_may_return_null=1",
    f"max_malloc_fill_size={1 << 30}",
    "malloc_fill_byte=255",
)
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


def run_sanitized(code, folder):
    """Run Python with sanitized kernels in `folder`; uninitialised memory is filled with NaN."""
    command = build.compiler()
    if command is None:
        pytest.skip("needs a C compiler")
    for variant in PORTABLE:
        built = build.build_library(command, (*variant.flags, *FLAGS))
        (folder / variant.file_name).symlink_to(built)
    settings = {
        "LD_PRELOAD": sanitizers(command),
        "ASAN_OPTIONS": ":".join(ASAN_OPTIONS),
        "SANITIZED_KERNELS": str(folder),
        "OMP_NUM_THREADS": "2",
    }
    return subprocess.run(
        [sys.executable, *code], env={**os.environ, **settings}, capture_output=True, text=True
    )


def test_the_kernels_stay_within_their_memory_at_odd_shapes(tmp_path):
    tests = [str(HERE / name) for name in ("test_kernels.py", "test_fused_layer.py")]
    options = ["-k", "portable", "-p", "no:cacheprovider", "-o", "addopts=", f"--basetemp={tmp_path}/runs"]
    done = run_sanitized(["-m", "pytest", *options, *tests], tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.mark.parametrize("variant", PORTABLE, ids=lambda variant: variant.name)
def test_reading_one_element_too_many_is_found(variant, tmp_path):
    code = f"""
import ctypes, numpy
numbers = [numpy.ones(39, "uint{variant.dtype.itemsize * 8}") for _ in range(3)]
pointers = [ctypes.c_void_p(each.ctypes.data) for each in numbers]
ctypes.CDLL({str(tmp_path / variant.file_name)!r}).gelu(*pointers, ctypes.c_int64(40))
"""
    done = run_sanitized(["-c", code], tmp_path)
    assert done.returncode and "heap-buffer-overflow" in done.stderr
