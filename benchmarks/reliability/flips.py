"""Flip a byte in stored files; check that it is reported, or the file rebuilt.

    python benchmarks/reliability/flips.py [--flips 40] [--seed 0]

Each flip changes one byte of one file, drawn with the seed: of the cache (decoded tiles, cached activations),
a checkpoint, a run's adapter or model, its other files, or a bundle. Then the file is used. The outcome is
`reported` for one line of error, `rebuilt` if the content is as before the flip, and else `unnoticed`.

README.md, the model card, is left out: its author may edit it. The outcomes are printed as JSON.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import inputs

EDITABLE = "README.md"


@dataclass(frozen=True)
class Stored:
    """A stored result.

    Attributes:
        name: name in the report.
        folder: folder of its files.
        use: reads the files as they are now and returns their content; may raise an OrbituneError.
    """

    name: str
    folder: Path
    use: Callable[[], Any]

    def files(self) -> list[Path]:
        """Return the files that a flip may damage: no locks, no empty files."""
        paths = (path for path in sorted(self.folder.rglob("*")) if path.is_file())
        return [path for path in paths if path.stat().st_size and path.name != EDITABLE]


def flip(stored: Stored, draw: random.Random) -> dict[str, str]:
    """Flip a random byte, use the result, and restore everything."""
    from orbitune.errors import OrbituneError

    before, copy = stored.use(), stored.folder.with_name(f"{stored.folder.name}.copy")
    shutil.copytree(stored.folder, copy)
    path = draw.choice(stored.files())
    data = bytearray(path.read_bytes())
    place = draw.randrange(len(data))
    data[place] ^= draw.randrange(1, 256)
    path.write_bytes(data)
    try:
        outcome = "rebuilt" if stored.use() == before else "unnoticed"
        message = ""
    except OrbituneError as error:
        message = str(error).replace(f"{stored.folder.parent}/", "")
        outcome = "reported" if "\n" not in message else "reported in several lines"
    finally:
        shutil.rmtree(stored.folder)
        copy.rename(stored.folder)
    return {
        "what": stored.name,
        "file": path.name,
        "byte": str(place),
        "outcome": outcome,
        "message": message,
    }


def make_results(place: Path) -> list[Stored]:
    """Make one stored result of each kind, with a cache below this folder."""
    from orbitune import Recipe, train
    from orbitune.inference.bundle_builder import build_bundle
    from orbitune.training.trial import trial

    backbone = inputs.write_backbone(place / "backbone")
    recipe = Recipe.make(inputs.recipe_values(backbone))
    cached = recipe.replace(method="linear", cache_frozen=True)
    train(recipe, place / "lora", progress=False)
    train(recipe.replace(method="full", epochs=1), place / "full", progress=False)
    build_bundle(place / "lora", place / "bundle", progress=False)
    trial(recipe, place / "trial", epochs=1, progress=False)
    return [
        Stored("tile cache", place / "cache" / "tiles", lambda: _tiles(recipe)),
        Stored("activation cache", place / "cache" / "activations", lambda: _states(cached)),
        Stored("checkpoint", place / "trial", lambda: _trained(recipe, place / "trial")),
        Stored("adapter", place / "lora" / "adapter", lambda: _opened(place / "lora")),
        Stored("model", place / "full" / "model", lambda: _opened(place / "full")),
        Stored("run", place / "lora", lambda: _opened(place / "lora")),
        Stored("bundle", place / "bundle", lambda: _opened(place / "bundle")),
    ]


def _tiles(recipe: Any) -> Any:
    import numpy as np

    from orbitune.data.tileset import load_tiles

    tiles = load_tiles(recipe.data, progress=False)
    return (
        tiles.read(np.arange(len(tiles.labels))).tobytes(),
        tiles.labels.tobytes(),
        tiles.names,
        tiles.classes,
    )


def _states(recipe: Any) -> Any:
    import numpy as np
    import torch

    from orbitune.data.loader import TileLoader
    from orbitune.models.factory import build
    from orbitune.training.setup import prepare_training

    job = prepare_training(recipe, progress=False)
    network = job.network(build(job.recipe, job.backbone, classes=job.tiles.classes), "plain")
    device = torch.device("cpu")
    feed = job.activation_loader(network, TileLoader(job.tiles, device), device=device)
    feed.build(16)
    return feed.tiles(np.concatenate([job.splits["train"], job.splits["test"]])).numpy().tobytes()


def _trained(recipe: Any, folder: Path) -> Any:
    """Return the losses of a copy of a trial that resumes from its checkpoint."""
    from orbitune.training.checkpoint import load_best
    from orbitune.training.run import open_run
    from orbitune.training.trial import TrialResult

    copy = folder.with_name("resumed")
    shutil.copytree(folder, copy)
    try:
        TrialResult.load(copy)
        with open_run(recipe, copy, progress=False) as run:
            trainer = run.fit(epochs=2)
            load_best(trainer.folder.best, trainer.model, epoch=trainer.best_epoch)
            return [entry.train_loss for entry in trainer.state.history]
    finally:
        shutil.rmtree(copy)


def _opened(source: Path) -> Any:
    import numpy as np

    from orbitune.adapters.tools import verify
    from orbitune.inference.classifier import Classifier

    verify(source)
    tile = np.full((inputs.SIDE, inputs.SIDE, 3), 90, np.uint8)
    return repr(list(Classifier.from_pretrained(source).predict([tile])))


def measure(flips: int, seed: int, *, only: str | None = None) -> list[dict[str, str]]:
    """Flip bytes in each kind of stored result in turn.

    Args:
        flips: number of flips.
        seed: seed of the flips.
        only: name of the one kind to use; all if None.

    Returns:
        For each flip the kind, file, byte, outcome and message.
    """
    draw = random.Random(seed)
    before = os.environ.get("ORBITUNE_CACHE")
    with tempfile.TemporaryDirectory(prefix="reliability-") as folder:
        os.environ["ORBITUNE_CACHE"] = str(Path(folder) / "cache")
        try:
            stored = [each for each in make_results(Path(folder)) if only in (None, each.name)]
            return [flip(stored[number % len(stored)], draw) for number in range(flips)]
        finally:
            os.environ.pop("ORBITUNE_CACHE")
            os.environ |= {"ORBITUNE_CACHE": before} if before else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--flips", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = measure(options.flips, options.seed)
    outcomes = [each["outcome"] for each in found]
    print(json.dumps({"flips": found, **{name: outcomes.count(name) for name in set(outcomes)}}, indent=1))
    sys.exit(not {"reported", "rebuilt"}.issuperset(outcomes))


if __name__ == "__main__":
    main()
