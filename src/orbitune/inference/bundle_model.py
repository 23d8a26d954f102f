"""The network of a bundle on its device: from tiles to logits and features."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from orbitune.data.augment import dihedral_views
from orbitune.data.transform import to_tensor
from orbitune.inference.bundle import Bundle
from orbitune.inference.linear_head import LinearHead
from orbitune.inference.patch_head import window_logits
from orbitune.models.backbones import Backbone
from orbitune.models.compute_plan import ComputePlan
from orbitune.models.factory import resolve
from orbitune.recipe import Recipe
from orbitune.resources import find_device

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class BundleModel:
    """The network of a bundle, on the fast path where there is one.

    Args:
        bundle: a bundle or a finished run.
        backbone: hub id or folder, where it no longer lies where the bundle says.
        precision: bf16, fp16, tf32 or fp32; None for that of the processor.
        device: such as cpu, cuda or cuda:1; None for the GPU if there is one.
        batch_size: largest number of tiles in one forward pass.
        attention: name of the attention kernel, for results equal to those of another process; None for the
            faster one.

    Raises:
        OrbituneError: the backbone cannot be found or has other weights, or files are damaged.
    """

    def __init__(
        self,
        bundle: Bundle,
        backbone: str | None = None,
        *,
        precision: str | None = None,
        device: "str | torch.device | None" = None,
        batch_size: int = 64,
        attention: str | None = None,
    ) -> None:
        found = bundle.backbone(backbone)
        used = bundle.metadata.preprocessing
        asked = {"image_size": used.image_size, "precision": precision, "batch_size": batch_size}
        recipe = resolve(Recipe.make(asked), found)
        assert recipe.micro_batch is not None
        self._device = find_device(device)
        self._batch_size = recipe.micro_batch
        self._tta, self._task = bundle.tta, bundle.task
        self._read: list[list[Tensor]] = []
        self._patches = used.image_size // found.step
        self._network = _load_network(
            bundle, recipe, backbone=found, device=self._device, attention=attention
        )
        for place, head in enumerate(self._network.heads):
            self._read.append([])
            head.register_forward_pre_hook(self._note(place))

    def _note(self, place: int) -> Any:
        """Return a hook that notes the input of a head."""
        return lambda module, inputs: self._read[place].append(inputs[0])

    @property
    def attention(self) -> str:
        """Return the name of its attention kernel.

        Other kernels give results that differ in the last bits.
        """
        return str(self._network.plan.attention)

    @property
    def plan(self) -> ComputePlan:
        """Return how it is computed on this machine, and why."""
        plan: ComputePlan = self._network.plan
        return plan

    @property
    def patches(self) -> int:
        """Return the number of patches along a side of a tile."""
        return self._patches

    def tokens(self, windows: np.ndarray, count: int) -> np.ndarray:
        """Return the patch tokens after the first third of the blocks, standardised; on the fast path alone.

        Args:
            windows: uint8 or uint16 (B, S, S, C); resized so that `count` x `count` patches cover each.
            count: patches along a side of a window.

        Returns:
            float32 (B, count, count, D).
        """
        tokens = self._tokens(to_tensor(windows, self._device), count)
        return tokens.reshape(len(windows), count, count, -1)

    def patch_features(self, windows: np.ndarray) -> np.ndarray:
        """Compute what a `PatchHead` reads, of the patches of each window; on the fast path alone.

        Args:
            windows: uint8 or uint16 (B, S, S, C).

        Returns:
            float32 (B, P, D).
        """
        return np.concatenate(
            [self._tokens(to_tensor(part, self._device), self._patches) for part in self._batches(windows)]
        )

    def label_windows(self, head: LinearHead, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Label windows by their patches, see `PatchHead`; on the fast path alone.

        Args:
            head: of a `PatchHead`.
            windows: uint8 or uint16 (B, S, S, C).

        Returns:
            Logarithms of the class probabilities, float (B, C), not calibrated; and the mean feature of the
            patches, float32 (B, D), of the window without flips.
        """
        logits, means = [], []
        for part in self._batches(windows):
            pixels = to_tensor(part, self._device)
            views = dihedral_views(pixels) if self._tta == "flips" else [pixels]
            features = [self._tokens(view, self._patches) for view in views]
            found = [window_logits(head, each) for each in features]
            logits.append(np.logaddexp.reduce(found) - np.log(len(found)))
            means.append(features[0].mean(1))
        return np.concatenate(logits), np.concatenate(means)

    def _tokens(self, pixels: "Tensor", count: int) -> np.ndarray:
        """Return the tokens of `tokens`, float32 (B, count * count, D), of integers (B, S, S, C)."""
        import torch

        assert self.plan.fast
        with torch.inference_mode():
            states = self._network.patch_states(pixels, count)
            normed = torch.nn.functional.layer_norm(states.float(), states.shape[-1:])
        return np.asarray(normed.cpu().numpy())

    def _batches(self, tiles: np.ndarray) -> Iterator[np.ndarray]:
        """Yield tiles in batches, in their order."""
        for start in range(0, len(tiles), self._batch_size):
            yield tiles[start : start + self._batch_size]

    def compute(self, tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute logits and features.

        Args:
            tiles: uint8 or uint16 (B, H, W, C).

        Returns:
            Logits, float32 (B, C), not calibrated; and features, float32 (B, D), the input of the
            head for the tile without flips (for a distilled DeiT, the inputs of its two heads, concatenated).
        """
        logits, features = self._compute(tiles, tta=self._tta)
        return logits, features[:, 0]

    def view_features(self, tiles: np.ndarray) -> np.ndarray:
        """Compute the features of all flips and quarter turns of square tiles.

        Args:
            tiles: uint8 or uint16 (B, S, S, C).

        Returns:
            float32 (B, 8, D), each as the features of `compute`; the first view is the tile itself.
        """
        return self._compute(tiles, tta="flips")[1]

    def _compute(self, tiles: np.ndarray, *, tta: str) -> tuple[np.ndarray, np.ndarray]:
        """Compute logits (B, C), means over views, and features (B, V, D) of the views."""
        import torch

        from orbitune.evaluation.predict import forward_with_tta

        logits, features = [], []
        for batch in self._batches(tiles):
            part = to_tensor(batch, self._device)
            for noted in self._read:
                noted.clear()
            with torch.inference_mode():
                found = forward_with_tta(self._network, part, tta=tta, task=self._task)
                logits.append(found.float().cpu().numpy())
            # A head is read once for each view.
            views = [torch.cat(heads, 1) for heads in zip(*self._read, strict=True)]
            features.append(torch.stack(views, 1).float().cpu().numpy())
        return np.concatenate(logits), np.concatenate(features)


def _load_network(
    bundle: Bundle, recipe: Recipe, *, backbone: Backbone, device: "torch.device", attention: str | None
) -> Any:
    """Load the network of a bundle on a device, in evaluation mode."""
    from orbitune.evaluation.network import load_model, make_network

    model = load_model(bundle.folder, recipe, backbone=backbone, metadata=bundle.metadata)
    return make_network(
        model.requires_grad_(False).to(device),
        recipe,
        backbone=backbone,
        transform=bundle.metadata.preprocessing.transform,
        attention=attention,
    ).eval()
