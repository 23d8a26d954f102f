"""`evaluate --data`: a model on labelled tiles that it has not seen."""

import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from commands import orbitune
from PIL import Image

from orbitune import Recipe, evaluate, train
from orbitune.assessment.records import Assessment
from orbitune.evaluation.run_result import RunResult
from orbitune.evaluation.run_tiles import find_run_tiles
from orbitune.evaluation.saved_outputs import read_predictions


def copy_split(run, tiles, folder, *, split="test"):
    """Copy the tiles of a split of a run, by class; return the folder."""
    names = find_run_tiles(RunResult.load(run)).names
    for row in read_predictions(run, split).indices:
        (folder / names[row]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tiles / names[row], folder / names[row])
    return folder


@pytest.fixture(scope="module")
def unseen(run, tiles, tmp_path_factory):
    """The run's test tiles as a data set of their own."""
    return copy_split(run, tiles, tmp_path_factory.mktemp("unseen") / "tiles")


@pytest.fixture(scope="module")
def evaluated(run, unseen, tmp_path_factory):
    """The scores of the run on these tiles, and the folder that they were written into."""
    out = tmp_path_factory.mktemp("evaluated") / "scores"
    return evaluate(run, data=unseen, out=out, progress=False), out


def wrong_tiles(folder, each=4, classes=("class_0", "class_1", "class_2")):
    """Noise, labelled with each class in turn: tiles of which most predictions are wrong."""
    random = np.random.default_rng(7)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(each):
            pixels = random.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"noise_{number}.png")
    return folder


def test_on_the_tiles_of_the_test_split_the_scores_are_those_of_the_run(run, evaluated):
    new, test = evaluated[0], RunResult.load(run).test
    assert (new.accuracy, new.interval, new.macro_f1) == (test.accuracy, test.interval, test.macro_f1)
    assert new.scores.confusion == test.confusion
    assert new.scores.loss == pytest.approx(test.loss, rel=1e-3)


def test_tiles_of_several_bands_are_read_as_in_training(band_place, band_run, tmp_path):
    data = copy_split(band_place / "run", band_place / "tiles", tmp_path / "unseen")
    new = evaluate(band_place / "run", data=data, progress=False)
    assert new.scores.confusion == band_run.test.confusion
    assert new.copies.count == 0


def test_the_labels_of_a_list_are_read_too(run, unseen, evaluated, tmp_path):
    lines = ["file_name,label"]
    for path in sorted(unseen.rglob("*.png")):
        shutil.copy(path, tmp_path / path.name)
        lines.append(f"{path.name},{path.parent.name}")
    (tmp_path / "new.csv").write_text("\n".join(lines))
    assert evaluate(run, data=tmp_path / "new.csv", progress=False).scores == evaluated[0].scores


def test_the_record_is_what_is_printed_as_json_and_returned(run, unseen, evaluated):
    new, out = evaluated
    printed = json.loads(orbitune("evaluate", run, "--data", unseen, "--json", "--quiet").stdout)
    assert Assessment.from_json(printed) == new == Assessment.read(out / "evaluation.json")


