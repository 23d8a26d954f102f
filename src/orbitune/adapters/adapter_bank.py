"""Adapter bank: one backbone with many adapters, mixed within a batch."""

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
    not_low_rank_error,
    rank_of,
    read_low_rank,
)
from orbitune.data.transform import to_tensor
from orbitune.errors import DataError, ModelError, OrbituneError
from orbitune.evaluation.network import make_network
from orbitune.evaluation.tasks.known import find_task
from orbitune.evaluation.tasks.task import Decision, Task
from orbitune.models.backbones import load_weights
from orbitune.models.checkpoint_io import open_saved
from orbitune.models.factory import resolve
from orbitune.models.families.family import head_names
from orbitune.models.lineage.fine_tuned import open_backbone
from orbitune.recipe import Recipe


@dataclass(frozen=True)
class _Saved:
    """An adapter as read from its folder.

    Heads are (C, H, D + 1) with the bias as last column.
    """

    classes: tuple[str, ...]
    task: Task
    decision: Decision
    factors: dict[str, Factors]
    heads: Tensor


@dataclass(frozen=True)
class _Resident:
    """An adapter in memory, with its factors packed into one vector."""

    classes: tuple[str, ...]
    task: Task
    decision: Decision
    layout: Layout
    vector: Tensor
    heads: Tensor

    @property
    def bytes(self) -> int:
        """Return the bytes of factors and heads."""
        return self.vector.nbytes + self.heads.nbytes


