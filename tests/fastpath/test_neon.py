"""The kernels for NEON give what torch gives, on an emulated processor."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from orbitune.fastpath.native.build import SOURCES
from orbitune.fastpath.native.variants import VARIANTS

COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"
[NEON] = [variant for variant in VARIANTS if variant.name == "NEON"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which(COMPILER) and shutil.which(EMULATOR)),
        reason="needs Debian's gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user",
    ),
]

ROWS, WIDTH, HIDDEN, HEADS = 26, 48, 80, 3  # two images of 13 tokens, as in the program
PROGRAM = Path(__file__).with_name("neon_kernels.c")


def run_emulated(folder, inputs):
    """Compile the kernels for ARM and return their outputs for `inputs`, as one array."""
    program = folder / "main"
    sources = [source for source in SOURCES if source.suffix == ".c"]
    files = [PROGRAM, *sources, "-lm", "-o", program]
    subprocess.run([COMPILER, *NEON.flags, "-fopenmp", "-static", *files], check=True)
    data = b"".join(tensor.detach().numpy().tobytes() for tensor in inputs)
    done = subprocess.run([EMULATOR, program], input=data, capture_output=True, check=True)
    return torch.from_numpy(np.frombuffer(done.stdout, np.float32).copy())


def test_mlp_and_attention_are_torchs(tmp_path):
    shapes = [(ROWS, WIDTH)] * 2 + [(HIDDEN, WIDTH), (HIDDEN,), (WIDTH, HIDDEN), (WIDTH,), (ROWS, 3 * WIDTH)]
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    x, slope, w1, b1, w2, b2, qkv = inputs
    y = F.linear(F.gelu(F.linear(x, w1, b1)), w2, b2)
    parts = qkv.view(2, 13, 3, HEADS, 16).permute(2, 0, 3, 1, 4)
    out = F.scaled_dot_product_attention(*parts).transpose(1, 2).reshape(ROWS, WIDTH)
    grads = [torch.autograd.grad(each, leaf, slope.detach())[0] for each, leaf in ((y, x), (out, qkv))]
    expected = [y, grads[0], out, grads[1]]
    found = run_emulated(tmp_path, inputs).split([tensor.numel() for tensor in expected])
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one.view_as(other), other, rtol=1e-4, atol=1e-4)
