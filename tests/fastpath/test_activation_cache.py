"""Cached states of the frozen layers equal those that the whole network computes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from samples import backbone_folder, tile_folder

from orbitune import Recipe
from orbitune.data.augment import dihedral_views
from orbitune.data.loader import TileLoader
from orbitune.errors import DataError, Interrupted, ModelError, OrbituneError, RunError
from orbitune.fastpath.state_encoding import state_encoding
from orbitune.models.factory import build
from orbitune.training.setup import prepare_training

CPU = torch.device("cpu")


@pytest.fixture
def recipe(tmp_path, monkeypatch, cache):
    own = tmp_path / "cache"
    own.mkdir(0o700)
    (cache / "kernels").mkdir(0o700, exist_ok=True)
    (own / "kernels").symlink_to(cache / "kernels")  # not built again
    monkeypatch.setenv("ORBITUNE_CACHE", str(own))
    tiles = tile_folder(tmp_path / "tiles", each=5)
    backbone = backbone_folder(tmp_path / "backbone", layers=3)
    return Recipe(
        data=str(tiles), backbone=str(backbone), batch_size=4, cache_frozen=True, lora={"top_layers": 1}
    )


def activation_loader(recipe):
    job = prepare_training(recipe, progress=False)
    network = job.network(build(job.recipe, job.backbone, classes=job.tiles.classes), "plain")
    return job, network, job.activation_loader(network, TileLoader(job.tiles, CPU), device=CPU)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("change", [{}, {"method": "linear"}, {"lora": {"top_layers": 2}}])
def test_logits_from_kept_states_are_those_from_tiles(recipe, precision, change):
    job, network, feed = activation_loader(recipe.replace(precision=precision, **change))
    feed.build(4)
    tiles = TileLoader(job.tiles, CPU).tiles(job.splits["test"])
    with torch.inference_mode():
        assert torch.allclose(network(feed.tiles(job.splits["test"])), network(tiles), atol=1e-6)


def test_all_eight_views_of_a_training_tile_are_kept(recipe):
    job, network, feed = activation_loader(recipe.replace(precision="fp32"))
    feed.build(4)
    index = job.splits["train"][2:3]
    with torch.inference_mode():
        views = [network.states(v, 2) for v in dihedral_views(TileLoader(job.tiles, CPU).tiles(index))]
    drawn = [feed.augmented(index, "flips") for _ in range(60)]
    found = {next(n for n, v in enumerate(views) if torch.allclose(v, d, atol=1e-5)) for d in drawn}
    assert found == set(range(8))


def test_without_turns_one_view_is_kept(recipe):
    job, _, feed = activation_loader(recipe.replace(augment="none"))
    feed.build(4)
    size = sum(file.stat().st_size for file in feed.key.folder.iterdir())
    assert size == 15 * feed.tiles(job.splits["test"][:1]).nbytes


def test_an_interrupted_build_resumes_to_the_same_states(recipe):
    _, _, feed = activation_loader(recipe)
    folder = feed.key.folder
    feed.build(4)
    whole = (folder / "states.bin").read_bytes()
    (folder / "states.bin").rename(folder / "states.part")
    with (folder / "states.part").open("r+b") as file:
        file.truncate(len(whole) // 2 + 7)
    counts = []
    feed.build(4, counts.append)
    assert counts[0] > 0 and sum(counts) == 15
    assert (folder / "states.bin").read_bytes() == whole


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_in_8_bits_states_are_smaller_and_differ_by_half_a_step_of_their_block(recipe, precision):
    job, network, plain = activation_loader(recipe.replace(precision=precision))
    _, _, short = activation_loader(recipe.replace(precision=precision, cache_bits=8))
    plain.build(4)
    short.build(4)
    assert short.row_bytes / plain.row_bytes == (1 + 2 / 32) / (4 if precision == "fp32" else 2)
    stored, exact = (each.tiles(job.splits["train"]) for each in (short, plain))
    assert stored.dtype == exact.dtype and stored.shape == exact.shape
    blocks = exact.float().view(-1, 32)
    error = (stored.float().view(-1, 32) - blocks).abs().amax(1)
    rounding = 2**-8 if precision == "bf16" else 2**-11  # of the dtype, and of the scale
    assert (error <= blocks.abs().amax(1) * (0.5 / 127 + rounding)).all()
    short.check(job.splits["train"])
    tiles = job.splits["test"]
    with torch.inference_mode():
        assert torch.allclose(network(short.tiles(tiles)), network(plain.tiles(tiles)), atol=0.05)


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e-4, 1e-3, 1.0, 1e5])
def test_small_and_large_states_in_8_bits_differ_by_half_a_step_of_float16_at_most(scale):
    states = torch.linspace(-1, 1, 2 * 3 * 48).view(2, 3, 48) * scale
    encoding = state_encoding(states, 8)
    error = (encoding.decode(encoding.encode(states)) - states).abs().max()
    assert error <= max(scale * (0.5 / 127 + 2**-11), 2**-15)  # 2**-14 is float16's smallest normal number


def test_bits_without_a_cache_are_refused(recipe):
    with pytest.raises(OrbituneError, match="cache_bits needs cache_frozen"):
        recipe.replace(cache_frozen=False, cache_bits=8)


def test_states_that_were_damaged_are_noticed(recipe):
    job, _, feed = activation_loader(recipe)
    feed.build(4)
    feed.check(job.splits["train"])
    file = feed.key.folder / "states.bin"
    file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(RunError, match="damaged; remove that folder"):
        feed.check(job.splits["train"])


def test_the_place_depends_on_all_that_the_states_depend_on(recipe):
    _, _, feed = activation_loader(recipe)
    key = feed.key
    changes = {
        "weights": "other",
        "tiles": "other",
        "splits": "other",
        "transform": key.transform.with_size(16),
        "precision": "other",
        "attention": "sdpa",
        "depth": 1,
        "views": 1,
        "bits": 8,
    }
    assert changes.keys() == key.__dataclass_fields__.keys()
    assert len({replace(key, **{n: v}).folder for n, v in changes.items()} | {key.folder}) == 10


@pytest.mark.parametrize("change", [{"lora": {}}, {"method": "full"}])
def test_without_frozen_layers_below_nothing_is_cached(recipe, change):
    with pytest.raises(ModelError, match="no frozen layers below"):
        activation_loader(recipe.replace(**change))


@pytest.mark.parametrize(
    "change", [{"fast": False}, {"sizes": "16:0.5,32:0.5"}, {"mixup": 0.2}, {"tta": "flips"}]
)
def test_settings_that_change_the_states_at_every_step_are_refused(recipe, change):
    with pytest.raises(OrbituneError, match="cache_frozen cannot be combined"):
        recipe.replace(**change)


def test_more_top_layers_than_there_are_is_one_clear_line(recipe):
    with pytest.raises(ModelError, match="has 3 layers, fewer than --lora-top-layers 9"):
        activation_loader(recipe.replace(lora={"top_layers": 9}))


def test_a_full_disk_says_how_much_is_needed(recipe, monkeypatch):
    _, _, feed = activation_loader(recipe)
    folder = feed.key.folder
    folder.mkdir(parents=True)
    (folder / "states.part").symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"It takes [0-9.]+ GB; free space"):
        feed.build(4)


def test_an_interrupt_while_activations_are_cached_keeps_what_is_done(recipe, tmp_path):
    job, _, feed = activation_loader(recipe)

    def stop(count):
        if count:
            raise Interrupted("stop")

    with pytest.raises(Interrupted):
        feed.build(4, stop)
    assert (feed.key.folder / "states.part").stat().st_size > 0
    assert not feed.complete
    feed.build(4)
    assert feed.complete
    assert np.isfinite(feed.tiles(job.splits["test"]).float().numpy()).all()
