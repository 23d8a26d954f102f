import re
import subprocess
import sys
from datetime import date

import pytest

from orbitune.cli.presets import preset
from orbitune.errors import OrbituneError
from orbitune.recipe import Recipe
from orbitune.recipe_settings import LoraSettings


def test_a_recipe_survives_yaml(tmp_path):
    recipe = Recipe(data="tiles", method="lora", learning_rate=3e-4, lora={"targets": ["q", "v"]})
    recipe.save(tmp_path / "recipe.yaml")
    assert Recipe.load(tmp_path / "recipe.yaml") == recipe


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs: must be at least 1, not 0"),
        ({"epochs": "many"}, "epochs: must be a whole number or auto, not 'many'"),
        ({"restarts": "2,x"}, "restarts: must be a whole number, not 'x'"),
        ({"restarts": [4, 3]}, "restarts must rise, from 1 to below epochs (3, the default), not 4,3"),
        ({"best_by": "recall"}, "best_by: must be accuracy, macro-f1, micro-f1, map or loss, not 'recall'"),
        ({"batch_size": 1.5}, "batch_size: must be a whole number, not 1.5"),
        ({"batch_size": -1}, "batch_size: must be at least 1, not -1"),
        ({"on_bad_image": "hide"}, "on_bad_image: must be stop or skip, not 'hide'"),
        ({"learning_rate": 0}, "learning_rate: must be above 0, not 0"),
        ({"warmup": 1}, "warmup: must be below 1, not 1"),
        ({"seed": 2**32}, "seed: must be below 4294967296, not 4294967296"),
        ({"precision": "fp8"}, "precision: must be bf16, fp16, tf32 or fp32, not 'fp8'"),
        ({"image_size": "large"}, "image_size: must be a whole number or native or auto, not 'large'"),
        ({"fast": "perhaps"}, "fast: must be true or false, not 'perhaps'"),
        ({"data": 3}, "data: must be text, not 3"),
        ({"sizes": "64:0.5"}, "sizes: the fractions must sum to 1, such as 56:0.5,112:0.5"),
        ({"sizes": "64:x"}, "sizes: must be a number, not 'x'"),
        ({"lora": {"rank": 0}}, "lora.rank: must be at least 1, not 0"),
        ({"lora": {"targets": []}}, "lora.targets: must have at least 1 item, not 0"),
        ({"lora": 3}, "lora: must be a group of settings, not 3"),
        ({"augment": "Flip"}, "augment: must be sensor, flips or none, not 'Flip'; did you mean flips?"),
        ({"epochs": "auta"}, "epochs: must be a whole number or auto, not 'auta'; did you mean auto?"),
        (
            {"best_by": "f1"},
            "best_by: must be accuracy, macro-f1, micro-f1, map or loss, not 'f1'; did you mean macro-f1 or "
            "micro-f1?",
        ),
        ({"sizes": "64"}, "sizes: must be sizes with their fractions, such as 56:0.5,112:0.5, not '64'"),
        ({"sizes": 56}, "sizes: must be sizes with their fractions, such as 56:0.5,112:0.5, not 56"),
        (
            {"sizes": [56, 1]},
            "sizes: must be sizes with their fractions, such as 56:0.5,112:0.5, not [56, 1]",
        ),
        ({"data": None}, "data: must be text, not null"),
        ({"data": True}, "data: must be text, not true"),
        ({"data": {"a": None}}, 'data: must be text, not {"a": null}'),
        ({"data": date(2026, 1, 2)}, "data: must be text, not 2026-01-02"),
        ({"epochs": [1, None]}, "epochs: must be a whole number or auto, not [1, null]"),
        ({"group_pattern": " "}, "group_pattern: must not be empty"),
        ({"learnig_rate": 1}, "learnig_rate: unknown setting; did you mean learning_rate?"),
        ({"lora": {"rnk": 1}}, "lora.rnk: unknown setting; did you mean rank?"),
        ({"zzz": 1}, "zzz: unknown setting"),
        ({"epochs": 0, "shots": 0}, "shots: must be at least 1, not 0; epochs: must be at least 1, not 0"),
    ],
)
def test_an_invalid_recipe_is_one_line_in_plain_words(values, message):
    for build in (Recipe.make, lambda values: Recipe(**values)):
        end = "" if message.endswith("?") else "."
        with pytest.raises(OrbituneError, match=re.escape(f"Invalid recipe: {message}{end}") + "$"):
            build(values)


def test_the_groups_hold_every_setting_once():
    groups = Recipe.groups()
    assert list(groups) == ["Data", "Model", "Method", "Optimisation", "Runtime"]
    assert [name for fields in groups.values() for name in fields] == list(Recipe.model_fields)


def test_every_setting_has_a_description():
    fields = {**Recipe.model_fields, **LoraSettings.model_fields}
    assert [name for name, field in fields.items() if not field.description] == ["lora"]


def test_a_recipe_of_version_0_1_is_read():
    old = {"fast": "off", "prefix": "off", "checkpointing": "on", "epochs": 5}
    assert Recipe.make(old) == Recipe(fast=False, cache_frozen=False, checkpointing=True, epochs=5)
    assert Recipe.make({"prefix": "on"}) == Recipe(cache_frozen=True)


