"""A split that is added to a study keeps what was fixed if no run had read its own test tiles."""

from dataclasses import replace

import pytest

from orbitune import Study
from orbitune.study import runner
from orbitune.study.results import read_results

METHODS = ["full", "linear", "lora"]


@pytest.fixture(scope="module")
def make(recipe, forked):
    """Return a function that makes a study of these splits; tiles with the same number are a group."""
    grouped = recipe.replace(split="group", group_pattern=r"_(\d+)\.png$")

    def study(folder, splits, methods=METHODS, **settings):
        settings = {"primary": "lora:full", "margin": dict.fromkeys(splits, 30)} | settings
        return Study(grouped, folder, methods=methods, splits=splits, **settings)

    return study


@pytest.fixture(scope="module")
def folder(make, tmp_path_factory):
    """The folder of a finished study on the random split."""
    folder = tmp_path_factory.mktemp("later-splits") / "s"
    make(folder, ["random"]).run(progress=False)
    return folder


@pytest.fixture(scope="module")
def added(make, folder):
    """The results after the group split and a method were added."""
    return make(folder, ["random", "group"], [*METHODS, "bitfit"]).run(progress=False)


def test_on_the_added_split_the_fixed_comparisons_keep_their_roles_and_an_added_one_is_exploratory(added):
    roles = {(each.split, each.method): each.role for each in added.verdicts}
    fixed = {"linear": "secondary", "lora": "primary", "bitfit": "exploratory"}
    expected = {(split, method): role for split in ("random", "group") for method, role in fixed.items()}
    assert roles == expected


def test_the_report_says_that_the_split_was_added_before_its_tiles_were_read(added, folder):
    text = (folder / "report.md").read_text()
    assert "fixed before a run read the test tiles of its split; the group split was added later" in text
    assert (
        "after other test tiles had been read, but before a run read these: the group split, with a margin "
        "of 30 points." in text
    )
    assert "after the test split had been read: BitFit against full fine-tuning." in text


def test_the_same_command_again_changes_nothing(make, added, folder):
    again = make(folder, ["random", "group"], [*METHODS, "bitfit"]).run(progress=False)
    assert again.design == added.design == read_results(folder).design


def test_a_split_whose_tiles_were_read_by_a_sweep_alone_is_exploratory(make, tmp_path):
    folder = tmp_path / "s"
    make(folder, ["random"], ["full", "lora"]).run(progress=False)
    both = make(folder, ["random", "group"], ["full", "lora"], ranks=[2, 4])
    train = runner.Stages.train

    def stop_after_the_sweep(stages, plans, rates):
        swept = [spec for spec in stages.specs if spec.sweep]
        train(replace(stages, specs=swept), plans, rates)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(runner.Stages, "train", stop_after_the_sweep)
        both.run(progress=False)
    roles = {each.split: each.role for each in both.run(progress=False).verdicts}
    assert roles == {"random": "primary", "group": "exploratory"}
