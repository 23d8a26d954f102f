"""What computes a bundle: uint8 tiles in; logits and what the head reads out."""

from typing import TYPE_CHECKING, Any

import numpy as np

from orbitune.data.transform import Transform
from orbitune.evaluation.predict import forward_with_tta
from orbitune.fastpath.classifier import FastClassifier
from orbitune.fastpath.dispatch import make_network
from orbitune.inference.bundle import Bundle
from orbitune.models.factory import resolve
from orbitune.models.families import head_names
from orbitune.recipe import Recipe
from orbitune.resources import make_accelerator

if TYPE_CHECKING:
    from torch import Tensor


class BundleModel:
    """A bundle on its device, computed as its run was, by the fast path where there is one.

    Args:
        backbone: hub id or folder, where it no longer lies where the bundle says.
        precision: bf16, fp16 or fp32; that of the processor where None.
        at_once: how many tiles are computed at a time, at most.
        attention: the kernel of another process with which this one shares work; None for the faster one.

    Raises:
        OrbituneError: the backbone cannot be had or has other weights, or files are damaged.
    """

    def __init__(
        self,
        bundle: Bundle,
        backbone: str | None = None,
        precision: str | None = None,
        at_once: int = 64,
        attention: str | None = None,
    ) -> None:
        found = bundle.backbone(backbone)
        used = bundle.facts["preprocessing"]
        asked = {"image_size": used["image_size"], "precision": precision, "batch_size": at_once}
        recipe = resolve(Recipe.make(asked), found)
        assert recipe.micro_batch is not None
        transform = Transform(
            used["image_size"], tuple(used["mean"]), tuple(used["std"]), str(used["resample"])
        )
        self._device = make_accelerator().device
        self._at_once = recipe.micro_batch
        self._tta = bundle.tta
        self._read: list[list[Tensor]] = []
        model: Any = bundle.model(found).requires_grad_(False).to(self._device)
        base = model.get_base_model() if hasattr(model, "peft_config") else model
        self._heads = head_names(base, found.family)
        for place, name in enumerate(self._heads):
            self._read.append([])
            getattr(base, name).register_forward_pre_hook(self._note(place))
        self._network = make_network(model, recipe, found, transform, attention).eval()

    def _note(self, place: int) -> Any:
        return lambda module, inputs: self._read[place].append(inputs[0])

    @property
    def attention(self) -> str:
        """The kernel of its attention: results of another differ in the last bits."""
        return str(self._network.attention)

    @property
    def is_fast(self) -> bool:
        """Whether it is computed by the fast path."""
        return isinstance(self._network, FastClassifier)

    def tokens(self, windows: np.ndarray, count: int) -> np.ndarray:
        """What the first third of the blocks makes of the patches of windows, of mean 0 and variance 1.

        Args:
            windows: uint8 (B, S, S, 3); resized so that `count` x `count` patches cover each.

        Returns:
            float32 (B, count, count, D).
        """
        import torch

        network = self._network
        assert isinstance(network, FastClassifier)
        pixels = torch.from_numpy(windows).to(self._device)
        with torch.inference_mode():
            states = network.patch_states(pixels, count)
            normed = torch.nn.functional.layer_norm(states.float(), states.shape[-1:])
        return normed.view(len(windows), count, count, -1).cpu().numpy()

    def compute(self, tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of uint8 tiles (B, H, W, 3).

        Returns:
            Logits, float32 (B, C), before the temperature; and features, float32 (B, D), what the head reads
            of a tile as it lies (those of a distilled DeiT's two heads one after the other).
        """
        import torch

        logits, features = [], []
        for start in range(0, len(tiles), self._at_once):
            part = torch.from_numpy(tiles[start : start + self._at_once]).to(self._device)
            for noted in self._read:
                noted.clear()
            with torch.inference_mode():
                logits.append(forward_with_tta(self._network, part, self._tta).float().cpu().numpy())
            # With flips the head is read once for each view; the first is the tile as it lies.
            first = torch.cat([noted[0] for noted in self._read], 1)
            features.append(first.float().cpu().numpy())
        return np.concatenate(logits), np.concatenate(features)
