"""The attention kernel depends on sequence length, precision and processor alone."""

import pytest
import torch

from orbitune.fastpath import dispatch
from orbitune.fastpath.dispatch import fastest_attention
from orbitune.fastpath.native import library

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def kernel(tokens, dtype, device=CPU, head_dim=64):
    return fastest_attention(tokens, dtype, device=device, head_dim=head_dim)


@pytest.fixture(params=[True, False], ids=["with its instructions", "without"])
def multiplies_halves(request, monkeypatch):
    monkeypatch.setattr(dispatch, "has_instructions", lambda dtype: request.param)
    return request.param


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_takes_plain_products_where_the_processor_has_them(dtype, multiplies_halves):
    assert kernel(197, dtype) == ("plain" if multiplies_halves else "sdpa")


@pytest.fixture
def without_kernels(monkeypatch):
    closed = library.OpenedLibrary(None, "there is no C compiler")
    monkeypatch.setattr(library, "open_library", lambda dtype: closed)


@pytest.mark.usefixtures("multiplies_halves", "without_kernels")
@pytest.mark.parametrize(
    ("tokens", "dtype", "device"),
    [(197, torch.float32, CPU), (1370, torch.bfloat16, CPU), (197, torch.bfloat16, GPU)],
    ids=["fp32", "long", "GPU"],
)
def test_all_else_takes_torchs_fused_kernel(tokens, dtype, device):
    assert kernel(tokens, dtype, device) == "sdpa"


@pytest.mark.parametrize(("tokens", "expected"), [(197, "plain"), (1370, "sdpa")])
def test_fp32_takes_the_compiled_kernel_up_to_its_length(variant, tokens, expected):
    if variant.dtype == torch.float32:
        assert kernel(tokens, torch.float32) == expected


def test_no_clock_is_asked(monkeypatch):
    monkeypatch.setattr("time.perf_counter", lambda: pytest.fail("the choice was timed"))
    assert kernel(65, torch.bfloat16) == kernel(65, torch.bfloat16)
