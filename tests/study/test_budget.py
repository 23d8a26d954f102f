"""A recipe is changed as little as a budget allows, and says how."""

import json
import os
import signal

import pytest
from samples import backbone_folder, tile_folder

from orbitune import Recipe, train
from orbitune.errors import Interrupted, OrbituneError, RunError
from orbitune.study.budget import fit_budget, fit_recipe
from orbitune.study.budget_records import Budget
from orbitune.study.plan import plan_run
from orbitune.study.records import Plan
from orbitune.training.callbacks import Callback
from orbitune.training.preparation.frozen_cache import cache_frozen_layers

GB = 10**9
SIZES = {"train": 6000, "validation": 2000, "test": 2000}


def machine(recipe):
    """Return a plan that costs 100 MB per tile of a micro-batch at 224 pixels."""
    side = {"auto": 112, "native": 64, None: 224}.get(recipe.image_size, recipe.image_size)
    work = (side / 224) ** 2 * (0.1 if recipe.cache_frozen else 1)
    micro = recipe.micro_batch or 64
    each = 0.1 * GB * work * (0.2 if recipe.checkpointing else 1)
    resolved = recipe.replace(image_size=side, micro_batch=micro, learning_rate=1e-3, precision="bf16")
    values = {
        "recipe": resolved.model_dump(mode="json"),
        "data": {"source": "tiles", "classes": ["a", "b"], "sizes": SIZES},
        "backbone": {"name": "b", "reference": "b", "description": "b", "weights_sha256": "0" * 64},
        "image_sizes": {"auto": 112, "native": 64},
        "peak_cuda_bytes": None,
        "peak_rss_bytes": int(0.5 * GB + micro * each),
        "seconds_per_epoch": 600 * work,
        "train_seconds": 600 * work * recipe.epochs,
        "evaluation_seconds": 60 * work * (recipe.epochs + 2),
        "images_per_second": 10 / work,
        "parameters": {"total": 1, "backbone": 0, "adapter": 0, "head": 1, "trainable": 1},
        "artefact_bytes": 4,
    }
    return Plan.model_validate(values), 10.0


@pytest.fixture
def recipe():
    return Recipe(epochs=10)


class Refusal(Callback):
    """Ends a run before its first step."""

    def on_train_start(self, setup):
        raise RunError("refused")


def plan_here(recipe):
    """Plan in this process, in place of a fresh one."""
    return plan_run(recipe, progress=False), 10.0


def test_a_recipe_that_fits_is_left_as_it_is(recipe):
    fit = fit_budget(recipe, Budget(8 * GB, 3 * 3600), measure=machine)
    assert (fit.recipe.epochs, fit.recipe.image_size, fit.recipe.micro_batch) == (10, 224, 64)
    assert fit.choices == []


def test_memory_is_saved_by_smaller_micro_batches_first(recipe):
    fit = fit_budget(recipe, Budget(2 * GB), measure=machine)
    assert (fit.recipe.micro_batch, fit.recipe.image_size, fit.recipe.checkpointing) == (8, 224, False)
    assert fit.memory <= 2 * GB
    assert "micro-batches of 8 tiles" in fit.choices[0]


def test_then_by_activation_checkpointing(recipe):
    fit = fit_budget(recipe, Budget(int(0.56 * GB)), measure=machine)
    assert (fit.recipe.micro_batch, fit.recipe.image_size, fit.recipe.checkpointing) == (1, 224, True)


def test_then_by_smaller_images(recipe):
    fit = fit_budget(recipe, Budget(int(0.535 * GB)), measure=machine)
    assert (fit.recipe.image_size, fit.recipe.checkpointing) == (112, True)
    assert "112 instead of 224 pixels" in fit.choices[-1]


def test_a_budget_below_the_smallest_plan_is_an_error_that_states_its_needs(recipe):
    with pytest.raises(RunError, match=r"--memory-budget 0\.40 GB: the smallest needs 0\.50 GB"):
        fit_budget(recipe, Budget(int(0.4 * GB)), measure=machine)


