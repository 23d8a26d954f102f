"""Recipes that a study's folder holds are those of its runs."""

from contextlib import nullcontext

import pytest

from orbitune.errors import RunError
from orbitune.integrity import write_checksummed_json
from orbitune.recipe import Recipe
from orbitune.study import grid
from orbitune.study.folder import StudyFolder
from orbitune.study.grid import Grid


def claim(folder, recipe):
    return StudyFolder(folder, trials=0).claim(Grid.of().runs([recipe]))


def begin(run):
    """What a run leaves that has trained."""
    run.mkdir(parents=True)
    (run / "log.jsonl").touch()


def test_a_study_whose_recipes_state_the_default_number_of_epochs_goes_on_with_it(tmp_path):
    """As earlier versions wrote them."""
    claim(tmp_path, Recipe(epochs=3))
    (tmp_path / "lora").mkdir()
    assert claim(tmp_path, Recipe()) == {"lora"}
    assert Recipe.load(tmp_path / "recipes" / "lora.yaml").epochs == 3


@pytest.mark.parametrize(
    ("before", "now", "names"),
    [
        ({}, {"seeds": 2}, {"lora": "lora-seed0"}),
        ({"splits": ["random"]}, {"splits": ["random", "spatial"]}, {"lora": "lora-random"}),
        (
            {"splits": ["random", "spatial"], "folds": 3},
            {"splits": ["random", "spatial"], "folds": 3, "seeds": 2, "backbones": ["demo", "ann/model"]},
            {
                f"lora-{s}-fold{k}": f"lora@demo-{s}-fold{k}-seed0"
                for s in ("random", "spatial")
                for k in (1, 2)
            },
        ),
        ({"ranks": [2, 4]}, {"ranks": [2, 4], "seeds": 2}, {"lora-rank2": "lora-seed0-rank2"}),
    ],
)
def test_runs_and_trials_of_a_study_that_grows_are_renamed(tmp_path, monkeypatch, before, now, names):
    """A method with a rank has one on every backbone."""
    monkeypatch.setattr(grid, "_has_rank", lambda recipe: True)
    folder, recipe = StudyFolder(tmp_path, trials=2), Recipe(backbone="demo")
    searches = {}
    for values in (before, now):
        specs = {spec.name: spec for spec in Grid.of(**values).runs([recipe])}
        for name, spec in specs.items():
            if values is before:
                for place in (tmp_path / name, tmp_path / "trials" / spec.search):
                    place.mkdir(parents=True, exist_ok=True)
                (tmp_path / name / "was").write_text(name)
                (tmp_path / "trials" / spec.search / "was").write_text(spec.search)
                searches[name] = spec.search
        known = folder.claim(list(specs.values()))
    for old, new in names.items():
        assert new in known and (tmp_path / new / "was").read_text() == old
        assert (tmp_path / "trials" / specs[new].search / "was").read_text() == searches[old]
        assert not (tmp_path / old).exists()


def grown(folder, *, tune=0):
    """Claim the folder for two seeds."""
    return StudyFolder(folder, trials=tune).claim(Grid.of(seeds=2).runs([Recipe()]))


def tree(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("begun", ["lora", "trials/lora"])
def test_a_refused_study_renames_nothing(tmp_path, begun):
    claim(tmp_path, Recipe())
    StudyFolder(tmp_path, trials=2).store(1)
    (tmp_path / begun).mkdir(parents=True)
    (tmp_path / begun / "result.json").write_text("{}")
    before = tree(tmp_path)
    with pytest.raises(RunError, match="with other trials"):
        grown(tmp_path, tune=3)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(("tune", "refused"), [(3, True), (0, False)])
def test_a_study_that_an_earlier_version_tuned_is_not_continued(tmp_path, tune, refused):
    """Its learning rates were compared after some of the epochs with one seed."""
    StudyFolder(tmp_path, trials=tune).claim(Grid.of().runs([Recipe()]))
    (tmp_path / "lora").mkdir()
    write_checksummed_json(tmp_path / "study.json", {"tune": tune, "jobs": 1})
    with pytest.raises(RunError, match="tuned by an earlier version") if refused else nullcontext():
        grown(tmp_path, tune=tune)


def test_a_damaged_design_is_not_fixed_anew(tmp_path):
    """What was fixed before the test split was read cannot be made up again."""
    StudyFolder(tmp_path, trials=0).store(1)
    file = tmp_path / "study.json"
    file.write_text(file.read_text()[:40])
    with pytest.raises(RunError, match=r"study.json .*Restore it, or choose another --out"):
        _ = StudyFolder(tmp_path, trials=0).design


def test_a_refused_study_keeps_the_plans_of_others(tmp_path):
    specs = [Recipe(), Recipe(method="linear")]
    StudyFolder(tmp_path, trials=0).claim(Grid.of().runs(specs))
    begin(tmp_path / "linear")
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "lora.json").write_text("{}")
    before = tree(tmp_path)
    with pytest.raises(RunError, match="of another recipe"):
        StudyFolder(tmp_path, trials=0).claim(Grid.of().runs([each.replace(epochs=5) for each in specs]))
    assert tree(tmp_path) == before


