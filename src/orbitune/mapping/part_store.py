"""Finished parts of a map on disk, from which a killed map continues.

The folder `.NAME.parts` lies beside the map until it is complete. It holds the plan, the dense head if there
is one, and a checksummed array for each finished part.
"""

import shutil
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import numpy as np

from orbitune.files import replacing
from orbitune.inference.linear_head import LinearHead
from orbitune.integrity import read_cached_json, with_checksum, without_checksum
from orbitune.mapping.dense.predictor import DenseFit
from orbitune.records import RecordError, StoredRecord


class PlanFile(StoredRecord):
    """The content of plan.json.

    Attributes:
        key: digest of all inputs and options that determine the parts.
        attention: name of the attention kernel that the parts are computed with; None if not yet chosen.
    """

    UNVERSIONED: ClassVar[int | None] = 1

    key: str
    attention: str | None = None


class PartStore:
    """The folder of a map's finished parts.

    Args:
        folder: where the parts lie; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def beside(cls, path: Path) -> "PartStore":
        """Return the store of the map that will be written to `path`."""
        return cls(path.with_name(f".{path.name}.parts"))

    def read_plan(self) -> PlanFile | None:
        """Return the plan that the parts belong to.

        Returns None if none can be read.
        """
        stored = read_cached_json(self.folder / "plan.json")
        try:
            return None if stored is None else PlanFile.from_json(stored)
        except RecordError:
            return PlanFile(key="")  # damaged, or of another version: it matches no map

    def write_plan(self, plan: PlanFile) -> None:
        """Store the plan."""
        plan.write(self.folder / "plan.json")

    def read_fit(self) -> DenseFit | None:
        """Return the dense head; None if there is none, or it is damaged."""
        from safetensors.numpy import load

        try:
            stored = load(without_checksum(self._head_file.read_bytes()))
            head = LinearHead(stored["weight"], stored["bias"])
            points = int(stored["labelled_points"])
            return DenseFit(head, float(stored["margin"]), stored["cells"], labelled_points=points)
        except (OSError, ValueError, KeyError):
            return None

    def write_fit(self, fit: DenseFit) -> None:
        """Store the dense head."""
        from safetensors.numpy import save

        numbers = {"margin": np.array(fit.margin), "labelled_points": np.array(fit.labelled_points)}
        content = save({"weight": fit.head.weight, "bias": fit.head.bias, "cells": fit.cells, **numbers})
        with replacing(self._head_file) as temporary:
            temporary.write_bytes(with_checksum(content))

    def read(self, number: int) -> np.ndarray:
        """Return a part as `Worker.label` made it, uint8 (planes, rows, columns)."""
        return np.asarray(np.load(self._part_file(number)))

    def write(self, number: int, labels: np.ndarray) -> None:
        """Store a part with a checksum.

        Args:
            number: number of the part.
            labels: what `Worker.label` returns, uint8 (planes, rows, columns).
        """
        content = BytesIO()
        np.save(content, labels)
        with replacing(self._part_file(number)) as temporary:
            temporary.write_bytes(with_checksum(content.getvalue()))

    def missing(self, count: int) -> list[int]:
        """Return the numbers below `count` of the parts that are absent or damaged."""
        return [number for number in range(count) if not self._is_intact(number)]

    def clear(self) -> None:
        """Remove the folder and all in it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_intact(self, number: int) -> bool:
        """Return whether a part is stored and matches its checksum."""
        try:
            without_checksum(self._part_file(number).read_bytes())
        except (OSError, ValueError):
            return False
        return True

    def _part_file(self, number: int) -> Path:
        return self.folder / f"{number:05}.npy"

    @property
    def _head_file(self) -> Path:
        return self.folder / "dense_head.safetensors"
