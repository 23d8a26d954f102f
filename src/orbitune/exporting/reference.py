"""The trained model of a run, as all its exports are made from it and compared with it: in fp32, unmerged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orbitune.data.transform import Transform
from orbitune.exporting.tracing import network_of, trace
from orbitune.inference.bundle import Bundle
from orbitune.training.evaluate import reopen
from orbitune.training.setup import TrainingSetup

if TYPE_CHECKING:
    from torch import nn

# uint8 tiles (B, H, W, 3), of the training tiles' size, to calibrated probabilities (B, C).
Predict = Callable[[np.ndarray], np.ndarray]

CALIBRATION_TILES = 256  # with more the ranges of activations hardly change
_BATCH = 64


@dataclass(frozen=True)
class ReferenceModel:
    """A finished run, opened again with its own tiles.

    Attributes:
        merge_after: blocks, from 1, after which forms that are not exact merge half of the patches.
    """

    bundle: Bundle
    job: TrainingSetup
    merge_after: tuple[int, ...] = ()
    progress: bool = False

    @classmethod
    def open(cls, run: Path, progress: bool = True, merge_after: Sequence[int] = ()) -> "ReferenceModel":
        """Open a run.

        Raises:
            OrbituneError: it is not finished, its tiles or backbone are no longer the same, or its tokens
                cannot be merged so.
        """
        from orbitune.fastpath.token_merging import check_merging

        bundle, job = Bundle.open(run), reopen(run, progress)[1]
        check_merging(merge_after, job.backbone.family, job.backbone.config.num_hidden_layers)
        return cls(bundle, job, tuple(merge_after), progress)

    @property
    def transform(self) -> Transform:
        """What the run did to a tile."""
        return self.job.transform

    @property
    def tile_size(self) -> tuple[int, int]:
        """Height and width of the training tiles in pixels."""
        height, width = self.job.tiles.tiles.shape[1:3]
        return height, width

    @property
    def hashes(self) -> dict[str, str]:
        """What tells this model from any other: the recipe, the tiles, and the backbone's weights."""
        return {
            "recipe": self.bundle.metadata.recipe_hash or self.job.recipe.hash,
            "tiles": self.job.tiles.fingerprint,
            "backbone": self.job.backbone.weights_hash,
        }

    def model(self) -> "nn.Module":
        """The model as it was saved, in fp32 on the CPU, an adapter beside its layers."""
        return self.bundle.model(self.job.backbone)

    def merged(self) -> "nn.Module":
        """A plain classifier of transformers in fp32, with any adapter merged into its layers.

        Its configuration names the classes and the image size of the run, and its position embeddings are
        those of that size: nothing is interpolated, so transformers needs no argument for it.
        """
        import torch

        model: Any = self.model()
        if hasattr(model, "peft_config"):
            model = model.merge_and_unload(safe_merge=True)
        size, embeddings = self.transform.size, getattr(model, model.base_model_prefix).embeddings
        patches = (size // self.job.backbone.patch_size) ** 2
        others = getattr(embeddings, "distillation_token", None) is not None
        shape_only = torch.empty(1, 1 + others + patches, model.config.hidden_size, device="meta")
        with torch.no_grad():
            places = embeddings.interpolate_pos_encoding(shape_only, size, size)
        embeddings.position_embeddings = torch.nn.Parameter(places.clone())
        embeddings.patch_embeddings.image_size = (size, size)
        embeddings.patch_embeddings.num_patches = patches
        names = dict(enumerate(self.bundle.classes))
        model.config.update(
            {"image_size": size, "id2label": names, "label2id": {n: i for i, n in names.items()}}
        )
        return model.eval().requires_grad_(False)

    @cached_property
    def graph(self) -> Any:
        """The merged model as an onnx.ModelProto, see `orbitune.exporting.tracing`; traced once."""
        return self._traced(self.merged())

    @cached_property
    def even_graph(self) -> Any:
        """Return the graph to quantise: channels scaled by SmoothQuant, and tokens merged if asked."""
        from orbitune.exporting.smoothquant import equalise

        model, tiles = self._tuned() if self.merge_after else self.merged(), self.calibration_tiles()
        predict = self.predict(model)
        equalise(model, self.job.backbone.family, lambda: [predict(part) for part in _parts(tiles)])
        return self._traced(model, self.merge_after)

    def _tuned(self) -> "nn.Module":
        """The merged model, its upper blocks used to merged tokens, see `orbitune.exporting.distillation`."""
        from orbitune.exporting.distillation import distil

        model = self.merged()
        tuned = distil(self.job, self.merged(), self.merged(), self.merge_after, self.progress)
        model.load_state_dict(tuned, strict=False)
        return model

    def _traced(self, model: "nn.Module", merge_after: Sequence[int] = ()) -> Any:
        network = network_of(model, self.job.backbone.family, self.transform, merge_after)
        return trace(network, self.tile_size, self.bundle.temperature)

    def predict(self, model: "nn.Module") -> Predict:
        """What a model of transformers or PEFT makes of tiles, by its own forward pass."""
        import torch

        from orbitune.fastpath.dispatch import PlainClassifier

        network = PlainClassifier(model, self.job.backbone.family, self.transform, torch.float32).eval()

        def predict(tiles: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                logits = network(torch.from_numpy(tiles)) / self.bundle.temperature
                return logits.softmax(1).numpy()

        return predict

    def calibration_tiles(self) -> np.ndarray:
        """Some training tiles, drawn at random, by which activations are scaled; uint8 (N, H, W, 3)."""
        train = self.job.splits["train"]
        drawn = np.random.default_rng(0).permutation(len(train))[:CALIBRATION_TILES]
        return self.job.tiles.read(np.sort(train[drawn]))


def _parts(tiles: np.ndarray) -> list[np.ndarray]:
    """A batch at a time."""
    return np.array_split(tiles, -(-len(tiles) // _BATCH))
