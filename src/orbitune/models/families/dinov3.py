"""The image classifier of DINOv3 (Siméoni et al. 2025, arXiv:2508.10104), which transformers lacks."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import DINOv3ViTModel, DINOv3ViTPreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput


class DINOv3ViTForImageClassification(DINOv3ViTPreTrainedModel):
    """A linear layer on the class token and the mean of the patches.

    This is what transformers' classifier of DINOv2 reads. Positions are never shifted or rescaled at random,
    which is an augmentation of the pre-training at changing sizes.
    """

    base_model_prefix = "dinov3_vit"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.dinov3_vit = DINOv3ViTModel(config)
        self.classifier = nn.Linear(2 * config.hidden_size, config.num_labels)
        self.post_init()

    def train(self, mode: bool = True) -> "DINOv3ViTForImageClassification":
        """Set the training mode, but keep the positions exact."""
        super().train(mode)
        self.dinov3_vit.rope_embeddings.eval()
        return self

    def forward(
        self, pixel_values: Tensor, labels: Tensor | None = None, **kwargs: Any
    ) -> ImageClassifierOutput:
        """Return logits (B, C) of normalised pixels (B, 3, S, S).

        Args:
            pixel_values: S is a multiple of the patch size.
            labels: class indices (B,), for the loss.
            kwargs: of the backbone, such as `output_attentions`.
        """
        outputs = self.dinov3_vit(pixel_values, **kwargs)
        tokens = outputs.last_hidden_state
        patches = tokens[:, 1 + self.config.num_register_tokens :].mean(1)
        logits = self.classifier(torch.cat([tokens[:, 0], patches], 1))
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        return ImageClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )
