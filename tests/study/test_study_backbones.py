"""A study of several backbones answers which one, and what it costs."""

# The report is set with en dashes, minus and multiplication signs:
# ruff: noqa: RUF001

import json
import shutil

import pytest
from commands import orbitune
from samples import backbone_folder
from studies import Large, comparison_table, conclusions_text, write_report

from orbitune import Recipe, Study
from orbitune.errors import OrbituneError, RunError
from orbitune.study import report
from orbitune.study.grid import Grid
from orbitune.study.report import cautions
from orbitune.study.results import read_results
from orbitune.training.run import train
from orbitune.training.trial import TrialResult


@pytest.fixture(scope="module")
def backbones(backbone, tmp_path_factory):
    other = backbone_folder(tmp_path_factory.mktemp("study-dinov2") / "dinov2", "dinov2")
    return [backbone, str(other)]


@pytest.fixture(scope="module")
def finished(recipe, backbones, forked, tmp_path_factory):
    """The results of a study of two backbones, and its folder."""
    folder = tmp_path_factory.mktemp("study-backbones") / "s"
    study = Study(recipe, folder, methods=["linear"], backbones=backbones, tune=3)
    return study.run(progress=False), folder


def test_runs_are_named_after_method_and_backbone_and_grouped_by_backbone(backbones):
    specs = Grid.of(backbones=backbones, seeds=2).runs([Recipe(method=name) for name in ("full", "lora")])
    assert [spec.name for spec in specs] == [
        f"{method}@{label}-seed{seed}"
        for label in ("backbone", "dinov2")
        for method in ("full", "lora")
        for seed in (0, 1)
    ]
    assert {spec.recipe.backbone for spec in specs if spec.backbone == "dinov2"} == {backbones[1]}


def test_one_backbone_is_a_setting_and_adds_nothing_to_the_name(backbones):
    [spec] = Grid.of(backbones=backbones[1:]).runs([Recipe()])
    assert (spec.name, spec.backbone, spec.recipe.backbone) == ("lora", None, backbones[1])


def test_each_backbone_is_planned_tuned_trained_and_recorded(finished, backbones):
    results, folder = finished
    arms = ["linear@backbone", "linear@dinov2"]
    assert [(run.method, run.status) for run in results.runs] == [(arm, "done") for arm in arms]
    assert [run.finished.recipe.backbone for run in results.runs] == backbones
    assert sorted(file.stem for file in (folder / "plans").iterdir()) == arms
    assert [search.method for search in results.searches] == arms
    assert [trial.method for trial in results.trials if trial.chosen] == [
        arm for arm in arms for _ in range(2)
    ]
    assert [each.description for each in results.backbones.values()] == [
        run.finished.backbone.description for run in results.runs
    ]
    assert "backbone" in results.varied and read_results(folder) == results
    [verdict] = results.verdicts
    assert (verdict.method, verdict.reference, verdict.family) == (arms[1], arms[0], 1)


def test_the_report_answers_and_states_the_sizes(finished):
    page = (finished[1] / "report.md").read_text()
    assert page.startswith("# Linear probing with backbone and dinov2 on tiles\n")
    assert "Which backbone: " in page
    assert "All backbones had images of 32 px. Learning rates were tuned for each backbone." in page
    assert "| linear probing on dinov2 |" in page


def test_a_study_that_gains_a_backbone_and_loses_it_again_trains_no_run_twice(
    recipe, forked, backbones, tmp_path, caplog
):
    folder = tmp_path / "s"

    def study(*chosen):
        caplog.clear()
        started = Study(recipe, folder, methods=["linear"], backbones=chosen, seeds=[0, 1], tune=3)
        return started.run(progress=False)

    def content(name, search):
        files = [folder / name / "result.json", folder / name / "predictions.npz"]
        return [file.read_bytes() for file in [*files, *sorted((folder / "trials" / search).rglob("*.json"))]]

    caplog.set_level("INFO", logger="orbitune")
    first = study()
    before = content("linear-seed1", "linear")
    both = study(*backbones)
    assert "2 of 4 runs were already finished" in caplog.messages
    assert content("linear@backbone-seed1", "linear@backbone") == before
    assert [run.result for run in both.runs[:2]] == [run.result for run in first.runs]
    assert not (folder / "linear-seed1").exists() and not (folder / "trials" / "linear").exists()
    assert study().runs == first.runs
    assert "2 of 2 runs were already finished" in caplog.messages
    assert content("linear-seed1", "linear") == before


