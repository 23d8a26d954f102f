"""Many tasks on one backbone: any number of adapters in memory, one for each image of a batch."""

from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from orbitune.adapters.batched_lora import (
    Factors,
    Layout,
    batched_lora_layers,
    no_low_rank,
    rank_of,
    read_low_rank,
)
from orbitune.data.transform import Transform
from orbitune.errors import ModelError, OrbituneError
from orbitune.evaluation.calibration import probabilities
from orbitune.evaluation.network import make_network
from orbitune.models.backbones import find_backbone, load_weights
from orbitune.models.checkpoint_io import open_saved
from orbitune.models.factory import resolve
from orbitune.models.families import head_names
from orbitune.recipe import Recipe


@dataclass(frozen=True)
class _Saved:
    """An adapter as its folder has it: factors by module, heads (C, H, D + 1), the bias as last column."""

    classes: tuple[str, ...]
    temperature: float
    factors: dict[str, Factors]
    heads: Tensor


@dataclass(frozen=True)
class _Resident:
    """An adapter in memory, its factors packed for a layout."""

    classes: tuple[str, ...]
    temperature: float
    layout: Layout
    vector: Tensor
    heads: Tensor

    @property
    def bytes(self) -> int:
        return self.vector.nbytes + self.heads.nbytes


class AdapterBank:
    """One backbone in memory, and adapters of which every image of a batch may use another.

    Takes what LoRA, rsLoRA, LoRA+, PiSSA and linear probing save: low-rank updates and a head, with any
    number of classes. Adapters can be added, replaced and removed while other threads predict.

    Args:
        backbone: hub id, folder or `demo`.
        image_size: in pixels, that the adapters were trained at.
        memory_limit: bytes of adapters to keep in memory; those used longest ago are dropped and loaded from
            their folders when they are asked for again. The tasks of the batch at hand always stay.
        precision: `bf16`, `fp16` or `fp32`; that of the processor where None.

    Raises:
        OrbituneError: the backbone cannot be had, or the size does not suit it.
    """

    def __init__(
        self,
        backbone: str | Path,
        image_size: int,
        memory_limit: int | None = None,
        precision: str | None = None,
    ) -> None:
        self._backbone = find_backbone(str(backbone))
        asked = {"backbone": str(backbone), "image_size": image_size, "precision": precision}
        recipe = resolve(Recipe.make(asked), self._backbone)
        assert recipe.micro_batch is not None
        self._at_once = recipe.micro_batch
        stated = self._backbone.preprocessing.at_size(image_size)
        transform = Transform(image_size, stated.mean, stated.std, stated.resample)
        model = load_weights(self._backbone, ("none",), seed=0).eval().requires_grad_(False)
        self._heads = head_names(model, self._backbone.family)
        network = make_network(model, recipe, backbone=self._backbone, transform=transform)
        self._network = network.eval()
        self._preprocessing = stated
        self._products = batched_lora_layers(self._network, model, self._backbone.family)
        self._layout = Layout(self._products, frozenset(), 0)
        self._dtype = self._network.plan.dtype
        self._limit = memory_limit
        self._folders: dict[str, Path] = {}
        self._residents: OrderedDict[str, _Resident] = OrderedDict()
        self._lock = Lock()  # of the adapters
        self._computing = Lock()  # of the network, which holds the updates of one batch

    def __contains__(self, name: str) -> bool:
        return name in self._folders

    @property
    def names(self) -> list[str]:
        """The adapters, whether in memory or not, in the order in which they were added."""
        return list(self._folders)

    @property
    def bytes(self) -> int:
        """What the adapters in memory take."""
        with self._lock:
            return sum(each.bytes for each in self._residents.values())

    def add(self, name: str, folder: str | Path) -> None:
        """Take an adapter in, or put another in the place of one that has this name.

        Args:
            folder: what a run saved as adapter/.

        Raises:
            ModelError: it was trained on other weights, at another size, or by a method that is no low-rank
                update; or its files are damaged. The bank is left as it was.
        """
        saved = self._read(Path(folder))
        with self._lock:
            self._folders[name] = Path(folder)
            self._keep(name, saved)
            self._drop_oldest({name})

    def remove(self, name: str) -> None:
        """Forget an adapter; its files stay.

        Raises:
            ModelError: there is none of this name.
        """
        with self._lock:
            if self._folders.pop(name, None) is None:
                raise self._unknown(name)
            self._residents.pop(name, None)

    def classes(self, name: str) -> tuple[str, ...]:
        """The class names of a task.

        Raises:
            ModelError: there is none of this name.
        """
        return self._take([name])[name].classes

    def predict(self, tiles: np.ndarray, tasks: Sequence[str]) -> list[np.ndarray]:
        """Class probabilities of every tile by the adapter that its task names.

        Args:
            tiles: uint8 (B, H, W, 3).
            tasks: B names of adapters.

        Returns:
            B arrays, float64 (C,), each over the classes of its task and calibrated where the adapter is.

        Raises:
            ModelError: there is no adapter of such a name.
        """
        taken = self._take(tasks)
        return [
            probabilities(logits[None], taken[task].temperature)[0]
            for task, logits in zip(tasks, self._logits(tiles, tasks, taken), strict=True)
        ]

    def logits(self, tiles: np.ndarray, tasks: Sequence[str]) -> list[np.ndarray]:
        """As `predict`, before temperature and softmax; float32 (C,) each."""
        return self._logits(tiles, tasks, self._take(tasks))

    def _logits(
        self, tiles: np.ndarray, tasks: Sequence[str], taken: dict[str, _Resident]
    ) -> list[np.ndarray]:
        rows: list[np.ndarray] = []
        for start in range(0, len(tiles), self._at_once):
            part = slice(start, start + self._at_once)
            rows += self._compute(torch.from_numpy(tiles[part]), tasks[part], taken)
        return rows

    def _compute(self, tiles: Tensor, tasks: Sequence[str], taken: dict[str, _Resident]) -> list[np.ndarray]:
        different = list(dict.fromkeys(tasks))
        used = [taken[task] for task in different]
        places = torch.tensor([different.index(task) for task in tasks])
        with torch.inference_mode():
            with self._computing:
                used[0].layout.spread(torch.stack([each.vector for each in used]), places)
                features = torch.stack(self._network.features(tiles), 1)  # (B, H, D)
            # Heads of fewer classes are filled up with zeros, whose logits are cut off again.
            heads = pad_sequence([each.heads for each in used], batch_first=True)[places]  # (B, C, H, D + 1)
            logits = torch.einsum("bchd,bhd->bch", heads[..., :-1], features) + heads[..., -1]
        rows = logits.mean(2).numpy()
        return [row[: len(taken[task].classes)] for task, row in zip(tasks, rows, strict=True)]

    def _take(self, tasks: Sequence[str]) -> dict[str, _Resident]:
        """The adapters of a batch, all packed alike; those that are not in memory are loaded."""
        names = dict.fromkeys(tasks)
        with self._lock:
            for name in names:
                if name not in self._folders:
                    raise self._unknown(name)
            while missing := [name for name in names if name not in self._residents]:
                self._keep(missing[0], self._read(self._folders[missing[0]]))
            for name in names:
                self._residents.move_to_end(name)
            taken = {name: self._residents[name] for name in names}
            self._drop_oldest(names)
        return taken

    def _keep(self, name: str, saved: _Saved) -> None:
        """Pack an adapter; where it has no place in the layout, that grows and the others are packed anew."""
        if not self._layout.holds(saved.factors):
            modules = self._layout.modules.union(saved.factors)
            self._layout = Layout(self._products, modules, max(self._layout.rank, rank_of(saved.factors)))
            self._residents.clear()
        vector = self._layout.pack(saved.factors, self._dtype)
        self._residents[name] = _Resident(saved.classes, saved.temperature, self._layout, vector, saved.heads)
        self._residents.move_to_end(name)

    def _drop_oldest(self, needed: Collection[str]) -> None:
        """Keep to the limit, but for what is needed now."""
        if self._limit is None:
            return
        held = sum(each.bytes for each in self._residents.values())
        for name in [name for name in self._residents if name not in needed]:
            if held <= self._limit:
                return
            held -= self._residents.pop(name).bytes

    def _read(self, folder: Path) -> _Saved:
        try:
            metadata = open_saved(folder)
        except OrbituneError as error:
            raise ModelError(f"{folder} cannot be read as an adapter: {error}") from None
        if metadata.backbone.weights_sha256 != self._backbone.weights_hash:
            raise ModelError(f"{folder} was trained on other weights than {self._backbone.name} holds.")
        for key in ("image_size", "mean", "std", "resample"):
            own, ours = (getattr(each, key) for each in (metadata.preprocessing, self._preprocessing))
            if own != ours:
                raise ModelError(
                    f"{folder} was trained with {key} {own}, the bank computes with {ours}; "
                    "use a bank of its own."
                )
        factors, tensors = read_low_rank(folder)
        classes = metadata.classes
        for head in self._heads:
            both = [tensors.get(f"{head}.{kind}") for kind in ("weight", "bias")]
            if any(tensor is None or len(tensor) != len(classes) for tensor in both):
                raise no_low_rank(folder, f"it holds no head of {len(classes)} classes")
        computed = set().union(*(product.outputs for product in self._products))
        heads = [
            torch.cat([tensors.pop(f"{head}.weight"), tensors.pop(f"{head}.bias")[:, None]], 1)
            for head in self._heads
        ]
        if beside := sorted({*tensors, *set(factors).difference(computed)}):
            raise no_low_rank(folder, f"it changes {beside[0]}")
        return _Saved(classes, metadata.temperature or 1.0, factors, torch.stack(heads, 1))

    def _unknown(self, name: str) -> ModelError:
        return ModelError(f"The bank has no adapter {name!r}; it has: {', '.join(self._folders) or 'none'}.")
