"""Flip one byte in files that Orbitune stores, and check that it is reported or the file rebuilt.

    python benchmarks/reliability/flips.py [--flips 40] [--seed 0]

Each flip changes one byte of one file, drawn with the seed: of the cache (decoded tiles, kept states), of a
checkpoint, a run's adapter or model, its other files, and a bundle. Then the file is used. `told`:
one line of error. `rebuilt`: what is used is as it was before the flip. Anything else is `unnoticed`.

Left out is README.md, the model card, which its author may edit. Printed as JSON.
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

FOR_PEOPLE = "README.md"


@dataclass(frozen=True)
class Kept:
    """Something that is kept on disk.

    Attributes:
        folder: its files, all below it.
        use: opens the files as they are now and gives what is in them; it may raise an OrbituneError.
    """

    name: str
    folder: Path
    use: Callable[[], Any]

    def files(self) -> list[Path]:
        """Return the files that a flip may damage: no locks, no empty files."""
        paths = (path for path in sorted(self.folder.rglob("*")) if path.is_file())
        return [path for path in paths if path.stat().st_size and path.name != FOR_PEOPLE]


def flip(kept: Kept, draw: random.Random) -> dict[str, str]:
    """Flip a byte, use what is kept, and put everything back."""
    from orbitune.errors import OrbituneError

    before, copy = kept.use(), kept.folder.with_name(f"{kept.folder.name}.copy")
    shutil.copytree(kept.folder, copy)
    path = draw.choice(kept.files())
    data = bytearray(path.read_bytes())
    place = draw.randrange(len(data))
    data[place] ^= draw.randrange(1, 256)
    path.write_bytes(data)
    try:
        outcome = "rebuilt" if kept.use() == before else "unnoticed"
        said = ""
    except OrbituneError as error:
        said = str(error).replace(f"{kept.folder.parent}/", "")
        outcome = "told" if "\n" not in said else "told in several lines"
    finally:
        shutil.rmtree(kept.folder)
        copy.rename(kept.folder)
    return {"what": kept.name, "file": path.name, "byte": str(place), "outcome": outcome, "said": said}


def things(place: Path) -> list[Kept]:
    """Make one of each kind of stored result, in a cache below this folder."""
    from orbitune import Recipe, train
    from orbitune.inference.bundle_builder import build_bundle
    from orbitune.training.trial import trial

    backbone = inputs.write_backbone(place / "backbone")
    recipe = Recipe.make(inputs.recipe_values(backbone))
    cached = recipe.replace(method="linear", cache_frozen=True)
    train(recipe, place / "lora", progress=False)
    train(recipe.replace(method="full", epochs=1), place / "full", progress=False)
    build_bundle(place / "lora", place / "bundle", progress=False)
    trial(recipe, place / "trial", 1, progress=False)
    return [
        Kept("tile cache", place / "cache" / "tiles", lambda: _tiles(recipe)),
        Kept("prefix", place / "cache" / "prefix", lambda: _states(cached)),
        Kept("checkpoint", place / "trial", lambda: _trained(recipe, place / "trial")),
        Kept("adapter", place / "lora" / "adapter", lambda: _opened(place / "lora")),
        Kept("model", place / "full" / "model", lambda: _opened(place / "full")),
        Kept("run", place / "lora", lambda: _opened(place / "lora")),
        Kept("bundle", place / "bundle", lambda: _opened(place / "bundle")),
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
    network = job.network(build(job.recipe, job.backbone, job.tiles.classes), "plain")
    device = torch.device("cpu")
    feed = job.activation_loader(network, TileLoader(job.tiles, device), device)
    feed.build(16)
    return feed.tiles(np.concatenate([job.splits["train"], job.splits["test"]])).numpy().tobytes()


def _trained(recipe: Any, folder: Path) -> Any:
    """Return the losses of a copy of a trial that resumes from its checkpoint."""
    from orbitune.training.checkpoint import load_best
    from orbitune.training.run import open_run
    from orbitune.training.trial import TrialResult

    copy = folder.with_name("going-on")
    shutil.copytree(folder, copy)
    try:
        TrialResult.load(copy)
        with open_run(recipe, copy, progress=False) as run:
            trainer = run.fit(epochs=2)
            load_best(trainer.folder.best, trainer.model, trainer.state.best_epoch)
            return [entry["train_loss"] for entry in trainer.state.history]
    finally:
        shutil.rmtree(copy)


def _opened(source: Path) -> Any:
    import numpy as np

    from orbitune.adapters.tools import verify
    from orbitune.inference.classifier import Classifier

    verify(source)
    tile = np.full((inputs.SIDE, inputs.SIDE, 3), 90, np.uint8)
    return repr(list(Classifier.from_pretrained(source).predict([tile])))


def measure(flips: int, seed: int, only: str | None = None) -> list[dict[str, str]]:
    """Flip bytes in each kind of stored result in turn.

    Args:
        only: name of the one thing to flip bytes of.
    """
    draw = random.Random(seed)
    before = os.environ.get("ORBITUNE_CACHE")
    with tempfile.TemporaryDirectory(prefix="reliability-") as folder:
        os.environ["ORBITUNE_CACHE"] = str(Path(folder) / "cache")
        try:
            kept = [each for each in things(Path(folder)) if only in (None, each.name)]
            return [flip(kept[number % len(kept)], draw) for number in range(flips)]
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
    sys.exit(not {"told", "rebuilt"}.issuperset(outcomes))


if __name__ == "__main__":
    main()