def test_old_names_are_read_from_files_but_are_not_settings():
    with pytest.raises(OrbituneError, match="prefix: unknown setting"):
        Recipe(prefix="on")


def test_a_recipe_cannot_be_changed_after_it_is_made():
    with pytest.raises(Exception, match="frozen"):
        Recipe().epochs = 5


def test_the_hash_is_the_same_in_another_process():
    code = "from orbitune import Recipe; print(Recipe(epochs=7).hash)"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == Recipe(epochs=7).hash
    assert Recipe(epochs=7).hash != Recipe(epochs=8).hash


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", ""])
def test_an_invalid_recipe_file_is_one_clear_error(tmp_path, text):
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


def test_the_fast_preset_has_growing_small_images_and_flips_for_every_method():
    fast = Recipe.make(preset("fast", "lora"))
    assert (fast.sizes, fast.epochs, fast.augment) == ((("half", 0.5), ("auto", 0.5)), 4, "flips")
    assert preset("fast", "full") == preset("fast", "lora")


def test_an_unknown_preset_names_those_there_are():
    with pytest.raises(OrbituneError, match="original, fast"):
        preset("orignal", "lora")


SPELLINGS = ["tiles", "tiles/", "./tiles", "../place/tiles", "tiles/../tiles", "ABSOLUTE"]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_path_is_the_same_however_it_is_spelt(tmp_path, monkeypatch, spelling):
    (tmp_path / "place" / "tiles").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "place")
    named = str(tmp_path / "place" / "tiles") if spelling == "ABSOLUTE" else spelling
    recipe = Recipe(data=named, backbone=named, split_files=f"train={named}, test={named}").anchored()
    place = str(tmp_path / "place" / "tiles")
    assert recipe.path_fields == {
        "data": place,
        "split_files": f"train={place},test={place}",
        "backbone": place,
    }


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_hash_does_not_depend_on_how_a_path_is_spelt(tmp_path, monkeypatch, spelling):
    (tmp_path / "place" / "tiles").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "place")
    named = str(tmp_path / "place" / "tiles") if spelling == "ABSOLUTE" else spelling
    recipe = Recipe(data=named, backbone=named, split_files=f"train={named},test={named}")
    assert recipe.hash == recipe.anchored().hash == Recipe(data="/a", backbone="/b", split_files="/c").hash


def test_the_home_folder_and_links_are_known_and_a_link_keeps_its_name(tmp_path, monkeypatch):
    (tmp_path / "tiles").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "tiles")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Recipe(data="~/tiles").anchored().data == str(tmp_path / "tiles")
    assert Recipe(data="~/link").anchored().data == str(tmp_path / "link")


def test_names_that_are_not_paths_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    (tmp_path / "synthetic").mkdir()
    named = Recipe(data="synthetic", backbone="demo")
    assert named.anchored() == named
    hub = Recipe(data="owner/tiles", backbone="owner/model")
    assert hub.anchored() == hub


def test_a_path_in_a_file_is_relative_to_its_folder_from_every_working_directory(tmp_path, monkeypatch):
    (tmp_path / "study" / "tiles").mkdir(parents=True)
    (tmp_path / "study" / "r.yaml").write_text("data: tiles\nbackbone: ../study\n")
    for place in (tmp_path, tmp_path / "study", tmp_path / "study" / "tiles"):
        monkeypatch.chdir(place)
        recipe = Recipe.load(tmp_path / "study" / "r.yaml")
        assert recipe.data == str(tmp_path / "study" / "tiles")
        assert recipe.backbone == str(tmp_path / "study")


def test_a_path_in_a_file_that_only_the_working_directory_has_is_never_guessed(tmp_path, monkeypatch):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "tiles").mkdir()
    (tmp_path / "recipes" / "r.yaml").write_text("data: tiles\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OrbituneError, match=rf"relative to its folder.*write {tmp_path / 'tiles'} there"):
        Recipe.load("recipes/r.yaml")


def test_a_saved_recipe_means_the_same_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "tiles").mkdir()
    monkeypatch.chdir(tmp_path)
    Recipe(data="tiles").save(tmp_path / "run" / "recipe.yaml")
    monkeypatch.chdir("/")
    assert Recipe.load(tmp_path / "run" / "recipe.yaml").data == str(tmp_path / "tiles")


def test_neither_hash_nor_differences_know_where_files_lie(tmp_path):
    here, there = Recipe(data=str(tmp_path), backbone="/a"), Recipe(data="/elsewhere", backbone="/b")
    assert here.hash == there.hash and here.differences(there) == []
    assert Recipe(data="owner/tiles").hash != Recipe(data="owner/others").hash


@pytest.mark.parametrize(
    ("values", "name", "expected"),
    [({"restarts": 1}, "restarts", (1,)), ({"bands": 4}, "bands", ("4",))],
)
def test_a_list_of_one_number_needs_no_brackets_in_a_file(values, name, expected):
    assert getattr(Recipe.make(values), name) == expected
