"""Variants of the compiled kernels: one C source for several processors and dtypes."""

import functools
import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from orbitune.models.precision import has_instructions

CSRC = Path(__file__).with_name("csrc")
# Least vector extension that torch must use for a capability, where ATEN_CPU_CAPABILITY limits it.
_NEEDS = {"avx512": ("AVX512",), "avx2": ("AVX2", "AVX512")}


@dataclass(frozen=True)
class Variant:
    """The kernels for one kind of processor and one dtype, an entry of csrc/variants.json.

    Attributes:
        name: vector extension.
        dtype: dtype of the tensors.
        architecture: `platform.machine()` of its processors.
        capabilities: what the processor needs, as `torch.cpu.get_capabilities` names it.
        flags: flags of gcc and Clang.
        lanes: fp32 numbers in a vector register.
    """

    name: str
    dtype: torch.dtype
    architecture: str
    capabilities: tuple[str, ...]
    flags: tuple[str, ...]
    lanes: int

    @property
    def file_name(self) -> str:
        """Return the name of the library in a wheel."""
        return f"kernels-{self.name.lower()}.so"


def _read_variants() -> tuple[Variant, ...]:
    table = json.loads((CSRC / "variants.json").read_text(encoding="utf-8"))
    return tuple(_variant(entry, table["flags"]) for entry in table["variants"])


def _variant(entry: dict[str, Any], common: list[str]) -> Variant:
    sizes = [f"-D{size.upper()}={entry[size]}" for size in ("lanes", "block", "vectors")]
    return Variant(
        name=entry["name"],
        dtype=getattr(torch, entry["dtype"]),
        architecture=entry["architecture"],
        capabilities=tuple(entry["capabilities"]),
        flags=(*common, *entry["flags"], *sizes),
        lanes=entry["lanes"],
    )


VARIANTS = _read_variants()


def find_variant(dtype: torch.dtype) -> Variant | None:
    """Return the fastest variant for a dtype that this processor can run; None if there is none.

    ATEN_CPU_CAPABILITY and ONEDNN_MAX_CPU_ISA, which limit the instructions of torch, limit it likewise.
    """
    fitting = (each for each in VARIANTS if each.dtype == dtype and can_run(each))
    return next(fitting, None)


def can_run(variant: Variant) -> bool:
    """Return whether this processor has the instructions of a variant, and torch may use them."""
    return (
        variant.architecture == platform.machine()
        and all(map(_has_capability, variant.capabilities))
        and has_instructions(variant.dtype)
    )


@functools.cache
def has_amx() -> bool:
    """Return whether the processor has matrix instructions (AMX), which oneDNN uses."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


def _has_capability(name: str) -> bool:
    enough = _NEEDS.get(name.partition("_")[0])
    allowed = enough is None or torch.backends.cpu.get_cpu_capability() in enough
    return allowed and bool(torch.cpu.get_capabilities().get(name))
