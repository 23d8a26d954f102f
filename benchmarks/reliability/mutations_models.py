"""Targets for `mutations`: bundles, runs, PEFT adapters and backbones.

Each file of a folder is a sample; the other files stay valid. The models are small, with random weights.
"""

import atexit
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import inputs
from mutations import Target

CLASSES = ("a", "b", "c")
prepared: dict[str, Path] = {}  # `run`: a finished run; if absent, one is trained


@cache
def _place() -> Path:
    place = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place


@cache
def backbone() -> Path:
    """Return the folder of a tiny ViT."""
    return inputs.write_backbone(_place() / "backbone")


@cache
def adapter() -> Path:
    """Return a folder written by plain PEFT, with head and all biases."""
    from peft import LoraConfig, get_peft_model

    from orbitune.models.backbones import find_backbone, load_weights

    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], modules_to_save=["classifier"], bias="all")
    model = get_peft_model(load_weights(find_backbone(str(backbone())), CLASSES, seed=0), config)
    folder = _place() / "adapter"
    model.save_pretrained(str(folder))
    (folder / "README.md").unlink()
    return folder


@cache
def bundle() -> Path:
    """Return a bundle of the adapter."""
    from orbitune.adapters.importer import import_adapter

    return import_adapter(adapter(), str(backbone()), labels=CLASSES, out=_place() / "bundle").folder


@cache
def run() -> Path:
    """Return the folder of a finished run of one epoch."""
    if "run" in prepared:
        return prepared["run"]
    from orbitune.recipe import Recipe
    from orbitune.training.run import train

    settings = inputs.recipe_values(backbone(), epochs=1)
    train(Recipe.make(settings), _place() / "run", progress=False)
    return _place() / "run"


def _samples(folder: Callable[[], Path], patterns: tuple[str, ...]) -> Callable[[], dict[str, bytes]]:
    def samples() -> dict[str, bytes]:
        place = folder()
        files = sorted(file for pattern in patterns for file in place.glob(pattern))
        return {str(file.relative_to(place)): file.read_bytes() for file in files}

    return samples


def _reader(
    folder: Callable[[], Path], opened: Callable[[Path, Path], object]
) -> Callable[[str, bytes], None]:
    """Return a reader that opens a copy of a folder with one mutated file.

    Args:
        folder: returns the folder.
        opened: opens the copy; its second argument is a path for outputs.
    """

    def read(name: str, data: bytes) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            copy = shutil.copytree(folder(), Path(scratch) / "copy")
            (copy / name).write_bytes(data)
            opened(copy, Path(scratch) / "made")

    return read


def _import(folder: Path, made: Path) -> None:
    from orbitune.adapters.importer import import_adapter

    import_adapter(folder, str(backbone()), labels=CLASSES, out=made, log=lambda line: None)


def _verify(folder: Path, made: Path) -> None:
    """Open a bundle as `predict` and `adapters verify` do."""
    from orbitune.adapters.tools import verify

    verify(folder)


def _without_hashes(folder: Path, made: Path) -> None:
    """Open a bundle whose hashes were removed, as an attacker could."""
    from orbitune.errors import OrbituneError
    from orbitune.files import write_json
    from orbitune.inference.bundle import Bundle
    from orbitune.integrity import read_json

    try:
        facts = read_json(folder / "orbitune.json")
        write_json(folder / "orbitune.json", {**facts, "files": {}, "settings": {}})
    except (OrbituneError, TypeError, ValueError):
        pass  # it is the mutant itself
    opened = Bundle.open(folder)
    opened.model(opened.backbone())


def _load(folder: Path, made: Path) -> None:
    from orbitune.models.backbones import find_backbone, load_weights

    load_weights(find_backbone(str(folder)), CLASSES, seed=0)


def _read_run(folder: Path, made: Path) -> None:
    """Open a finished run: its result, its inputs and its model."""
    from orbitune.inference.bundle import Bundle
    from orbitune.training.evaluate import reopen

    opened = Bundle.open(folder)
    opened.model(opened.backbone())
    reopen(folder, progress=False)


_WHOLE = ("*.json", "*.safetensors")
_RUN = ("*.json", "*.yaml", "*.jsonl", "adapter/*.json", "adapter/*.safetensors")

TARGETS = [
    Target("backbones", _samples(backbone, _WHOLE), _reader(backbone, _load)),
    Target("imports", _samples(adapter, _WHOLE), _reader(adapter, _import)),
    Target("bundles", _samples(bundle, _WHOLE), _reader(bundle, _verify)),
    Target("bundles-without-hashes", _samples(bundle, _WHOLE), _reader(bundle, _without_hashes)),
    Target("runs", _samples(run, _RUN), _reader(run, _read_run)),
]
