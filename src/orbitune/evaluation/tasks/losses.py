"""Losses of several labels a tile."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

FOCUS_ABSENT, FOCUS_PRESENT, SHIFT = 4.0, 0.0, 0.05  # gamma-, gamma+ and m of Ridnik et al. on MS-COCO


def binary_loss(logits: "Tensor", targets: "Tensor", *, positive_weights: "Tensor | None") -> "Tensor":
    """Return the binary cross-entropy of each label in nats, float32 (B, C).

    Args:
        logits: float32 (B, C).
        targets: 0..1, float32 (B, C).
        positive_weights: of the present labels, float32 (C,); None for 1.
    """
    from torch.nn import functional as F

    return F.binary_cross_entropy_with_logits(logits, targets, pos_weight=positive_weights, reduction="none")


def asymmetric_loss(
    logits: "Tensor",
    targets: "Tensor",
    *,
    focus_present: float = FOCUS_PRESENT,
    focus_absent: float = FOCUS_ABSENT,
    shift: float = SHIFT,
) -> "Tensor":
    """Return the asymmetric loss of each label, float32 (B, C).

    Ridnik et al. 2021 (arXiv:2009.14119): of the many absent labels those with a low probability count
    little, and those below `shift` not at all. Its probabilities are higher than the labels' frequencies.

    Args:
        logits: float32 (B, C).
        targets: 0..1, float32 (B, C).
        focus_present, focus_absent: focusing exponents of present and absent labels, 0 for none.
        shift: probability below which an absent label has no loss.
    """
    from torch.nn.functional import logsigmoid

    probability = logits.sigmoid()
    shifted = (probability - shift).clamp(min=0)
    present = (1 - probability) ** focus_present * logsigmoid(logits)
    absent = shifted**focus_absent * (1 - shifted).log()
    return -(targets * present + (1 - targets) * absent)