class AdapterBank:
    """Serve many adapters on one backbone.

    Each image of a batch can use another adapter. Accepts adapters of LoRA, rsLoRA, LoRA+, PiSSA and linear
    probing: low-rank updates and a head, with any number of classes. Adapters can be added, replaced and
    removed while other threads predict.

    Examples:
        >>> from orbitune import AdapterBank
        >>> bank = AdapterBank("demo", 32)
        >>> bank.add("crops", "runs/lora/adapter")
        >>> probabilities = bank.predict(tiles, ["crops"] * len(tiles))

    Args:
        backbone: hub id, folder or `demo`.
        image_size: that the adapters were trained at, in pixels.
        memory_limit: bytes of adapters to keep in memory; None for no limit. The least recently used ones are
            dropped, and loaded from their folders when needed again. Those of the current batch always stay.
        precision: `bf16`, `fp16` or `fp32`; None for the fastest that the processor supports.

    Raises:
        OrbituneError: the backbone cannot be loaded, or does not support the image size.
    """

    def __init__(
        self,
        backbone: str | Path,
        image_size: int,
        *,
        memory_limit: int | None = None,
        precision: str | None = None,
    ) -> None:
        self._backbone = open_backbone(str(backbone))
        asked = {"backbone": str(backbone), "image_size": image_size, "precision": precision}
        recipe = resolve(Recipe.make(asked), self._backbone)
        assert recipe.micro_batch is not None
        self._micro_batch = recipe.micro_batch
        stated = self._backbone.preprocessing.at_size(image_size)
        model = load_weights(self._backbone, ("none",), seed=0).eval().requires_grad_(False)
        self._heads = head_names(model, self._backbone.family)
        network = make_network(model, recipe, backbone=self._backbone, transform=stated.transform)
        self._network = network.eval()
        self._preprocessing = stated
        self._products = batched_lora_layers(self._network, model, family=self._backbone.family)
        self._layout = Layout(self._products, frozenset(), rank=0)
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
        """Return the names of all adapters, in memory or not, in order of addition."""
        return list(self._folders)

    @property
    def bytes(self) -> int:
        """Return the bytes that the adapters in memory take."""
        with self._lock:
            return sum(each.bytes for each in self._residents.values())

    def add(self, name: str, folder: str | Path) -> None:
        """Add an adapter, or replace the one of this name.

        Args:
            name: to refer to it in `predict`.
            folder: the folder adapter/ of a run.

        Raises:
            ModelError: it was trained on other weights, at another image size, or by a method without
                low-rank updates; or its files are damaged. The bank stays as it was.
        """
        saved = self._read(Path(folder))
        with self._lock:
            self._folders[name] = Path(folder)
            self._keep(name, saved)
            self._drop_oldest({name})

    def remove(self, name: str) -> None:
        """Remove an adapter from the bank; its files stay.

        Args:
            name: name given to `add`.

        Raises:
            ModelError: there is no adapter of this name.
        """
        with self._lock:
            if self._folders.pop(name, None) is None:
                raise self._unknown(name)
            self._residents.pop(name, None)

    def classes(self, name: str) -> tuple[str, ...]:
        """Return the class names of an adapter.

        Args:
            name: name given to `add`.

        Returns:
            Class names in the order of the logits.

        Raises:
            ModelError: there is no adapter of this name.
        """
        return self._take([name])[name].classes

    def predict(self, tiles: np.ndarray, tasks: Sequence[str]) -> list[np.ndarray]:
        """Return class probabilities of tiles, each by its own adapter.

        Args:
            tiles: uint8 (B, H, W, 3).
            tasks: name of the adapter for each tile, length B.

        Returns:
            B arrays, float64 (C,), over the classes of each adapter; calibrated if the adapter has a
            calibration.

        Raises:
            DataError: the tiles have another shape or dtype, or not each has a name.
            ModelError: there is no adapter of one of these names.
        """
        taken = self._take(tasks)
        return [
            taken[name].task.probabilities(logits[None], taken[name].decision)[0]
            for name, logits in zip(tasks, self._logits(tiles, tasks, taken=taken), strict=True)
        ]

    def logits(self, tiles: np.ndarray, tasks: Sequence[str]) -> list[np.ndarray]:
        """Return logits, as `predict` without calibration and softmax.

        Args:
            tiles: uint8 (B, H, W, 3), as for `predict`.
            tasks: name of the adapter of each tile.

        Returns:
            B arrays, float32 (C,); C differs between adapters.

        Raises:
            DataError: as `predict`.
            ModelError: there is no adapter of one of these names.
        """
        return self._logits(tiles, tasks, taken=self._take(tasks))

    def _logits(
        self, tiles: np.ndarray, tasks: Sequence[str], *, taken: dict[str, _Resident]
    ) -> list[np.ndarray]:
        if tiles.dtype != np.uint8 or tiles.ndim != 4 or tiles.shape[3] != 3:
            raise DataError(f"Expected tiles uint8 (B, H, W, 3), not {tiles.dtype} {tiles.shape}.")
        if len(tasks) != len(tiles):
            raise DataError(f"Name an adapter for each of the {len(tiles)} tiles, not {len(tasks)} names.")
        rows: list[np.ndarray] = []
        for start in range(0, len(tiles), self._micro_batch):
            part = slice(start, start + self._micro_batch)
            rows += self._compute(to_tensor(tiles[part]), tasks[part], taken=taken)
        return rows

    def _compute(
        self, tiles: Tensor, tasks: Sequence[str], *, taken: dict[str, _Resident]
    ) -> list[np.ndarray]:
        different = list(dict.fromkeys(tasks))
        used = [taken[task] for task in different]
        places = torch.tensor([different.index(task) for task in tasks])
        with torch.inference_mode():
            with self._computing:
                used[0].layout.spread(torch.stack([each.vector for each in used]), places)
                features = torch.stack(self._network.features(tiles), 1)  # (B, H, D)
            # Heads with fewer classes are zero-padded; the extra logits are cut off below.
            heads = pad_sequence([each.heads for each in used], batch_first=True)[places]  # (B, C, H, D + 1)
            logits = torch.einsum("bchd,bhd->bch", heads[..., :-1], features) + heads[..., -1]
        rows = logits.mean(2).numpy()
        return [row[: len(taken[task].classes)] for task, row in zip(tasks, rows, strict=True)]

    def _take(self, tasks: Sequence[str]) -> dict[str, _Resident]:
        """Return the adapters of a batch in one layout, loading those not in memory."""
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
        """Pack an adapter into memory.

        If the layout must grow for it, drop all others to be packed again.
        """
        if not self._layout.holds(saved.factors):
            modules = self._layout.modules.union(saved.factors)
            self._layout = Layout(
                self._products, modules, rank=max(self._layout.rank, rank_of(saved.factors))
            )
            self._residents.clear()
        vector = self._layout.pack(saved.factors, self._dtype)
        self._residents[name] = _Resident(
            saved.classes, saved.task, saved.decision, self._layout, vector, saved.heads
        )
        self._residents.move_to_end(name)

    def _drop_oldest(self, needed: Collection[str]) -> None:
        """Drop the least recently used adapters above the memory limit, except `needed`."""
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
            raise ModelError(f"{folder} was trained on other weights than those of {self._backbone.name}.")
        for key in ("bands", "dtype", "image_size", "mean", "std", "resample"):
            own, ours = (getattr(each, key) for each in (metadata.preprocessing, self._preprocessing))
            if own != ours:
                raise ModelError(
                    f"{folder} was trained with {key} {own}, but the adapter bank uses {ours}; "
                    "add it to another bank."
                )
        factors, tensors = read_low_rank(folder)
        classes = metadata.classes
        for head in self._heads:
            both = [tensors.get(f"{head}.{kind}") for kind in ("weight", "bias")]
            if any(tensor is None or len(tensor) != len(classes) for tensor in both):
                raise not_low_rank_error(folder, f"it holds no head of {len(classes)} classes")
        computed = set().union(*(product.outputs for product in self._products))
        heads = [
            torch.cat([tensors.pop(f"{head}.weight"), tensors.pop(f"{head}.bias")[:, None]], 1)
            for head in self._heads
        ]
        if beside := sorted({*tensors, *set(factors).difference(computed)}):
            raise not_low_rank_error(folder, f"it changes {beside[0]}")
        task, decision = find_task(metadata.task), Decision.of(metadata)
        return _Saved(classes, task, decision, factors, torch.stack(heads, 1))

    def _unknown(self, name: str) -> ModelError:
        return ModelError(f"Unknown adapter {name!r}. The bank has: {', '.join(self._folders) or 'none'}.")
