"""Options of the recipe: one for each field, and which source overrides which."""

import pytest
from commands import orbitune

from orbitune.cli.recipe_options import make_recipe
from orbitune.errors import OrbituneError
from orbitune.recipe import Recipe
from orbitune.recipe_settings import LoraSettings


def test_every_setting_of_a_recipe_is_an_option_with_its_help():
    text = " ".join(orbitune("train", "--help-all").stdout.split())
    fields = {n: f for n, f in Recipe.model_fields.items() if n != "lora"}
    fields |= {f"lora_{n}": f for n, f in LoraSettings.model_fields.items()}
    for name, field in fields.items():
        assert f"--{name.replace('_', '-')} " in text
        assert field.description in text


def test_options_that_make_steps_cheaper_are_read():
    options = ["--method", "topk", "--cache-frozen", "--cache-bits", "4"]
    assert "--cache-bits must be 8, not 4" in orbitune("train", *options).stderr
    options = ["--method", "linear", "--freeze-layers", "4:0.3,8:0.6"]
    refused = "--freeze-layers cannot be combined with --method linear, which trains no layer"
    assert refused in orbitune("train", *options).stderr


def test_options_go_before_the_recipe_file_and_the_file_before_the_preset(tmp_path):
    (tmp_path / "r.yaml").write_text("epochs: 5\nbatch_size: 7\nlora: {rank: 2}\n")
    recipe = make_recipe(
        tmp_path / "r.yaml", "original", values={"batch_size": 9}, lora={"alpha": 4}, method="lora"
    )
    assert (recipe.batch_size, recipe.epochs, recipe.image_size) == (9, 5, 224)
    assert (recipe.lora.rank, recipe.lora.alpha) == (2, 4)
    assert recipe.learning_rate == 5e-4


def test_sizes_go_before_the_image_size_of_a_preset():
    recipe = make_recipe(None, "original", values={"sizes": "64:0.5,112:0.5"}, lora={})
    assert recipe.sizes[-1][0] == 112 and recipe.image_size is None and recipe.augment == "none"


def test_an_image_size_goes_before_the_sizes_of_a_preset():
    recipe = make_recipe(None, "fast", values={"image_size": 96}, lora={})
    assert recipe.image_size == 96 and recipe.sizes is None and recipe.augment == "flips"


def test_a_contradiction_with_a_preset_names_the_preset():
    with pytest.raises(OrbituneError, match=r"--cache-frozen .* with sizes of the preset fast"):
        make_recipe(None, "fast", values={"cache_frozen": True}, lora={})


def test_the_rate_of_a_recipe_file_is_not_carried_over_to_another_method(tmp_path):
    (tmp_path / "r.yaml").write_text("method: lora\nlearning_rate: 0.002\n")
    assert make_recipe(tmp_path / "r.yaml", None, values={}, lora={}, method="lora").learning_rate == 0.002
    assert make_recipe(tmp_path / "r.yaml", None, values={}, lora={}, method="full").learning_rate is None