def test_misclassified_tiles_are_listed_and_drawn_the_most_confident_first(run, tmp_path):
    done = orbitune("evaluate", run, "--data", wrong_tiles(tmp_path / "new"), "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    new = Assessment.read(tmp_path / "out" / "evaluation.json")
    rows = list(csv.DictReader((tmp_path / "out" / "errors.csv").open()))
    assert len(rows) == new.scores.count - round(new.accuracy * new.scores.count) > 0
    assert [row["number"] for row in rows] == [f"{number}" for number in range(1, len(rows) + 1)]
    confidences = [float(row["probability"]) for row in rows]
    assert confidences == sorted(confidences, reverse=True)
    for row in rows:
        assert row["file"].startswith(f"{row['truth']}/noise_") and row["prediction"] != row["truth"]
        assert float(row["truth_probability"]) < float(row["probability"])
    with Image.open(tmp_path / "out" / "errors.png") as sheet:
        assert sheet.width > 160 * min(6, len(rows))
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count('src="data:image/png;base64,') == len(rows)
    for row in rows:
        assert f"<b>{row['number']}. True: {row['truth']}</b>" in page and row["file"] in page
    out = tmp_path / "out"
    assert done.stdout.splitlines()[-3:] == [
        f"scores: {out / 'evaluation.json'}",
        f"errors: {out / 'errors.csv'} and {out / 'errors.png'}",
        f"report: {out / 'report.html'}",
    ]
    assert f"calibration: {new.scores.count} tiles are too few to judge it" in done.stdout
    assert f"{new.scores.count} tiles are too few to judge calibration" in page and "ECE" not in page
    assert str(tmp_path) not in page


def test_a_subset_of_the_classes_is_scored_and_said(run, tmp_path):
    data = wrong_tiles(tmp_path / "new", classes=("class_1",))
    done = orbitune("evaluate", run, "--data", data)
    assert done.returncode == 0, done.stderr
    assert "no tile is of class_0, class_2: means over classes leave them out" in done.stdout


def test_a_class_that_the_model_does_not_know_is_one_line_that_names_it(run, tmp_path):
    data = wrong_tiles(tmp_path / "new", classes=("class_1", "Swamp"))
    done = orbitune("evaluate", run, "--data", data, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr == (
        "error: The model does not know 1 of the 2 classes of the data: Swamp (4 tiles). Rename or leave "
        "them out; it knows class_0, class_1, class_2.\n"
    )
    assert not (tmp_path / "out").exists()


def test_copies_of_training_tiles_are_warned_of_and_scored_apart(run, tiles, unseen, tmp_path):
    data = shutil.copytree(unseen, tmp_path / "new")
    result = RunResult.load(run)
    held_out = {int(row) for split in ("validation", "test") for row in read_predictions(run, split).indices}
    names = find_run_tiles(result).names
    first, second, *_ = (name for row, name in enumerate(names) if row not in held_out)
    shutil.copy(tiles / first, data / "class_0" / "copied.png")
    Image.open(tiles / second).transpose(Image.Transpose.ROTATE_90).save(data / "class_0" / "turned.png")
    new = evaluate(run, data=data, progress=False)
    assert (new.copies.count, new.copies.identical) == (2, 1)
    assert {pair[0] for pair in new.copies.examples} == {"class_0/copied.png", "class_0/turned.png"}
    assert new.copies.accuracy_without == result.test.accuracy
    assert any(line.startswith("warning: 2 tiles are near-duplicates of training") for line in new.remarks())


def test_tiles_of_other_ground_are_no_copies(evaluated):
    assert evaluated[0].copies.count == 0
    assert "no tile is a near-duplicate of training and validation tiles of the run" in evaluated[0].remarks()


def test_the_training_tiles_of_a_spatial_run_are_known_from_the_cache_alone(tiles, unseen, tmp_path):
    data = shutil.copytree(tiles, tmp_path / "tiles")
    (data / "splits").mkdir()
    for split, numbers in (("train", range(20)), ("val", range(20, 30)), ("test", range(30, 40))):
        names = [f"tile_{label}_{number}.png" for label in range(3) for number in numbers]
        (data / "splits" / f"spatial-{split}.txt").write_text("\n".join(names))
    recipe = {"data": str(data), "split": "spatial", "backbone": str(tiles.parent / "backbone")}
    train(Recipe.make({**recipe, "epochs": 1, "method": "linear"}), tmp_path / "run", progress=False)
    shutil.move(data, tmp_path / "elsewhere")
    numbers = [int(path.stem.rpartition("_")[2]) for path in unseen.rglob("*.png")]
    new = evaluate(tmp_path / "run", data=unseen, progress=False)
    assert new.copies.count == new.copies.identical == sum(number < 30 for number in numbers)


def test_copies_are_found_for_a_bundle_and_for_a_run_of_earlier_versions(run, bundle, tiles, tmp_path):
    names, test = find_run_tiles(RunResult.load(run)).names, set(read_predictions(run, "test").indices)
    for row in range(0, len(names), 7):
        (tmp_path / "new" / names[row]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tiles / names[row], tmp_path / "new" / names[row])
    copied = [row for row in range(0, len(names), 7) if row not in test]
    earlier = shutil.copytree(run, tmp_path / "run")
    (earlier / "training-tiles.json").unlink()
    found = evaluate(earlier, data=tmp_path / "new", progress=False).copies
    assert (found.count, found.compared_with) == (len(copied), "the run's tiles outside its test split")
    found = evaluate(bundle.folder, data=tmp_path / "new", progress=False).copies
    assert (found.count, found.compared_with) == (len(copied), "training and validation tiles of the model")


def test_without_the_training_data_the_missing_comparison_is_said(run, unseen, tmp_path, monkeypatch):
    moved = shutil.copytree(run, tmp_path / "run")
    result = RunResult.load(moved)
    recipe = result.recipe.model_copy(update={"data": str(tmp_path / "gone")})
    result.model_copy(update={"recipe": recipe}).save(moved)
    monkeypatch.setenv("ORBITUNE_CACHE", str(tmp_path / "cache"))
    new = evaluate(moved, data=unseen, progress=False)
    assert new.copies is None and any("the data of the run is gone" in line for line in new.warnings())


def test_a_bundle_knows_its_training_tiles_where_their_data_is_gone(
    bundle, run, tiles, tmp_path, monkeypatch
):
    sizes = RunResult.load(run).data.sizes
    monkeypatch.setenv("ORBITUNE_CACHE", str(tmp_path / "cache"))
    # Where the backbone lies is kept in the cache, too.
    new = evaluate(bundle.folder, data=tiles, backbone=run.parent / "backbone", progress=False)
    assert new.copies is None and (new.seen, new.validated) == (sizes["train"], sizes["validation"])
    assert (new.others.count, new.others.score) == (sizes["test"], "accuracy")
    tiles_ = f"{new.scores.count} tiles"
    warning = (
        f"warning: {sizes['train']} of {tiles_} were training tiles of the model, or of one that it comes "
        f"from, and {sizes['validation']} of {tiles_} were validation tiles of the model, or of one that it "
        f"comes from, which choose epochs and fit thresholds; without them accuracy is "
        f"{new.others.value:.2%} ({sizes['test']} tiles)"
    )
    assert new.remarks()[0] == new.warnings()[0] == warning


def test_tiles_known_by_their_checksums_alone_leave_one_statement(evaluated):
    new = evaluated[0].model_copy(update={"seen": 3})
    assert new.copies.count == 0 and not any("no tile is a near-duplicate" in line for line in new.remarks())
    assert [line for line in new.remarks() if "training tiles of the model" in line] == new.warnings()


def test_the_score_without_training_tiles_is_that_of_the_other_tiles_and_warned_of_first(
    bundle, run, tiles, unseen, tmp_path
):
    data, names = shutil.copytree(unseen, tmp_path / "new"), find_run_tiles(RunResult.load(run)).names
    held_out = {int(row) for split in ("validation", "test") for row in read_predictions(run, split).indices}
    for row in set(range(len(names))) - held_out:
        shutil.copy(tiles / names[row], data / names[row])
    done = orbitune("evaluate", bundle.folder, "--data", data)
    warning, scores, *_ = done.stdout.splitlines()
    test = RunResult.load(run).test
    assert warning.startswith("warning: ") and scores.startswith("new data: ")
    assert warning.endswith(f"without them accuracy is {test.accuracy:.2%} ({test.count} tiles)")


def test_a_bundle_says_how_many_tiles_are_not_sure_and_how_many_of_these_are_right(bundle, unseen):
    new = evaluate(bundle.folder, data=unseen, progress=False)
    sure = new.scores.count - new.not_sure.count
    right = sum(
        part * count
        for part, count in (
            (new.not_sure.accuracy_of_sure, sure),
            (new.not_sure.accuracy_of_not_sure, new.not_sure.count),
        )
        if part is not None
    )
    assert right == pytest.approx(new.accuracy * new.scores.count)


def test_a_bundle_is_evaluated_without_transformers(bundle, unseen):
    code = (
        "import sys, orbitune; "
        f"orbitune.evaluate({str(bundle.folder)!r}, data={str(unseen)!r}, progress=False); "
        "print({'transformers', 'peft', 'accelerate', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_an_unreadable_file_stops_or_is_left_out(run, unseen, tmp_path):
    data = shutil.copytree(unseen, tmp_path / "new")
    (data / "class_0" / "bad.png").write_bytes(b"no image")
    done = orbitune("evaluate", run, "--data", data)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "class_0/bad.png" in done.stderr and "--on-bad-image skip" in done.stderr
    new = evaluate(run, data=data, on_bad_image="skip", progress=False)
    assert "1 file was skipped" in new.remarks()
    assert new.skipped == 1 and new.scores.count == len(list(unseen.rglob("*.png")))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "synthetic:20"], "Synthetic tiles are no new data"),
        (["--data", "nowhere"], "There is no folder or zip nowhere"),
        (["--out", "scores"], "Options for new data need --data"),
        (["--on-bad-image", "skip"], "Options for new data need --data"),
        (
            ["--on-bad-image", "stpo"],
            "Unknown --on-bad-image 'stpo'. Did you mean stop? Choose from: stop, skip",
        ),
        (["--data", "nowhere", "--on-bad-image", "stpo"], "Unknown --on-bad-image 'stpo'"),
        (
            ["--split", "tests"],
            "Unknown split 'tests'. Did you mean test? Choose from: train, validation, test",
        ),
    ],
)
def test_invalid_input_is_one_line_and_exit_code_2(run, options, message):
    done = orbitune("evaluate", run, *options)
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_what_cannot_be_drawn_is_a_warning_and_costs_no_scores(run, tmp_path, monkeypatch, caplog):
    out = tmp_path / "out"
    evaluate(run, data=wrong_tiles(tmp_path / "new"), out=out, progress=False)
    assert {"errors.png", "report.html"} <= {file.name for file in out.iterdir()}
    monkeypatch.setitem(sys.modules, "PIL.ImageDraw", None)
    monkeypatch.delattr("PIL.ImageDraw")
    new = evaluate(run, data=wrong_tiles(tmp_path / "other", each=5), out=out, progress=False)
    assert Assessment.read(out / "evaluation.json") == new and new.scores.count == 15
    assert (out / "errors.csv").is_file() and not (out / "report.html").exists()
    assert f"the errors are not drawn in {out}" in caplog.text


