import json
import subprocess
import sys

import numpy as np
import pytest
from samples import backbone_folder, tile_folder

from orbitune import Recipe, train

pytestmark = pytest.mark.slow


def torchrun(processes, recipe_file, out):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    command = ["-m", "orbitune", "train", "--recipe", str(recipe_file), "--out", str(out)]
    done = subprocess.run([*launcher, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "full", "batch_size": 8},
        {"method": "lora", "batch_size": 35},
        {"method": "full", "batch_size": 8, "freeze_layers": "1:0.5"},
    ],
)
def test_two_processes_give_the_result_of_one_at_the_same_batch(tmp_path, changes):
    tiles, backbone = tile_folder(tmp_path / "tiles"), backbone_folder(tmp_path / "backbone")
    # 36 training tiles: the last batch has 4 tiles, or 1, which leaves nothing for the second process.
    # Dropout is drawn per process, so it is off here.
    recipe = Recipe(
        data=str(tiles),
        backbone=str(backbone),
        lora={"dropout": 0.0},
        epochs=2,
        precision="fp32",
        **changes,
    )
    recipe.save(tmp_path / "recipe.yaml")
    train(recipe, tmp_path / "one", progress=False)
    two = torchrun(2, tmp_path / "recipe.yaml", tmp_path / "two")
    assert two.stdout.count("test accuracy") == 1  # only the first process reports
    for split in ("validation", "test"):
        a, b = (np.load(tmp_path / run / "predictions.npz")[f"{split}_logits"] for run in ("one", "two"))
        assert np.allclose(a, b, rtol=2**-7, atol=1e-4)  # stored with 8 significant bits
    histories = [
        json.loads((tmp_path / run / "result.json").read_text())["history"] for run in ("one", "two")
    ]
    for one, other in zip(*histories, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], abs=1e-5)
