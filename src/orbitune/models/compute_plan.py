"""How a classifier is computed on this machine, and why."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ComputePlan:
    """How a classifier is computed on this machine, and why.

    Attributes:
        fast: whether the fast path computes it; otherwise the forward pass of transformers and PEFT does.
        dtype: dtype of activations and frozen weights.
        attention: attention kernel, `plain` or `sdpa` on the fast path, else `transformers`.
        why_not_fast: reason why the fast path cannot compute it; None where it does or was not asked for.
        compiled: whether compiled kernels are used.
        why_not_compiled: reason why not, on the fast path.
        products: what rounds matrix products; equal text means equal bits for equal inputs. None if not fast.
        tf32: whether a GPU rounds the operands of fp32 products to TF32.
    """

    fast: bool
    dtype: "torch.dtype"
    attention: str
    why_not_fast: str | None = None
    compiled: bool = False
    why_not_compiled: str | None = None
    products: str | None = None
    tf32: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the plan as the section `compute` of result.json states it."""
        return {
            "fast": self.fast,
            "why_not_fast": self.why_not_fast,
            "attention": self.attention,
            "compiled_kernels": self.compiled,
            "why_not_compiled": self.why_not_compiled,
            "products": self.products,
        }