def test_time_is_saved_by_smaller_images_first(recipe):
    fit = fit_budget(recipe, Budget(seconds=3600), measure=machine)
    assert (fit.recipe.image_size, fit.recipe.epochs) == (112, 10)
    assert fit.seconds <= 3600


def test_then_by_fewer_epochs(recipe):
    fit = fit_budget(recipe, Budget(seconds=300), measure=machine)
    assert (fit.recipe.image_size, fit.recipe.epochs) == (64, 5)
    assert fit.seconds <= 300
    assert "5 epochs instead of 10" in fit.choices[-1]


@pytest.mark.parametrize(("restarts", "kept"), [((3, 7), (3,)), ((5, 7), None)])
def test_restarts_that_fewer_epochs_do_not_reach_are_dropped(recipe, restarts, kept):
    fit = fit_budget(recipe.replace(restarts=restarts), Budget(seconds=300), measure=machine)
    assert (fit.recipe.epochs, fit.recipe.restarts) == (5, kept)


def test_images_too_small_to_merge_their_patches_are_left_out(recipe, tmp_path):
    backbone = backbone_folder(tmp_path / "backbone", layers=3)  # with patches of 8 pixels
    merging = recipe.replace(backbone=str(backbone), merge_tokens="1,2", patch_dropout=0.97)
    fit = fit_budget(merging, Budget(seconds=300), measure=machine)
    assert (fit.recipe.image_size, fit.recipe.epochs) == (112, 1)  # of 64 pixels too few patches are left


def test_few_epochs_less_go_before_smaller_images(recipe):
    fit = fit_budget(recipe, Budget(seconds=6000), measure=machine)
    assert (fit.recipe.image_size, fit.recipe.epochs) == (224, 8)


def test_the_last_resort_are_the_top_layers_over_cached_activations(recipe):
    fit = fit_budget(recipe, Budget(seconds=40), measure=machine)
    assert (fit.recipe.cache_frozen, fit.recipe.lora.top_layers, fit.recipe.image_size) == (True, 4, 64)
    assert fit.seconds <= 40
    assert "adapters on the last 4 layers" in "".join(fit.choices)


def test_settings_that_a_cache_excludes_are_said_to_be_dropped(recipe, tmp_path):
    backbone = backbone_folder(tmp_path / "backbone", layers=6)
    merging = recipe.replace(backbone=str(backbone), merge_tokens="4", mixup=0.2)
    fit = fit_budget(merging, Budget(seconds=40), measure=machine)
    assert (fit.recipe.merge_tokens, fit.recipe.mixup) == (None, 0)
    assert "over cached activations, without --merge-tokens, --mixup: with all layers" in "".join(fit.choices)


def test_a_time_budget_below_one_epoch_is_an_error_with_its_duration(recipe):
    with pytest.raises(RunError, match="--time-budget 10 s: one epoch takes"):
        fit_budget(recipe, Budget(seconds=10), measure=machine)


def test_a_fitted_recipe_is_stored_for_a_resumed_run(tmp_path):
    tiles, backbone = tile_folder(tmp_path / "tiles"), backbone_folder(tmp_path / "backbone")
    recipe = Recipe(data=str(tiles), backbone=str(backbone), epochs=1, batch_size=16)
    lines = []

    def fit(memory, measure):
        budget = Budget(memory, 3600)
        return fit_recipe(recipe, budget, folder=tmp_path / "run", say=lines.append, measure=measure)

    fitted, keeper = fit(4 * GB, plan_here)
    assert fitted.image_size == 32
    assert lines == [] and not (tmp_path / "run").exists()
    with pytest.raises(RunError, match="refused"):
        train(fitted, tmp_path / "run", callbacks=[keeper, Refusal()], progress=False)
    assert not (tmp_path / "run").exists()
    train(fitted, tmp_path / "run", callbacks=[keeper], progress=False)
    assert fit(4 * GB, None)[0] == fitted
    with pytest.raises(RunError, match="another recipe or budget"):
        fit(3 * GB, None)


