"""Names that may be ids of the hub, or mistyped paths."""

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from orbitune.suggestions import nearest_paths

EUROSAT = "blanchon/EuroSAT_RGB"
KNOWN_DATA = (EUROSAT,)  # to suggest for a mistyped id
_SLIP = 0.85  # likeness of two names (difflib), from which one may be a slip of the other


def looks_like_path(name: str) -> bool:
    """Return whether a name means a path on disk.

    It does if the path exists, or if the name cannot be a hub id.
    """
    return (
        name.startswith((".", "/", "~"))
        or name.endswith(".zip")
        or name.count("/") > 1
        or os.path.exists(name)  # noqa: PTH110  # pathlib's raises for a name that is too long
    )


def means_path(name: str, repo_type: Literal["model", "dataset"]) -> bool:
    """Return whether a name means a path on disk, or hardly differs from one.

    The hub is not asked for a mistyped path; an id that is in its cache is none.
    """
    if looks_like_path(name):
        return True
    if "/" not in name or not _is_slip_of_path(name):
        return False
    from huggingface_hub import constants

    return not Path(constants.HF_HUB_CACHE, f"{repo_type}s--{name.replace('/', '--')}").is_dir()


def near_ids(name: str, known: Iterable[str]) -> list[str]:
    """Return the known ids that an id is a slip of: those of the same last part, or of hardly other words.

    EuroSAT_MSI is no slip of EuroSAT_RGB, nor is -large one of -base.
    """
    words = _words(name)
    return [
        each
        for each in known
        if each.casefold().split("/")[-1] == name.casefold().split("/")[-1]
        or (len(_words(each)) == len(words) and all(map(_is_slip, words, _words(each))))
    ]


def _words(name: str) -> list[str]:
    """Return the words and numbers of a name in lower case."""
    return re.findall(r"[a-z]+|\d+", name.casefold())


def _is_slip(name: str, other: str) -> bool:
    return difflib.SequenceMatcher(None, name, other).ratio() >= _SLIP


def _is_slip_of_path(name: str) -> bool:
    """Return whether a name such as runs/lroa is hardly another than that of a file or folder that exists.

    Numbers must be equal: vit-base-224 is no slip of vit-base-384, but another model.
    """
    parent, last = os.path.split(name)
    near = nearest_paths(name, files=True, folders=True)
    if not os.path.isdir(parent):  # noqa: PTH112
        beyond = (os.path.join(each, last) for each in near)  # noqa: PTH118
        near = [each for each in beyond if os.path.exists(each)]  # noqa: PTH110
    return any(re.findall(r"\d+", each) == re.findall(r"\d+", name) and _is_slip(name, each) for each in near)
