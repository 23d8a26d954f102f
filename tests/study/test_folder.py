"""Recipes that a study's folder holds are those of its runs."""

import pytest

from orbitune.errors import RunError
from orbitune.recipe import Recipe
from orbitune.study.folder import StudyFolder
from orbitune.study.grid import Grid


def claim(folder, recipe):
    return StudyFolder(folder, trials=0).claim(Grid.of().runs([recipe]))


def test_a_study_whose_recipes_state_the_default_number_of_epochs_goes_on_with_it(tmp_path):
    """As earlier versions wrote them."""
    claim(tmp_path, Recipe(epochs=3))
    (tmp_path / "lora").mkdir()
    assert claim(tmp_path, Recipe()) == {"lora"}
    assert Recipe.load(tmp_path / "recipes" / "lora.yaml").epochs == 3


@pytest.mark.parametrize(("before", "now"), [("none", 3), (5, "none")])
def test_other_epochs_are_another_study(tmp_path, before, now):
    claim(tmp_path, Recipe(epochs=None if before == "none" else before))
    (tmp_path / "lora").mkdir()
    with pytest.raises(RunError, match=rf"another recipe \(--epochs: {now}, not {before}\)"):
        claim(tmp_path, Recipe(epochs=None if now == "none" else now))