def test_a_damaged_list_of_training_tiles_stops_before_the_data_is_read(run, tmp_path):
    damaged = shutil.copytree(run, tmp_path / "run")
    (damaged / "training-tiles.json").write_text("{}")
    (tmp_path / "new" / "class_0").mkdir(parents=True)
    (tmp_path / "new" / "class_0" / "bad.png").write_bytes(b"no image")
    done = orbitune("evaluate", damaged, "--data", tmp_path / "new")
    assert done.returncode == 2 and "training-tiles.json is damaged" in done.stderr


def test_a_folder_with_other_files_is_not_written_into(run, unseen, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    done = orbitune("evaluate", run, "--data", unseen, "--out", tmp_path)
    assert done.returncode == 2
    assert "is no evaluation of Orbitune. Choose another --out" in done.stderr


def test_a_split_of_the_new_data_is_chosen_by_name(run, unseen, tmp_path):
    shutil.copytree(unseen, tmp_path / "new" / "train")
    wrong_tiles(tmp_path / "new" / "test")
    new = evaluate(run, "test", data=tmp_path / "new", progress=False)
    assert (new.scores.count, new.split) == (12, "test")
    done = orbitune("evaluate", run, "--data", unseen, "--split", "test")
    assert done.returncode == 2 and "The data has no test split of its own" in done.stderr
