import pytest
from samples import saved_model

from orbitune import plan_run
from orbitune.models.backbones import find_backbone
from orbitune.study.plan import plan_table


@pytest.fixture
def recipe(recipe):
    return recipe.replace(epochs=2, batch_size=8)


def test_a_plan_names_parameters_time_memory_and_disk_before_training(recipe):
    plan = plan_run(recipe, progress=False)
    assert plan.parameters.trainable == plan.parameters.adapter + plan.parameters.head
    assert plan.train_seconds == pytest.approx(2 * plan.seconds_per_epoch)
    assert plan.images_per_second == pytest.approx(36 / plan.seconds_per_epoch)
    assert plan.peak_rss_bytes > 100e6
    assert plan.tiles_bytes == 60 * 16 * 16 * 3
    assert plan.steps_measured >= 1


def test_no_more_steps_are_measured_than_the_run_has(recipe):
    plan = plan_run(recipe.replace(epochs=1, batch_size=18), progress=False)
    assert plan.steps_measured == 2


def test_a_plan_counts_a_tile_as_often_as_an_epoch_passes_over_it(recipe):
    plan = plan_run(recipe.replace(passes=4), progress=False)
    assert plan.images_per_second == pytest.approx(4 * 36 / plan.seconds_per_epoch)


@pytest.mark.parametrize("method", ["full", "linear", "lora"])
def test_the_planned_file_size_is_that_of_the_saved_weights(recipe, tmp_path, method):
    recipe = recipe.replace(method=method)
    planned = plan_run(recipe, progress=False).artefact_bytes
    saved_model(tmp_path / "saved", find_backbone(recipe.backbone), recipe)
    [weights] = (tmp_path / "saved").glob("*.safetensors")
    assert weights.stat().st_size == pytest.approx(planned, abs=8_000)  # the header lists the tensors


def test_the_table_has_a_column_per_method(recipe):
    header, rows = plan_table(
        [plan_run(recipe.replace(method=method), progress=False) for method in ("full", "lora")]
    )
    assert header == ["", "full", "lora"]
    assert all(len(row) == 3 for row in rows)


def test_a_plan_of_a_tuned_study_has_the_trials_and_the_time_of_each_search(recipe):
    plan = plan_run(recipe, progress=False)
    rows = {row[0]: row[1:] for row in plan_table([plan], tune=3)[1]}
    assert rows["tuning: trials"] == ["6"] and rows["tuning: epochs"] == ["12"]
    assert {"tuning: time", "tuning: each rate more, at most"} <= rows.keys()
    assert not any(row[0].startswith("tuning") for row in plan_table([plan])[1])


def test_a_plan_with_growing_sizes_measures_each_of_them(recipe):
    plan = plan_run(recipe.replace(sizes="16:0.5,32:0.5"), progress=False)
    assert plan.steps_measured > plan_run(recipe, progress=False).steps_measured


def test_a_plan_with_an_activation_cache_counts_its_time_and_its_space(recipe):
    top = recipe.replace(lora={"top_layers": 1})
    plan, kept = plan_run(top, progress=False), plan_run(top.replace(cache_frozen=True), progress=False)
    assert plan.cache_bytes == 0
    state = 17 * 32 * (2 if kept.recipe.precision == "bf16" else 4)
    assert kept.cache_bytes == (8 * 36 + 12 + 12) * state
    assert any(row[0] == "disk: activation cache" for row in plan_table([kept])[1])