def test_a_run_interrupted_while_it_caches_frozen_layers_keeps_its_fit(tmp_path, monkeypatch):
    def interrupted(trainer):
        os.kill(os.getpid(), signal.SIGINT)
        cache_frozen_layers(trainer)

    monkeypatch.setattr("orbitune.training.run.cache_frozen_layers", interrupted)
    tiles, backbone = tile_folder(tmp_path / "tiles"), backbone_folder(tmp_path / "backbone")
    recipe = Recipe(
        data=str(tiles), backbone=str(backbone), epochs=1, cache_frozen=True, lora={"top_layers": 1}
    )
    once = {"folder": tmp_path / "run", "say": print}
    fitted, keeper = fit_recipe(recipe, Budget(seconds=3600), measure=plan_here, **once)
    with pytest.raises(Interrupted, match="while the activations of the frozen layers were cached"):
        train(fitted, tmp_path / "run", callbacks=[keeper], progress=False)
    again, _ = fit_recipe(
        recipe, Budget(seconds=3600), measure=lambda _: pytest.fail("it is fitted again"), **once
    )
    assert again == fitted


@pytest.mark.parametrize(
    ("memory", "duration", "expected"),
    [
        ("1.5GB", None, Budget(1_500_000_000)),
        ("800MB", "30min", Budget(800_000_000, 1800)),
        (None, "1.5h", Budget(None, 5400)),
        (None, "90s", Budget(None, 90)),
    ],
)
def test_budgets_are_written_with_units(memory, duration, expected):
    assert Budget.parse(memory, duration) == expected


@pytest.mark.parametrize(
    ("memory", "duration", "option"),
    [("plenty", None, "--memory-budget"), (None, "soon", "--time-budget"), (None, "30", "--time-budget")],
)
def test_an_invalid_budget_is_one_clear_line_with_its_option(memory, duration, option):
    with pytest.raises(OrbituneError, match=f"{option} takes .* such as .*, not '{memory or duration}'"):
        Budget.parse(memory, duration)


def test_a_fit_of_version_0_1_is_repeated(tmp_path):
    requested = Recipe(epochs=4)
    old = {
        "recipe": {**requested.model_dump(mode="json"), "fast": "on"},
        "memory_bytes": 10**9,
        "seconds": None,
    }
    fitted = {**requested.replace(micro_batch=2).model_dump(mode="json"), "fast": "on"}
    stored = {"asked": old, "chosen": fitted, "choices": ["micro-batches of 2 tiles"]}
    (tmp_path / "budget.json").write_text(json.dumps(stored))
    said: list[str] = []
    again, _ = fit_recipe(requested, Budget(10**9), folder=tmp_path, say=said.append)
    assert again.micro_batch == 2 and said == ["micro-batches of 2 tiles"]
    (tmp_path / "log.jsonl").touch()  # the run has trained
    with pytest.raises(RunError, match="another recipe or budget"):
        fit_recipe(requested, Budget(2 * 10**9), folder=tmp_path, say=said.append)


def test_a_fit_of_a_newer_version_is_not_called_damaged(tmp_path):
    (tmp_path / "budget.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(RunError, match=r"budget\.json was written by a newer Orbitune"):
        fit_recipe(Recipe(), Budget(10**9), folder=tmp_path, say=print)


def test_repeated_passes_over_few_tiles_go_before_epochs(recipe):
    def with_passes(recipe):
        plan, overhead = machine(recipe.replace(passes=recipe.passes or 4))
        passes = plan.recipe.passes
        times = {name: getattr(plan, name) * passes for name in ("train_seconds", "seconds_per_epoch")}
        return plan.model_copy(update=times), overhead

    small = recipe.replace(image_size=64)
    once, _ = machine(small)
    fit = fit_budget(small, Budget(seconds=2.5 * once.seconds), measure=with_passes)
    assert (fit.recipe.epochs, fit.recipe.passes) == (10, 2)
    assert "2 passes over the training tiles per epoch instead of 4" in fit.choices[-1]
    fit = fit_budget(small, Budget(seconds=0.55 * once.seconds), measure=with_passes)
    assert (fit.recipe.epochs, fit.recipe.passes) == (5, 1)
