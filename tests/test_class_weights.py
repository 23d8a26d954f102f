"""Class weights of a recipe: from files, checked when the recipe is made."""

import pytest

from orbitune import Recipe
from orbitune.errors import OrbituneError

WEIGHTS = {"Forest": 1.0, "Sea, deep": 2.5}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("w.csv", 'class,weight\nForest,1\n"Sea, deep",2.5\n'),
        ("w.csv", '\ufeffForest , 1\n\n"Sea, deep", 2.5\n'.replace(" , ", ",").replace(", 2", ",2")),
        ("w.yaml", "Forest: 1\nSea, deep: 2.5\n"),
        ("w.YML", "Forest: 1\nSea, deep: 2.5\n"),
    ],
    ids=["csv", "csv without header", "yaml", "yml"],
)
def test_a_recipe_keeps_the_weights_of_a_file(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    recipe = Recipe(class_weights=str(tmp_path / name))
    assert recipe.class_weights == WEIGHTS
    assert Recipe.make(recipe.model_dump(mode="json")) == recipe


def test_a_file_beside_a_recipe_is_found_from_everywhere(tmp_path, monkeypatch):
    (tmp_path / "w.csv").write_text('Forest,1\n"Sea, deep",2.5\n')
    (tmp_path / "r.yaml").write_text("class_weights: w.csv\n")
    monkeypatch.chdir("/")
    assert Recipe.load(tmp_path / "r.yaml").class_weights == WEIGHTS


def test_balanced_is_a_word_even_beside_a_file_of_that_name(tmp_path):
    (tmp_path / "balanced").touch()
    (tmp_path / "r.yaml").write_text("class_weights: balanced\n")
    assert Recipe.load(tmp_path / "r.yaml").class_weights == "balanced"


def test_other_weights_are_another_recipe():
    one, two = (Recipe(class_weights={"a": 1, "b": weight}) for weight in (2, 3))
    assert one.hash != two.hash
    assert [*map(str, one.differences(two))] == ["--class-weights: a=1,b=2, not a=1,b=3"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Forest,1\nRiver\n", "expected lines of class,weight, not 'River'"),
        ("Forest,0\n", "the weight of Forest must be a number above 0, not '0'"),
        ("Forest,nan\n", "the weight of Forest must be a number above 0, not 'nan'"),
        ("Forest,heavy\n", "the weight of Forest must be a number above 0, not 'heavy'"),
        ("Forest,1\nForest,2\n", "class Forest is given twice"),
        ("class,weight\n", "states no class weights"),
    ],
)
def test_a_file_that_does_not_fit_is_one_clear_line(tmp_path, text, message):
    (tmp_path / "w.csv").write_text(text)
    with pytest.raises(OrbituneError, match=message) as caught:
        Recipe(class_weights=str(tmp_path / "w.csv"))
    assert "\n" not in str(caught.value)


def test_a_weight_left_out_is_shown_as_yaml_writes_it(tmp_path):
    (tmp_path / "w.yaml").write_text("Forest:\n")
    with pytest.raises(OrbituneError, match="Forest must be a number above 0, not null"):
        Recipe(class_weights=str(tmp_path / "w.yaml"))


def test_a_missing_file_says_what_can_be_passed(tmp_path):
    with pytest.raises(OrbituneError, match=r"none\.csv: No such file.*pass balanced, or a CSV or YAML file"):
        Recipe(class_weights=str(tmp_path / "none.csv"))


def test_classes_are_evened_out_once():
    with pytest.raises(OrbituneError, match="sampling balanced and class_weights both even out the classes"):
        Recipe(class_weights="balanced", sampling="balanced")
