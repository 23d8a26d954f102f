"""A study is methods by seeds by splits, plus sweeps; names identify runs."""

import pytest

from orbitune import Recipe
from orbitune.errors import OrbituneError
from orbitune.study.grid import Grid


def recipes(*methods, **settings):
    return tuple(Recipe(method=method, **settings) for method in methods)


def names(grid, *methods, **settings):
    return [spec.name for spec in grid.runs(recipes(*methods, **settings))]


def test_with_one_value_of_everything_a_run_is_named_after_its_method():
    specs = Grid().runs(recipes("full", "lora"))
    assert [spec.name for spec in specs] == ["full", "lora"]
    assert [spec.recipe for spec in specs] == list(recipes("full", "lora"))


def test_every_method_is_run_with_every_seed():
    specs = Grid.of(seeds=2).runs(recipes("full", "lora"))
    assert [spec.name for spec in specs] == ["full-seed0", "full-seed1", "lora-seed0", "lora-seed1"]
    assert [spec.recipe.seed for spec in specs] == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("given", "first", "seeds"),
    [(3, 0, (0, 1, 2)), (3, 7, (7, 8, 9)), ([5, 1], 0, (5, 1)), ((4,), 0, (4,)), (None, 7, ())],
)
def test_a_number_of_seeds_is_a_count_and_a_list_is_the_seeds(given, first, seeds):
    assert Grid.of(seeds=given, first_seed=first).seeds == seeds


def test_one_value_is_a_setting_and_adds_nothing_to_the_name():
    [spec] = Grid(seeds=(4,), image_sizes=(64,), ranks=(2,)).runs(recipes("lora"))
    assert (spec.name, spec.recipe.seed, spec.recipe.image_size, spec.recipe.lora.rank) == ("lora", 4, 64, 2)
    assert spec.sweep is None


def test_a_sweep_leaves_out_the_value_that_the_recipe_has():
    grid = Grid(image_sizes=(16, 32, 64))
    assert names(grid, "lora", image_size=32) == ["lora", "lora-size16", "lora-size64"]


def test_sweeps_change_one_setting_at_a_time_with_all_seeds(backbone):
    grid = Grid(seeds=(0, 1), ranks=(8, 16), image_sizes=(32, 64))
    specs = grid.runs(recipes("lora", image_size=32, backbone=backbone))
    assert [(s.name, s.sweep, s.recipe.lora.rank, s.recipe.image_size) for s in specs] == [
        ("lora-seed0", None, 8, 32),
        ("lora-seed1", None, 8, 32),
        ("lora-seed0-rank16", "ranks", 16, 32),
        ("lora-seed1-rank16", "ranks", 16, 32),
        ("lora-seed0-size64", "image_sizes", 8, 64),
        ("lora-seed1-size64", "image_sizes", 8, 64),
    ]


def test_the_rank_is_swept_for_the_methods_that_have_one(backbone):
    grid = Grid(ranks=(4, 8))
    assert names(grid, "full", "linear", "lora", backbone=backbone) == [
        "full",
        "linear",
        "lora",
        "lora-rank4",
    ]
    with pytest.raises(OrbituneError, match="none of the methods has a rank"):
        names(grid, "full", "linear", backbone=backbone)


def test_runs_that_differ_only_in_their_seed_share_a_group():
    specs = Grid(seeds=(0, 1), image_sizes=(32, 64)).runs(recipes("lora", image_size=32))
    assert [spec.group for spec in specs] == ["lora", "lora", "lora-size64", "lora-size64"]


def test_a_run_is_identified_in_the_results_by_all_that_may_vary():
    spec = Grid(seeds=(0, 1), image_sizes=(32, 64)).runs(recipes("lora", image_size=32))[-1]
    assert spec.fields() == {
        "name": "lora-seed1-size64",
        "group": "lora-size64",
        "method": "lora",
        "seed": 1,
        "split": "default",
        "fold": None,
        "shots": None,
        "rank": 8,
        "image_size": 64,
        "sweep": "image_sizes",
    }


def test_the_settings_that_runs_of_one_method_do_not_share_are_known():
    assert Grid(seeds=(0, 1), image_sizes=(32, 64)).varied == {"seed"}
    assert Grid(seeds=(4,)).varied == set()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seeds": 0}, "--seeds takes a number of seeds of at least 1"),
        ({"seeds": [1, 1]}, "--seeds: 1 is given twice"),
        ({"image_sizes": [64, 64]}, "--image-sizes: 64 is given twice"),
        ({"shots": [5, "most"]}, "--shots takes whole numbers or 'all', not 'most'"),
    ],
)
def test_an_invalid_value_is_one_clear_line(values, message):
    with pytest.raises(OrbituneError, match=message):
        Grid.of(**values)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (Grid(ranks=(0,)), "--ranks: must be at least 1"),
        (Grid(seeds=(0, 4294967296)), "--seeds: must be below 4294967296"),
        (Grid(splits=("rndom",)), "--splits: .*; did you mean random?"),
        (Grid(splits=("random", "group")), "--splits group needs --group-pattern"),
    ],
)
def test_a_value_that_the_recipe_does_not_accept_is_named_by_its_option(grid, message):
    with pytest.raises(OrbituneError, match=f"^{message}"):
        grid.runs([Recipe()])


def test_all_shots_are_none_in_the_recipe_and_a_word_in_the_results():
    grid = Grid.of(shots=[1, 5, "all"])
    assert grid.shots == (1, 5, None)
    assert grid.to_json()["shots"] == [1, 5, "all"]


def test_a_sweep_of_image_sizes_leaves_out_progressive_resizing_which_ends_at_another_size():
    *_, small, large = Grid(image_sizes=(16, 32)).runs(recipes("full", sizes="half:0.5,auto:0.5"))
    found = [(each.recipe.image_size, each.recipe.sizes) for each in (small, large)]
    assert found == [(16, None), (32, None)]
