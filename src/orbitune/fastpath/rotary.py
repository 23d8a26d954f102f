"""Rotary position embeddings of patches (RoPE; Su et al. 2021, arXiv:2104.09864), as DINOv3 has them.

Queries and keys are rotated by the position of their patch; leading tokens are not.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from orbitune.fastpath.native.library import padded
from orbitune.models.inputs.positions import rotary_angles


class RotaryTable(NamedTuple):
    """Cosines and sines of the angles of all patches, float32 (P, D / 2), of heads of width D.

    Attributes:
        prefix_tokens: number of tokens before the patches.
    """

    cosines: Tensor
    sines: Tensor
    prefix_tokens: int


class Rotary:
    """Rotation of queries and keys by the position of their patch.

    Args:
        frequencies: angular frequencies (D / 4,), see `rotary_angles`.
        prefix_tokens: number of tokens before the patches.
    """

    def __init__(self, frequencies: Tensor, *, prefix_tokens: int) -> None:
        self._frequencies, self._prefix_tokens = frequencies, prefix_tokens
        self._tables: dict[Any, RotaryTable] = {}

    def table(self, tokens: int, dtype: torch.dtype | None = None) -> RotaryTable:
        """Return the table for a number of tokens; it is kept for the next calls.

        Args:
            tokens: of an image, with those before the patches.
            dtype: pad rows to whole vector registers of the kernels for this dtype; None for no padding.
        """
        key = (tokens, dtype, self._frequencies.device)
        if key not in self._tables:
            with torch.inference_mode(False):  # training after an evaluation saves it for the backward pass
                angles = rotary_angles(math.isqrt(tokens - self._prefix_tokens), self._frequencies)
                if dtype is not None:
                    angles = F.pad(angles, (0, padded(angles.shape[1], dtype) - angles.shape[1]))
                self._tables[key] = RotaryTable(angles.cos(), angles.sin(), self._prefix_tokens)
        return self._tables[key]

    def __call__(self, qkv: Tensor) -> Tensor:
        """Return queries, keys and values (B, N, 3, H, D) with rotated queries and keys."""
        rotated: Tensor = _Rotation.apply(qkv, *self.table(qkv.shape[1]))
        return rotated


class _Rotation(torch.autograd.Function):
    """Written out, because autograd would copy halves and sums of every step."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, cosines: Tensor, sines: Tensor, prefix_tokens: int) -> Tensor:
        """Return the rotated tensor, see `Rotary`."""
        ctx.save_for_backward(cosines, sines)
        ctx.prefix_tokens = prefix_tokens
        return _rotated(qkv, cosines, sines, prefix_tokens=prefix_tokens)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient, rotated back."""
        cosines, sines = ctx.saved_tensors
        return _rotated(gradients[0], cosines, -sines, prefix_tokens=ctx.prefix_tokens), None, None, None


def _rotated(qkv: Tensor, cosines: Tensor, sines: Tensor, *, prefix_tokens: int) -> Tensor:
    """Return a copy of (B, N, 3, H, D) whose queries and keys of patches are rotated."""
    out = qkv.clone(memory_format=torch.contiguous_format)
    first, second = out[:, prefix_tokens:, :2].chunk(2, -1)
    cosines, sines = (table[:, None, None] for table in (cosines, sines))
    turned = first * cosines - second * sines  # in fp32
    second.copy_(second * cosines + first * sines)
    first.copy_(turned)
    return out
