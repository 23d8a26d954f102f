"""AdaLoRA's rank schedule (Zhang et al. 2023, arXiv:2303.10512).

Low-rank updates are singular triplets, and the least important ones are masked. PEFT has the layers, the
importance scores and the masks; this module calls them at the right steps and saves their state.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

WARM_UP, FINAL = 0.1, 0.5  # fractions of the steps with all triplets, and with those that are left in the end
ORTHOGONALITY = 0.1  # weight of the penalty, as in the paper


class RankSchedule:
    """Rank schedule and orthogonality penalty of an AdaLoRA model in training.

    After the first tenth of the steps the number of triplets falls along a cubic to the recipe's rank, which
    it reaches half-way. Masked triplets are zero, so the trained tensors alone are the model.

    Args:
        model: wrapped by PEFT with an AdaLoraConfig.
        steps: number of optimizer steps of the whole run.
    """

    def __init__(self, model: "nn.Module", steps: int) -> None:
        tuner: Any = model.base_model
        self._model, self._allocator = tuner.model, tuner.rankallocator
        config = self._allocator.peft_config
        config.total_step, config.tinit, config.tfinal = steps, int(WARM_UP * steps), int(FINAL * steps)
        self._last = steps - config.tfinal
        self._kept: dict[str, list[bool]] | None = None  # triplets by name, once the choice is final

    def penalty(self) -> "Tensor":
        """Return the orthogonality penalty of the singular vectors, a term of the loss."""
        import torch

        products = [v @ v.T if len(v) < v.shape[1] else v.T @ v for v in self._vectors()]
        distances = [torch.linalg.norm(product - torch.eye(len(product)).to(product)) for product in products]
        return ORTHOGONALITY * torch.stack(distances).mean()

    def _vectors(self) -> "list[Tensor]":
        """Return right singular vectors (r, in) and left ones (out, r) of all layers."""
        named = self._model.named_parameters()
        return [p for name, p in named if ".lora_A." in name or ".lora_B." in name]

    def add_penalty(self, scale: float) -> None:
        """Add `scale` times the penalty's gradients to those of the loss.

        Not by a second backward pass: processes that average gradients would wait for those of the loss.
        """
        import torch

        vectors = self._vectors()
        for vector, gradient in zip(
            vectors, torch.autograd.grad(scale * self.penalty(), vectors), strict=True
        ):
            assert vector.grad is not None
            vector.grad += gradient

    def after_step(self, step: int) -> None:
        """Update the importance scores and mask the least important triplets.

        Call it before the gradients are set to zero.

        Args:
            step: of the optimizer, counted from 1.
        """
        allocator = self._allocator
        if self._kept is not None:
            allocator.mask_using_rank_pattern(self._model, self._kept)
        elif self._finite():
            allocator.update_ipt(self._model)
            budget, masks = allocator.budget_schedule(step)
            kept = allocator.mask_to_budget(self._model, budget) if masks or step >= self._last else None
            if step >= self._last:
                self._kept = kept

    def _finite(self) -> bool:
        """Return whether the gradients are finite; those of fp16 may overflow."""
        return all(
            p.grad is not None and bool(p.grad.isfinite().all())
            for name, p in self._model.named_parameters()
            if ".lora_" in name
        )

    def state(self) -> "dict[str, Tensor]":
        """Return all state that later steps depend on, by name."""
        import torch

        averages = {"importance": self._allocator.exp_avg_ipt, "uncertainty": self._allocator.exp_avg_unc}
        tensors = {f"{kind}/{name}": t for kind, values in averages.items() for name, t in values.items()}
        return tensors | {f"kept/{name}": torch.tensor(bits) for name, bits in (self._kept or {}).items()}

    def restore(self, tensors: "Mapping[str, Tensor]") -> None:
        """Restore the state that `state` returned."""
        parts: dict[str, dict[str, Tensor]] = {"importance": {}, "uncertainty": {}, "kept": {}}
        devices = {name: p.device for name, p in self._model.named_parameters()}
        for key, tensor in tensors.items():
            kind, _, name = key.partition("/")
            parts[kind][name] = tensor.to(devices[name])
        allocator = self._allocator
        allocator.exp_avg_ipt, allocator.exp_avg_unc = parts["importance"], parts["uncertainty"]
        allocator.ipt = dict(parts["importance"])  # overwritten before it is read; only its keys matter
        self._kept = {name: t.tolist() for name, t in parts["kept"].items()} or None
