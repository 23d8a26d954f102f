import subprocess
import sys

import pytest

from orbitune.errors import OrbituneError
from orbitune.recipe import Recipe, preset


def test_a_recipe_survives_yaml(tmp_path):
    recipe = Recipe(data="tiles", method="lora", learning_rate=3e-4, lora={"targets": ["q", "v"]})
    recipe.save(tmp_path / "recipe.yaml")
    assert Recipe.load(tmp_path / "recipe.yaml") == recipe


def test_unknown_keys_are_errors():
    with pytest.raises(OrbituneError, match="learnig_rate"):
        Recipe.make({"learnig_rate": 1e-3})


@pytest.mark.parametrize(
    ("field", "value"),
    [("epochs", 0), ("batch_size", -1), ("precision", "fp8"), ("learning_rate", 0), ("on_bad_image", "hide")],
)
def test_values_out_of_range_are_errors_that_name_the_field(field, value):
    with pytest.raises(OrbituneError, match=field):
        Recipe.make({field: value})


def test_a_recipe_cannot_be_changed_after_it_is_made():
    with pytest.raises(Exception, match="frozen"):
        Recipe().epochs = 5


def test_the_hash_is_the_same_in_another_process():
    code = "from orbitune import Recipe; print(Recipe(epochs=7).hash)"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == Recipe(epochs=7).hash
    assert Recipe(epochs=7).hash != Recipe(epochs=8).hash


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", ""])
def test_a_file_that_is_no_recipe_is_one_clear_error(tmp_path, text):
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(OrbituneError, match=r"recipe\.yaml"):
        Recipe.load(tmp_path / "recipe.yaml")


def test_the_original_preset_is_the_published_study():
    lora = Recipe.make(preset("original", "lora"))
    assert (lora.data, lora.backbone) == ("blanchon/EuroSAT_RGB", "google/vit-base-patch16-224")
    assert (lora.epochs, lora.batch_size, lora.image_size) == (3, 64, 224)
    assert (lora.lora.rank, lora.lora.alpha, lora.lora.dropout) == (8, 16, 0.1)
    assert lora.lora.targets == ("q", "k", "v")
    assert (lora.schedule, lora.warmup, lora.augment, lora.precision) == ("constant", 0.0, "none", "fp32")
    assert lora.learning_rate == 5e-4
    assert preset("original", "full")["learning_rate"] == 5e-5


def test_an_unknown_preset_names_those_there_are():
    with pytest.raises(OrbituneError, match="original"):
        preset("orignal", "lora")