def test_a_study_of_backbones_is_continued(recipe, finished, backbones, caplog):
    results, folder = finished
    caplog.set_level("INFO", logger="orbitune")
    again = Study(recipe, folder, methods=["linear"], backbones=backbones, tune=3).run(progress=False)
    assert again.runs == results.runs and again.command == results.command
    assert "2 of 2 runs were already finished" in caplog.messages
    assert f"--recipe {folder}/recipes/linear@backbone.yaml --methods linear" in again.command
    assert f"--backbones {','.join(backbones)} --tune 3" in again.command


def test_a_run_is_not_kept_beside_a_search_that_chooses_another_rate(recipe, finished, backbones, tmp_path):
    """As after trials of another machine: some runs of a method would have one rate and some another."""
    results, folder = finished
    shutil.copytree(folder, tmp_path / "s")
    [chosen, _] = [search.chosen for search in results.searches]
    for file in (tmp_path / "s" / "trials" / "linear@backbone").glob(f"{chosen:g}-seed*/trial.json"):
        trial = TrialResult.read(file)
        worse = tuple(epoch.model_copy(update={"validation_accuracy": -1.0}) for epoch in trial.history)
        trial.model_copy(update={"history": worse}).write(file)
    study = Study(recipe, tmp_path / "s", methods=["linear"], backbones=backbones, tune=3)
    with pytest.raises(RunError, match=f"linear@backbone was trained with learning rate {chosen:g}, and the"):
        study.run(progress=False)


def test_a_backbone_that_is_not_there_is_named_before_anything_is_trained(recipe, backbones, tmp_path):
    study = Study(recipe, tmp_path / "s", backbones=[*backbones, "./nothing"])
    with pytest.raises(OrbituneError, match="no backbone folder"):
        study.run(progress=False)
    assert not (tmp_path / "s").exists()
    with pytest.raises(OrbituneError, match=r"--backbones: .* is given twice"):
        Study(recipe, tmp_path / "s", backbones=[backbones[0], backbones[0]])


def test_a_plan_has_a_column_for_each_backbone(recipe, backbones, tmp_path):
    recipe.replace(image_size=28).save(tmp_path / "r.yaml")
    names = ",".join(backbones)
    done = orbitune("plan", "--recipe", tmp_path / "r.yaml", "--methods", "linear", "--backbones", names)
    assert done.returncode == 2 and "does not suit" in done.stderr
    recipe.save(tmp_path / "r.yaml")
    done = orbitune("plan", "--recipe", tmp_path / "r.yaml", "--methods", "linear", "--backbones", names)
    assert "linear@backbone" in done.stdout and "linear@dinov2" in done.stdout
    assert done.stdout.count("32 px") == 2


ARMS = tuple(f"{method}@{label}" for label in ("small", "large") for method in ("full", "lora"))


@pytest.fixture(scope="module")
def large():
    return Large(ARMS, splits=("random",), count=2000, comparable=True).results


def test_the_better_backbone_is_named_with_its_difference_and_its_cost(large):
    headline, answer, *_ = conclusions_text(large).splitlines()
    assert headline == "Which backbone: large, with every method."
    assert answer.startswith("With full fine-tuning, large reached ")
    assert "and did better than small (" in answer
    assert (
        "p < 0.001 corrected for 4 comparisons; with 1.00× the CPU time and 1.00× the peak memory)" in answer
    )


