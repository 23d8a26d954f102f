"""The report follows from the numbers, escapes text, and is one file."""

# The report is set with en dashes and multiplication signs:
# ruff: noqa: RUF001

import copy
import re
from html.parser import HTMLParser
from itertools import zip_longest
from pathlib import Path
from xml.etree import ElementTree

import pytest
from studies import CLASSES, comparison_table, conclusions_text, done, failed, pair, study, write_report

from orbitune import Recipe
from orbitune.study.design.fixed import Design
from orbitune.study.records import StudyResults
from orbitune.study.report import failure_lines

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def results() -> dict:
    return pair()


@pytest.fixture(scope="module")
def folder(results: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study")
    write_report(results, path)
    return path


def pages(results: dict, folder: Path) -> tuple[str, str]:
    write_report(results, folder)
    return (folder / "report.html").read_text(), (folder / "report.md").read_text()


def rows(results: dict) -> dict[str, dict[str, str]]:
    header, lines = comparison_table(results)
    return {line[0]: dict(zip_longest(header, line, fillvalue="")) for line in lines}


# The verdict


def test_overlapping_intervals_are_never_called_a_difference(results):
    text = conclusions_text(results)
    assert "LoRA reached 97.80 % test accuracy (95 % interval 97.37–98.16)" in text
    assert "against 98.09 % (97.69–98.42) for full fine-tuning" in text
    assert (
        "on 5,400 test tiles from one seed the intervals overlap, so this run cannot tell them apart" in text
    )
    assert "above" not in text and "below" not in text


def test_a_clear_difference_is_named_with_its_size_and_its_one_seed():
    text = conclusions_text(pair(lora=0.93))
    assert "do not overlap: LoRA is 5.09 points below full fine-tuning" in text
    assert "How much another seed would change these numbers is not known." in text
    assert "cannot tell" not in text


def test_savings_are_stated_in_numbers(results):
    assert (
        "It trained 1.01 % of its parameters, took 0.87× the time per epoch and 0.99× the peak memory, "
        "and stores 0.90 MB instead of 88.2 MB." in conclusions_text(results)
    )


def test_synthetic_tiles_are_named_first_and_beside_every_number(tmp_path):
    results = pair(synthetic=True)
    html, markdown = pages(results, tmp_path)
    assert conclusions_text(results).startswith(
        "Synthetic tiles: these figures say nothing about real satellite images."
    )
    for page in (html, markdown):
        assert page.index("say nothing about real satellite images") < page.index("97.80 %")
    captions = re.findall(r"<caption>(.*?)</caption>|<figcaption>(.*?)</figcaption>", html)
    assert len(captions) >= 7
    assert all("ynthetic tiles" in "".join(caption) for caption in captions)
    assert all("synthetic tiles" in path.read_text() for path in (tmp_path / "figures").iterdir())


def test_real_tiles_are_not_called_synthetic(folder):
    assert "synthetic tiles" not in (folder / "report.html").read_text().lower()


# The comparison table


def test_each_cost_carries_its_ratio_to_full(results):
    lora = rows(results)["LoRA"]
    assert lora["Test accuracy (95 % interval)"] == "97.80 % (97.37–98.16)"
    assert lora["Trainable parameters"] == "225,034 (1.01 %)"
    assert lora["Train time per epoch"] == "84.2 s (0.87×)"
    assert lora["Peak memory"] == "2.08 GB (0.99×)"
    assert lora["Size on disk"] == "0.90 MB (0.01×)"
    assert lora["CPU time of a run"] == "497 s (0.87×)"
    assert "Energy of a run" not in lora


def test_full_itself_carries_no_ratio(results):
    assert "×" not in "".join(rows(results)["full fine-tuning"].values())


def test_without_full_there_are_no_ratios(tmp_path):
    results = study(done("lora", 0.978, 5400, CLASSES), done("linear", 0.95, 5400, CLASSES))
    assert "×" not in str(comparison_table(results)[1])
    assert "×" not in conclusions_text(results)
    assert "linear probing is 2.80 points below LoRA" in conclusions_text(results)
    pages(results, tmp_path)


def test_small_test_splits_get_one_decimal():
    results = pair(count=200, full=0.98, lora=0.97)
    assert rows(results)["LoRA"]["Test accuracy (95 % interval)"] == "97.0 % (93.6–98.6)"


def test_memory_of_a_gpu_has_its_own_column():
    results = pair()
    for run, gpu in zip(results["runs"], (4_000_000_000, 1_000_000_000), strict=True):
        run["result"]["cost"]["peak_cuda_bytes"] = gpu
    assert rows(results)["LoRA"]["Peak GPU memory"] == "1.00 GB (0.25×)"
    assert "0.25× the peak memory" in conclusions_text(results)


def test_a_failed_run_is_in_the_table_with_its_error(tmp_path):
    results = study(failed("full", "out of memory\nat step 3"), done("lora", 0.978, 5400, CLASSES))
    assert comparison_table(results)[1][-1] == ["full fine-tuning", "failed: out of memory at step 3"]
    assert failure_lines(StudyResults.from_json(results)) == [
        "full fine-tuning failed: out of memory at step 3"
    ]
    assert "Full fine-tuning failed." in conclusions_text(results)
    for page in pages(results, tmp_path):
        assert "failed: out of memory at step 3" in page


def test_a_study_whose_runs_all_failed_is_reported_as_such(tmp_path):
    results = study(failed("full"), failed("lora"))
    assert "Every run failed" in conclusions_text(results)
    for page in pages(results, tmp_path):
        assert page.count("failed: out of memory") == 1  # of both
        assert "full fine-tuning and LoRA" in page


def test_a_study_of_one_method_misses_no_other():
    results = study(done("lora", 0.978, 5400, CLASSES))
    design = Design(fixed="2026-11-28T10:15:00+00:00", primary=(), comparisons=(), margins={}, seeds=(0,))
    assert "No other method" not in conclusions_text(results | {"design": design.to_json()})


def test_a_single_method_is_compared_with_nothing(tmp_path):
    results = study(done("lora", 0.978, 5400, CLASSES))
    assert "No other method was finished to compare it with." in conclusions_text(results)
    html, _ = pages(results, tmp_path)
    assert "Accuracy against cost" not in html and "ratio to full" not in html


# The pages


class Loads(HTMLParser):
    """Collects what a browser would fetch."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.targets: list[str] = []
        self.ids: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attributes:
            if name in {"src", "href", "xlink:href", "srcset", "data"}:
                self.targets.append(value or "")
            if name == "id":
                self.ids.append(value or "")


def test_the_page_is_one_file_that_loads_nothing(folder):
    page = (folder / "report.html").read_text()
    loads = Loads(page)
    assert not loads.tags & {"script", "link", "img", "iframe", "object", "image"}
    assert all(target.startswith("#") for target in loads.targets)
    assert "@import" not in page and not re.search(r"url\((?!#)", page)


def test_ids_are_unique_although_many_figures_share_the_page(folder):
    ids = Loads((folder / "report.html").read_text()).ids
    assert ids and len(ids) == len(set(ids))


def test_the_same_results_give_the_same_bytes(results, folder, tmp_path):
    write_report(copy.deepcopy(results), tmp_path)
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert len(names) == 11
    assert names == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert all((folder / name).read_bytes() == (tmp_path / name).read_bytes() for name in names)


def test_figures_of_an_earlier_report_do_not_linger(results, tmp_path):
    write_report(results, tmp_path)
    write_report(study(done("lora", 0.978, 5400, CLASSES)), tmp_path)
    assert not (tmp_path / "figures" / "confusion-full.svg").exists()


def test_markdown_shows_every_figure_that_was_written(folder):
    shown = re.findall(r"!\[.+\]\((figures/.+?\.svg)\)", (folder / "report.md").read_text())
    assert sorted(shown) == sorted(f"figures/{path.name}" for path in (folder / "figures").iterdir())
    for path in (folder / "figures").iterdir():
        assert ElementTree.fromstring(path.read_text()).get("aria-label")


def test_what_users_wrote_is_escaped(tmp_path):
    classes = ["<script>alert(1)</script>", "a|b *c*", 'quo"te & $x$', "Wälder_森"]
    runs = done("lora", 0.95, 400, classes), failed("full", "<img src=x onerror=alert(1)> | pipe")
    html, markdown = pages(study(*runs, count=400, classes=classes), tmp_path)
    assert not Loads(html).tags & {"script", "img"}
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html and "&lt;img src=x" in html
    assert "<script" not in markdown and "<img" not in markdown
    assert r"| a\|b \*c\* |" in markdown


def test_markdown_tables_have_as_many_cells_in_every_row(folder):
    for block in re.findall(r"(?:^\|.*\n)+", (folder / "report.md").read_text(), flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_the_plan_stands_beside_what_was_measured(folder, results, tmp_path):
    page = (folder / "report.md").read_text()
    assert "| LoRA, time per epoch | 90.9 s | 84.2 s | +8.0 % |" in page
    assert "| full fine-tuning, trainable parameters | 22,060,426 | 22,060,426 | 0.0 % |" in page
    unplanned = study(*({**run, "plan": None} for run in results["runs"]))
    assert all("Planned" not in page for page in pages(unplanned, tmp_path))


def test_settings_that_differ_stand_side_by_side(folder):
    page = (folder / "report.md").read_text()
    assert "| learning_rate | 5e-05 | 0.0005 |" in page
    assert "| epochs |" not in page  # the same for both
    assert page.count("<summary>Resolved for") == 2 and "batch_size: 64" in page


def test_every_run_has_what_the_comparison_leaves_out(folder):
    page = (folder / "report.md").read_text()
    assert "| Run | Validation accuracy | Test accuracy (95 % interval) | Macro-F1 (95 % interval) |" in page
    lines = page[page.index("| Run | Validation accuracy") :].splitlines()
    line = next(line for line in lines if line.startswith("| LoRA |"))
    assert line.startswith("| LoRA | 97.80 % | 97.80 % (97.37–98.16) |")
    assert "| 3 of 3 | 84.2 s | 192 | 2.08 GB | 497 s |" in line


def test_the_results_state_the_command_that_repeats_them(folder):
    again = "orbitune study --data blanchon/EuroSAT_RGB --methods full,lora\norbitune report FOLDER"
    page = (folder / "report.html").read_text()
    assert page.count("Reproduce") == 1 + page.count("<figure") - 1 + 2  # runs and plan have no figure
    assert again in page and again in (folder / "report.md").read_text()


def test_the_report_describes_the_procedure(folder):
    page = (folder / "report.html").read_text()
    assert "of 3 epochs, epoch 3 had the best validation accuracy; its checkpoint was kept" in page
    assert "The test split was read once by each of 2 runs, after the epoch had been chosen on" in page
    assert "orbitune study --data blanchon/EuroSAT_RGB --methods full,lora" in page
    assert "2026-11-23 12:00 UTC" in page
    assert "16.4 GB" in page and "AMD EPYC 9R14" in page


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_a_schedule_starts_anew_after_an_extension_unless_it_is_constant(schedule, tmp_path):
    recipe = Recipe(method="lora", image_size=112, epochs=3, restarts=(2,), schedule=schedule)
    write_report(study(done("lora", 0.97, 5400, CLASSES, recipe=recipe.model_dump(mode="json"))), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert ("The learning-rate schedule started anew after epoch 2." in page) == (schedule == "cosine")


@pytest.mark.parametrize("many", [2, 60])
def test_few_and_many_classes_are_drawn(many, tmp_path):
    classes = [f"Class {i}" for i in range(many)]
    html, _ = pages(pair(count=1200, full=0.95, lora=0.94, classes=classes), tmp_path)
    assert html.count("<svg") == 9
    assert f"Class {many - 1}" in html


def test_a_class_without_test_tiles_has_no_f1(tmp_path):
    results = study(done("lora", 1.0, 3, CLASSES), count=3)
    assert "| SeaLake | 0 | – |" in pages(results, tmp_path)[1]


@pytest.mark.browser
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_the_page_fits_a_screen_and_a_phone(folder, width, height):
    if not CHROMIUM.exists():
        pytest.skip("needs /usr/bin/chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    requests, problems = [], []
    with playwright.sync_playwright() as play:
        options = {"executable_path": str(CHROMIUM), "args": ["--no-sandbox", "--disable-gpu"]}
        with play.chromium.launch(**options) as browser:
            page = browser.new_page(viewport={"width": width, "height": height})
            page.on("request", lambda request: requests.append(request.url))
            page.on("console", lambda message: problems.append(message.text))
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.goto((folder / "report.html").as_uri())
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            boxes = [svg.bounding_box() for svg in page.locator("svg").all()]
    assert len(boxes) == 9
    assert all(box and box["width"] > 200 and box["height"] > 100 for box in boxes)
    assert not problems
    assert all(url.startswith("file://") for url in requests)