@pytest.mark.parametrize("old", [True, False])
def test_a_run_never_takes_the_place_of_another(tmp_path, old):
    """Also where the run itself has not begun, so that the other would become its result."""
    claim(tmp_path, Recipe())
    if old:
        (tmp_path / "lora").mkdir()
    (tmp_path / "lora-seed0").mkdir()
    Recipe(batch_size=8).save(tmp_path / "lora-seed0" / "recipe.yaml")
    before = tree(tmp_path)
    with pytest.raises(RunError, match=r"lora-seed0 is in the way: this study names lora so\. .*--out"):
        grown(tmp_path)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("moved", [("lora",), ("lora", "trials/lora@demo")])
def test_an_interrupted_renaming_goes_on(tmp_path, moved):
    claim(tmp_path, Recipe(backbone="demo"))
    for place in ("lora", "trials/lora"):
        (tmp_path / place).mkdir(parents=True)
    Recipe(backbone="demo", learning_rate=0.5).save(tmp_path / "lora" / "recipe.yaml")  # tuned
    (tmp_path / "lora").rename(tmp_path / "lora@demo")
    if len(moved) > 1:
        (tmp_path / "trials" / "lora").rename(tmp_path / moved[1])
    specs = Grid.of(backbones=["demo", "ann/model"]).runs([Recipe(backbone="demo")])
    assert StudyFolder(tmp_path, trials=0).claim(specs) == {"lora@demo"}
    assert (tmp_path / "trials" / "lora@demo").is_dir() and not (tmp_path / "recipes" / "lora.yaml").exists()


@pytest.mark.parametrize(("before", "now"), [("none", 3), (5, "none")])
def test_other_epochs_are_another_study(tmp_path, before, now):
    claim(tmp_path, Recipe(epochs=None if before == "none" else before))
    begin(tmp_path / "lora")
    with pytest.raises(RunError, match=rf"another recipe \(--epochs: {now}, not {before}\)"):
        claim(tmp_path, Recipe(epochs=None if now == "none" else now))


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({}, {"seeds": 2}),
        ({"splits": ["random"]}, {"splits": ["random", "spatial"]}),
        ({"seeds": 2, "splits": ["random"]}, {"seeds": 1, "splits": ["random", "spatial"]}),
    ],
)
def test_another_recipe_is_another_study_also_where_its_runs_have_other_names(tmp_path, before, now):
    """Runs of the old one may have read the test tiles before this one fixes anything."""
    folder, recipe = StudyFolder(tmp_path, trials=0), Recipe(epochs=5)
    for spec in Grid.of(**before).runs([recipe]):
        folder.claim([spec])
        begin(tmp_path / spec.name)
    stored = tree(tmp_path)
    with pytest.raises(RunError, match=r"another recipe \(--epochs: 7, not 5\)"):
        folder.claim(Grid.of(**now).runs([recipe.replace(epochs=7)]))
    assert tree(tmp_path) == stored


@pytest.mark.parametrize(
    "study",
    [{}, {"backbones": ["demo", "ann/model"]}, {"shots": [5, None], "image_sizes": [32, 64]}],
)
def test_runs_of_a_sweep_and_of_other_methods_do_not_stand_in_the_way(tmp_path, monkeypatch, study):
    monkeypatch.setattr(grid, "_has_rank", lambda recipe: True)
    folder, recipe = StudyFolder(tmp_path, trials=0), Recipe(backbone="demo")
    specs = Grid.of(**{"ranks": [2, 4], **study}).runs([recipe, recipe.replace(method="linear", epochs=9)])
    folder.claim(specs)
    for spec in specs:
        begin(tmp_path / spec.name)
    grown = Grid.of(seeds=2, backbones=study.get("backbones", ())).runs([recipe])
    assert folder.claim(grown) == {spec.name for spec in grown if spec.recipe.seed == 0}


def test_the_same_data_by_another_path_are_the_same_study(tmp_path):
    """Its runs get their new names, and another recipe is refused."""
    data, folder = tmp_path / "tiles", StudyFolder(tmp_path / "s", trials=0)
    data.mkdir()
    (tmp_path / "link").symlink_to(data)
    claim(folder.path, Recipe(data=str(data)))
    begin(folder.path / "lora")
    linked = Recipe(data=str(tmp_path / "link"))
    with pytest.raises(RunError, match="of another recipe"):
        folder.claim(Grid.of(seeds=2).runs([linked.replace(epochs=7)]))
    assert folder.claim(Grid.of(seeds=2).runs([linked])) == {"lora-seed0"}
    assert Recipe.load(folder.path / "recipes" / "lora-seed0.yaml").data == linked.data


def test_the_damaged_recipe_of_a_run_under_an_old_name_is_an_error(tmp_path):
    claim(tmp_path, Recipe())
    begin(tmp_path / "lora")
    (tmp_path / "recipes" / "lora.yaml").write_text("epochs: [")
    with pytest.raises(RunError, match=r"lora\.yaml is damaged\. Restore it, or choose another --out"):
        grown(tmp_path)


@pytest.mark.parametrize("attempt", ["lora", "trials/lora/lr-1e-3"])
def test_a_study_that_failed_before_its_first_run_trained_is_begun_again(tmp_path, attempt):
    claim(tmp_path, Recipe(epochs=5))
    (tmp_path / attempt).mkdir(parents=True)
    Recipe(epochs=5).save(tmp_path / attempt / "recipe.yaml")
    assert claim(tmp_path, Recipe(epochs=7)) == set()
    assert Recipe.load(tmp_path / "recipes" / "lora.yaml").epochs == 7
    (tmp_path / attempt / "log.jsonl").touch()
    with pytest.raises(RunError, match="of another recipe"):
        claim(tmp_path, Recipe(epochs=5))
