"""The report of a single run: one file, from what the run left in its folder."""

import re
import shutil
import sys
from xml.etree import ElementTree

import pytest
from browser import open_browser
from commands import orbitune
from typer.testing import CliRunner

import orbitune as api
from orbitune.cli.main import app
from orbitune.errors import RunError
from orbitune.evaluation.run_result import RunResult
from orbitune.recipe import Recipe
from orbitune.reporting import formatting as fmt
from orbitune.study.report_files import check_results
from orbitune.training.run_report.details import public_recipe
from orbitune.training.run_report.writer import write_run_report


@pytest.fixture(scope="module")
def copied(finished, tmp_path_factory):
    """A copy of the finished run, which the tests may change."""
    return shutil.copytree(finished[1], tmp_path_factory.mktemp("reported") / "lora")


@pytest.fixture(scope="module")
def page(copied):
    """The text of its report."""
    return write_run_report(copied).read_text()


def text_of(page):
    """The visible text of a page in one line, without the text of figures."""
    body = re.sub(r"<(style|svg).*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def test_it_states_the_scores_with_intervals_and_names_the_split(copied, page):
    result, text = RunResult.load(copied), text_of(page).replace("&nbsp;", " ")
    correct, count = round(result.test.accuracy * result.test.count), result.test.count
    assert f"{correct} of {count} test tiles of the {result.split_name} are classified correctly" in text
    assert f"accuracy {100 * result.test.accuracy:.1f} % (95 % interval" in text
    assert f"Scores of the kept weights, {result.split_name}" in text
    assert "drew 60/20/20 at random" in text


def test_every_class_has_precision_recall_and_f1_with_intervals(copied, page):
    text, score = text_of(page), rf"\d+\.\d % \d+\.\d{fmt.DASH}\d+\.\d"
    for row in RunResult.load(copied).test.per_class:  # one that is never predicted has no precision
        assert re.search(rf"{row.name} {row.support} ({score}|{fmt.NOTHING}) {score} {score} ", text)


def test_the_curves_mark_the_epoch_that_was_kept(copied, page):
    result = RunResult.load(copied)
    kept = f"epoch {result.best_epoch}"
    assert f"Of 2 epochs, {kept} had the best validation accuracy; its weights were kept." in text_of(page)
    assert f"Loss, nats by epoch; {kept} was kept." in page
    assert f"{result.best_epoch}, kept" in text_of(page)


def test_misclassified_tiles_are_pictures_with_what_was_true_and_what_was_said(copied, page):
    test = RunResult.load(copied).test
    wrong = test.count - round(test.accuracy * test.count)
    assert page.count('src="data:image/png;base64,') == min(wrong, 24)
    assert text_of(page).count("True: class_") == text_of(page).count("Predicted: class_") == min(wrong, 24)


def test_calibration_cost_and_environment_are_stated(page):
    text = text_of(page)
    for words in (
        "too few to judge calibration",
        "Brier score",
        "Peak memory",
        "Saved model",
        "Trained parameters",
        "processor",
    ):
        assert words in text


def test_it_is_one_file_whose_figures_are_valid_and_name_no_place_on_the_machine(copied, page):
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    for figure in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
        ElementTree.fromstring(figure)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    result = RunResult.load(copied)
    for place in (copied, result.recipe.data, result.recipe.backbone):
        assert str(place) not in page


def test_the_same_run_gives_the_same_bytes_by_command_and_in_python(copied, page):
    done = orbitune("report", copied)
    assert done.stdout == f"report: {copied / 'report.html'}\n", done.stderr
    assert (copied / "report.html").read_text() == page
    assert api.report(copied) == (copied / "report.html",)
    assert (copied / "report.html").read_text() == page


def test_without_the_data_errors_are_listed_without_pictures(finished, tmp_path, monkeypatch):
    run = shutil.copytree(finished[1], tmp_path / "run")
    result = RunResult.load(run)
    moved = result.recipe.model_copy(update={"data": str(tmp_path / "gone")})
    result.model_copy(update={"recipe": moved}).save(run)
    monkeypatch.setenv("ORBITUNE_CACHE", str(tmp_path / "cache"))
    page = write_run_report(run).read_text()
    assert "<img" not in page and "the data is no longer there" in page
    assert "Predicted: class_" in page


def test_paths_of_a_recipe_are_cut_to_their_names():
    recipe = Recipe(data="/home/ann/tiles", split_files="train=/home/ann/a.txt,test=/home/ann/b.txt")
    values = public_recipe(recipe.replace(backbone="google/vit-base-patch16-224"))
    assert (values["data"], values["split_files"]) == ("tiles", "train=a.txt,test=b.txt")
    assert values["backbone"] == "google/vit-base-patch16-224"


def test_a_folder_without_results_is_one_clear_error(tmp_path):
    done = orbitune("report", tmp_path)
    assert done.returncode == 2
    assert "no results of a finished run (result.json) or a study (results.json)" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_study_that_is_not_finished_has_no_report_yet(tmp_path):
    (tmp_path / "study.json").write_text("{}")
    with pytest.raises(RunError, match=r"is not finished: results\.json is written after its last run"):
        check_results(tmp_path)


def test_without_matplotlib_a_run_ends_with_one_line_and_without_a_report(finished, tmp_path, monkeypatch):
    run = shutil.copytree(finished[1], tmp_path / "run")
    (run / "report.html").unlink(missing_ok=True)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = CliRunner().invoke(app, ["train", "--recipe", str(run / "recipe.yaml"), "--out", str(run)])
    assert done.exit_code == 0, done.output
    line = (
        "no report.html was written: Missing matplotlib, needed for reports: pip install 'orbitune[study]'."
    )
    assert line in done.stderr.splitlines()
    assert not (run / "report.html").exists()


@pytest.mark.browser
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_the_page_fits_a_screen_and_a_phone(copied, page, width, height):
    with open_browser(width, height) as shown:
        shown.goto((copied / "report.html").as_uri())
        assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
        boxes = [figure.bounding_box() for figure in shown.locator("svg").all()]
    assert len(boxes) == 4  # confusion and three curves; the test tiles are too few for calibration
    assert all(box and box["width"] > 200 and box["height"] > 100 for box in boxes)