def test_backbones_that_the_tiles_do_not_tell_apart_are_not_ranked(large):
    values = json.loads(json.dumps(large))
    for verdict in values["verdicts"]:
        verdict |= {"equal": 0.2}
    headline, answer, *_ = conclusions_text(values).splitlines()
    assert headline == "Which backbone: no clear winner on these tiles, with every method."
    assert "large reached" in answer and "and is not shown to differ from small (" in answer


def test_with_one_seed_no_backbone_is_called_better():
    values = Large(ARMS, splits=("random",), seeds=1, count=2000).results
    headline, answer, *_ = conclusions_text(values).splitlines()
    assert headline == "Which backbone: not tested beyond these trained models, with every method."
    assert "and was not tested beyond these trained models against small (" in answer
    assert "McNemar of these trained models p < 0.001 corrected for 4 comparisons; with" in answer


def test_methods_are_judged_on_each_backbone(large):
    text = conclusions_text(large)
    assert "Full fine-tuning on small reached" in text and "Full fine-tuning on large reached" in text
    assert "LoRA on small (" in text and "LoRA on large (" in text
    header, rows = comparison_table(large)
    assert header[0] == "Method and backbone"
    assert [row[0] for row in rows] == [
        f"{title} on {label}" for label in ("small", "large") for title in ("full fine-tuning", "LoRA")
    ]


def test_one_family_holds_all_comparisons_and_the_report_says_so(large, tmp_path):
    assert {verdict["family"] for verdict in large["verdicts"]} == {4}
    write_report(large, tmp_path)
    page = (tmp_path / "report.md").read_text()
    assert "All 4 comparisons of a split are judged together." in page
    assert "| LoRA on large | LoRA on small |" in page
    figure = (tmp_path / "figures" / "accuracy.svg").read_text()
    assert figure.index(">small<") > figure.index(">full fine-tuning<")  # headings are drawn as ticks


def test_a_backbone_that_was_trained_on_held_out_tiles_is_warned_of_once_above_the_table(
    recipe, backbones, forked, tmp_path
):
    start = recipe.replace(split="random", method="linear", learning_rate=1e-3)
    train(start.replace(split_seed=1, backbone=backbones[0]), tmp_path / "strong", progress=False)
    names = [backbones[1], str(tmp_path / "strong")]
    results = Study(start, tmp_path / "s", backbones=names, folds=3).run(progress=False)
    data = [run.finished.data for run in results.runs if run.method.endswith("strong")]
    seen = {part: sum(each.seen[part] for each in data) for part in ("test", "validation")}
    assert seen["test"] == seen["validation"] == 36  # each training tile is tested once
    assert not any(run.finished.data.seen for run in results.runs if run.method.endswith("dinov2"))
    assert sum(each.validated.get("test", 0) for each in data) == 12  # and so are those that validated it
    [warning] = [line for line in cautions(results) if "training tiles" in line]
    others = [run.finished.test.seen.others for run in results.runs if run.method.endswith("strong")]
    assert sum(each.count for each in others) == 12
    assert warning == (
        "Warning: 36 of 60 test tiles and 36 of 60 validation tiles were training tiles of strong, and 12 of "
        "60 test tiles were validation tiles of strong, which choose epochs and fit thresholds: the scores "
        "are too high, and the differences from other backbones with them."
    )
    assert report.conclusions_text(results).startswith(warning)
    page = (tmp_path / "s" / "report.md").read_text()
    opening, rest = page.split("| Method and backbone |", 1)
    assert warning in opening and warning not in rest.split("##", 1)[0]
    assert f'<p class="warning" role="note">{warning}</p>' in (tmp_path / "s" / "report.html").read_text()


def test_a_backbone_whose_training_tiles_are_not_known_is_warned_of(large):
    values = json.loads(json.dumps(large))
    for run in values["runs"]:
        if run["method"].endswith("@large"):
            run["result"]["data"]["seen"] = None
    assert conclusions_text(values).startswith(
        "Warning: it is not known whether large was trained on held-out tiles: the training tiles of its runs"
    )
    assert "whether small was" not in conclusions_text(values)
