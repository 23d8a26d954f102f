"""Hidden states of the activation cache as bytes, and back."""

import math
from typing import Protocol

import torch
from torch import Tensor

_BLOCK = 32  # numbers that share a scale
_LARGEST = 127  # of 8 bits with a sign


class StateEncoding(Protocol):
    """How the states (N, D) of an image are stored.

    Attributes:
        row_bytes: bytes of one image.
    """

    row_bytes: int

    def encode(self, states: Tensor) -> Tensor:
        """Return states (B, N, D) as uint8 (B, row_bytes)."""

    def decode(self, rows: Tensor) -> Tensor:
        """Return the states (B, N, D) of uint8 (B, row_bytes)."""


class PlainEncoding:
    """The numbers as they are computed.

    Args:
        sample: states (B, N, D) of the shape and dtype to store.
    """

    def __init__(self, sample: Tensor) -> None:
        self._shape, self._dtype = sample.shape[1:], sample.dtype
        self.row_bytes = sample[0].numel() * sample.element_size()

    def encode(self, states: Tensor) -> Tensor:
        """Return states (B, N, D) as uint8 (B, row_bytes)."""
        return states.flatten(1).contiguous().view(torch.uint8)

    def decode(self, rows: Tensor) -> Tensor:
        """Return the states (B, N, D) of uint8 (B, row_bytes)."""
        return rows.view(self._dtype).view(-1, *self._shape)


class BlockEncoding:
    """8 bits for each number, with a scale in float16 for each block of 32.

    A few channels of a transformer are far larger than the others; with blocks they cost only their own
    block precision (block-wise quantisation, Dettmers et al. 2021, arXiv:2110.02861).

    Args:
        sample: states (B, N, D) of the shape and dtype to store.
    """

    def __init__(self, sample: Tensor) -> None:
        self._shape, self._dtype = sample.shape[1:], sample.dtype
        self._numbers = sample[0].numel()
        self._block = math.gcd(_BLOCK, sample.shape[-1])
        self.row_bytes = self._numbers + self._numbers // self._block * torch.float16.itemsize

    def encode(self, states: Tensor) -> Tensor:
        """Return states (B, N, D) as uint8 (B, row_bytes): all numbers, then their scales."""
        blocks = states.float().reshape(len(states), -1, self._block)
        # Below the smallest normal number scales would be rounded coarsely.
        limits = torch.finfo(torch.float16)
        scales = (blocks.abs().amax(-1, keepdim=True) / _LARGEST).clamp(limits.tiny, limits.max).half()
        numbers = (blocks / scales.float()).round().clamp(-_LARGEST, _LARGEST).to(torch.int8)
        return torch.cat([part.flatten(1).view(torch.uint8) for part in (numbers, scales)], 1)

    def decode(self, rows: Tensor) -> Tensor:
        """Return the states (B, N, D) of uint8 (B, row_bytes)."""
        numbers, scales = rows[:, : self._numbers], rows[:, self._numbers :].contiguous()
        blocks = numbers.view(torch.int8).reshape(len(rows), -1, self._block)
        states = blocks * scales.view(torch.float16).float()[..., None]
        return states.to(self._dtype).view(-1, *self._shape)


def state_encoding(sample: Tensor, bits: int | None) -> StateEncoding:
    """Return how states like `sample` (B, N, D) are stored.

    Args:
        sample: of their shape and dtype.
        bits: 8 for a number; None for as many as the dtype has.
    """
    return PlainEncoding(sample) if bits is None else BlockEncoding(sample)
