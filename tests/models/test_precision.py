"""Products of half precision are right on every processor."""

import os
import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

from orbitune.fastpath.operations import LowRankUpdate, Operations
from orbitune.models import precision
from orbitune.models.factory import native_precision

HALVES = [torch.bfloat16, torch.float16]
MATRICES = {"one row": (1, 3, 5), "primes": (7, 13, 11), "a layer": (130, 48, 96)}


@pytest.fixture(params=["with its instructions", "without"])
def processor(request):
    if request.param == "without":
        request.getfixturevalue("without_half_precision")


def factors(shape, dtype):
    generator = torch.Generator().manual_seed(0)
    rows, inner, out = MATRICES[shape]
    return (
        torch.randn(size, generator=generator).to(dtype) for size in ((rows, inner), (inner, out), (out,))
    )


def assert_rounded(found, expected, dtype):
    assert found.dtype == dtype
    assert torch.allclose(found.float(), expected, rtol=4 * torch.finfo(dtype).eps, atol=0.02)


@pytest.mark.usefixtures("processor")
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("shape", MATRICES)
def test_they_are_those_of_fp32_to_their_rounding(shape, dtype):
    a, b, bias = factors(shape, dtype)
    wide, right = a.float(), b.float()
    assert_rounded(precision.linear(a, b.t(), bias), wide @ right + bias.float(), dtype)
    assert_rounded(precision.matmul(a, b), wide @ right, dtype)
    assert_rounded(precision.matmul(a[None], b[None], factor=0.3), 0.3 * (wide @ right)[None], dtype)
    assert_rounded(Operations().product(a, b, bias=bias), wide @ right + bias.float(), dtype)
    y = torch.ones(1, len(a), b.shape[1]).to(dtype)
    assert_rounded(precision.baddbmm(y, a[None], b[None]), 1 + (wide @ right)[None], dtype)
    precision.baddbmm_(y, a[None], b[None])
    assert_rounded(y, 1 + (wide @ right)[None], dtype)


@pytest.mark.usefixtures("processor")
@pytest.mark.parametrize("dtype", HALVES)
def test_an_update_adds_to_them(dtype):
    a, b, _ = factors("primes", dtype)
    low, lift = a[:, :4].contiguous(), b[:4].contiguous()
    expected = a.float() @ b.float() + low.float() @ lift.float()
    assert_rounded(Operations().product(a, b, update=LowRankUpdate(low, lift)), expected, dtype)
    assert_rounded(Operations().outer(a, a, columns=5).to(dtype), a[:, :5].float().t() @ a.float(), dtype)


def test_fp32_is_left_alone(without_half_precision):
    x = torch.ones(2, 3)
    assert precision.product_dtype(x) == torch.float32
    assert torch.equal(precision.linear(x, x), F.linear(x, x))


def test_an_older_processor_computes_in_fp32_by_default_with_its_kernels():
    """A process of its own: torch asks for the processor when it is imported."""
    code = """
import torch
from orbitune.models.factory import native_precision
from orbitune.fastpath.native.variants import find_variant
from orbitune.models.precision import has_instructions, linear
x, variant = torch.ones(3, 16).bfloat16(), find_variant(torch.float32)
print(native_precision(), find_variant(torch.bfloat16), variant and variant.name)
print(has_instructions(torch.bfloat16), linear(x, x, x[0, :3])[0, 0].item())
"""
    older = {
        **os.environ,
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run([sys.executable, "-c", code], env=older, capture_output=True, text=True, check=True)
    kernels = "AVX2" if torch.cpu.get_capabilities().get("avx2") else "None"
    assert done.stdout.split() == ["fp32", "None", kernels, "False", "17.0"]


def test_the_default_precision_is_one_that_the_processor_multiplies():
    if not torch.cuda.is_available():
        assert (native_precision() == "bf16") == precision.has_instructions(torch.bfloat16)
