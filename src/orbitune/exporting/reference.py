"""Reference model: the trained model in fp32 that exports are validated against."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orbitune.data.tileset import TileSet
from orbitune.data.transform import Transform
from orbitune.exporting.kept_tensors import kept_tensors
from orbitune.inference.bundle import Bundle
from orbitune.integrity import file_hash
from orbitune.models.families.family import body_of
from orbitune.models.files.checkpoint_files import hashed_files
from orbitune.models.files.config_files import label_settings
from orbitune.models.inputs.positions import leading_tokens
from orbitune.models.token_merging import check_merging
from orbitune.training.evaluate import reopen
from orbitune.training.setup import TrainingSetup

if TYPE_CHECKING:
    from torch import Tensor, nn

    from orbitune.exporting.vit_graph import ViTGraph

# From tiles (B, H, W, bands) in their dtype, of the training tiles' size, to calibrated probabilities (B, C).
Predict = Callable[[np.ndarray], np.ndarray]

CALIBRATION_TILES = 256  # with more, the ranges of activations hardly change
_BATCH = 64
_KEPT = "probabilities"


@dataclass(frozen=True)
class ReferenceModel:
    """A finished run with its tiles, the reference of its exports.

    Attributes:
        bundle: the run as a bundle.
        setup: tiles, splits, transform and backbone of the run.
        merge_after: blocks, counted from 1, after which formats in int8 merge half of the patch tokens.
        progress: whether to show progress bars.
    """

    bundle: Bundle
    setup: TrainingSetup
    merge_after: tuple[int, ...] = ()
    progress: bool = False

    @classmethod
    def open(cls, run: Path, *, progress: bool = True, merge_after: Sequence[int] = ()) -> "ReferenceModel":
        """Open a run.

        Args:
            run: folder of a finished run.
            progress: whether to show progress on stderr.
            merge_after: blocks, from 1, after which tokens are merged in int8 formats.

        Returns:
            The reference model; its weights are not loaded yet.

        Raises:
            OrbituneError: it is not finished, its tiles or backbone have changed, or its tokens cannot be
                merged after these blocks.
        """
        bundle = Bundle.open(run)
        setup = reopen(run, progress)[1]
        if merge_after:
            from orbitune.evaluation.network import require_fast_path

            require_fast_path("Merging tokens (--merge-tokens)")
            patches = (setup.transform.size // setup.backbone.step) ** 2
            check_merging(merge_after, setup.backbone, patches=patches)
        return cls(bundle, setup, tuple(merge_after), progress)

    @property
    def transform(self) -> Transform:
        """Return the preprocessing of the run."""
        return self.setup.transform

    @property
    def tile_size(self) -> tuple[int, int]:
        """Height and width of the training tiles in pixels."""
        height, width = self.setup.tiles.tiles.shape[1:3]
        return height, width

    @property
    def hashes(self) -> dict[str, str]:
        """Return hashes of recipe, tiles and backbone weights."""
        return {
            "recipe": self.bundle.metadata.recipe_hash or self.setup.recipe.hash,
            "tiles": self.setup.tiles.fingerprint,
            "backbone": self.setup.backbone.weights_hash,
        }

    def model(self) -> "nn.Module":
        """Return the model as saved, in fp32 on the CPU, with any adapter unmerged."""
        return self.bundle.model(self.setup.backbone)

    def merged(self) -> "nn.Module":
        """Return a plain transformers classifier in fp32, with any adapter merged.

        Its configuration has the run's class names and kind of labels. Where position embeddings are a tensor
        of the model, they are interpolated to the run's image size, so that transformers needs no argument
        for it.
        """
        import torch

        model: Any = self.model()
        if hasattr(model, "peft_config"):
            model = model.merge_and_unload(safe_merge=True)
        family, size = self.setup.backbone.family, self.transform.size
        embeddings: Any = None if family.why_plain else body_of(model, family).embeddings
        if hasattr(embeddings, "position_embeddings"):
            patches = (size // self.setup.backbone.step) ** 2
            tokens = len(leading_tokens(embeddings)) + patches
            shape_only = torch.empty(1, tokens, model.config.hidden_size, device="meta")
            with torch.no_grad():
                positions = embeddings.interpolate_pos_encoding(shape_only, size, size)
            embeddings.position_embeddings = torch.nn.Parameter(positions.clone())
            embeddings.patch_embeddings.image_size = (size, size)
            embeddings.patch_embeddings.num_patches = patches
            model.config.update({"image_size": size})
        problem = {"problem_type": self.bundle.task.problem_type}
        model.config.update(label_settings(self.bundle.classes) | problem)
        return model.eval().requires_grad_(False)

    @cached_property
    def graph(self) -> "ViTGraph":
        """Return the writer of the model's graph in fp32."""
        from orbitune.evaluation.network import load_model

        backbone, metadata = self.setup.backbone, self.bundle.metadata
        model: Any = load_model(self.bundle.folder, self.setup.recipe, backbone=backbone, metadata=metadata)
        if hasattr(model, "peft_config"):
            model = model.merge_and_unload(safe_merge=True)
        return self._graph_of(model)

    @cached_property
    def traced(self) -> Any:
        """Return the graph of a model that only transformers computes, as an onnx.ModelProto in fp32."""
        from orbitune.evaluation.network import plain_network
        from orbitune.exporting.traced_graph import trace

        family = self.setup.backbone.family
        return trace(
            plain_network(self.merged(), family, transform=self.transform),
            decision=self.bundle.decision,
            activation=self.bundle.task.activation,
            tiles=self.setup.tiles.read(self.setup.splits["train"][:2]),
            title=family.title,
        )

    @cached_property
    def quantized_graph(self) -> "ViTGraph":
        """Return the writer of the graph in int8: channels scaled, tokens merged if asked."""
        from orbitune.exporting.quantization import quantize

        graph = self.graph
        if self.merge_after:
            model = self.merged()
            model.load_state_dict(self._distilled(), strict=False)
            graph = replace(self._graph_of(model), merge_after=self.merge_after)
        return quantize(graph, self.calibration_tiles())

    @cached_property
    def validation_probabilities(self) -> np.ndarray:
        """Return the probabilities of the validation tiles, float32 (N, C).

        They are kept in the cache for the next export of the model.
        """
        return kept_tensors("reference", self._identity, compute=self._compute_probabilities)[_KEPT].numpy()

    def _compute_probabilities(self) -> "dict[str, Tensor]":
        import torch

        from orbitune.evaluation.network import load_model

        recipe, backbone = self.setup.recipe.replace(precision="fp32"), self.setup.backbone
        model = load_model(self.bundle.folder, recipe, backbone=backbone, metadata=self.bundle.metadata)
        indices = self.setup.splits["validation"]
        found = predict_in_batches(self.predict(model), self.setup.tiles, indices=indices)
        return {_KEPT: torch.from_numpy(found)}

    def predict(self, model: "nn.Module", *, fast: bool = True) -> Predict:
        """Return the calibrated probabilities of a transformers or PEFT model as a prediction function.

        Args:
            model: computed in fp32.
            fast: whether to use the fast path where the recipe has it, not the model's own forward pass.
        """
        import torch

        from orbitune.data.transform import to_tensor
        from orbitune.evaluation.network import make_network, plain_network

        recipe, backbone = self.setup.recipe.replace(precision="fp32"), self.setup.backbone
        network: nn.Module
        if fast:
            network = make_network(model, recipe, backbone=backbone, transform=self.transform)
        else:
            network = plain_network(model, backbone.family, transform=self.transform)
        network.eval()

        def predict(tiles: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                logits = network(to_tensor(tiles)).numpy()
            return self.bundle.task.probabilities(logits, self.bundle.decision).astype(np.float32)

        return predict

    def calibration_tiles(self) -> np.ndarray:
        """Return training tiles for activation ranges, uint8 or uint16 (N, H, W, bands)."""
        train = self.setup.splits["train"]
        drawn = np.random.default_rng(0).permutation(len(train))[:CALIBRATION_TILES]
        return self.setup.tiles.read(np.sort(train[drawn]))

    def _distilled(self) -> "dict[str, Tensor]":
        """Return the tensors that distillation with merged tokens changes; kept in the cache."""
        from orbitune.exporting.distillation import distil

        return kept_tensors(
            "distilled",
            (*self._identity, *map(str, self.merge_after), str(self.setup.recipe.precision)),
            compute=lambda: distil(
                self.setup,
                teacher=self.merged(),
                student=self.merged(),
                merge_after=self.merge_after,
                progress=self.progress,
            ),
        )

    @property
    def _identity(self) -> tuple[str, ...]:
        """Return what the outputs on the tiles of the run depend on."""
        splits = (self.setup.splits[name].tobytes() for name in ("train", "validation"))
        return (
            *self.hashes.values(),
            file_hash(*hashed_files(self.bundle.folder)),
            *(hashlib.sha256(indices).hexdigest() for indices in splits),
            repr(self.transform),
            repr((self.bundle.decision.temperature, self.bundle.decision.offsets)),
        )

    def _graph_of(self, model: "nn.Module") -> "ViTGraph":
        """Return the writer of a model's graph; see `orbitune.exporting.weights.read_weights`."""
        from orbitune.exporting.vit_graph import TileFormat, ViTGraph
        from orbitune.exporting.weights import read_weights

        backbone, used = self.setup.backbone, self.setup.preprocessing
        return ViTGraph(
            read_weights(model, backbone.family, grid=self.transform.size // backbone.step),
            self.transform,
            TileFormat(*self.tile_size, len(used.bands), used.dtype),
            self.bundle.decision.temperature,
            self.bundle.decision.offsets,
            self.bundle.task.activation,
        )


def predict_in_batches(predict: Predict, tiles: TileSet, *, indices: np.ndarray) -> np.ndarray:
    """Return the probabilities (N, C) of the tiles at these indices.

    Args:
        predict: function of uint8 tiles to probabilities.
        tiles: the tile set.
        indices: tiles to predict, int (N,).

    Returns:
        float32 (N, C).
    """
    parts = [indices[start : start + _BATCH] for start in range(0, len(indices), _BATCH)]
    return np.concatenate([predict(tiles.read(part)) for part in parts])
