"""The report of a study of many methods, splits and seeds."""

# The report is set with en dashes, minus and multiplication signs:
# ruff: noqa: RUF001

import copy
import re
from dataclasses import replace
from pathlib import Path

import pytest
from pages import DOCS
from studies import (
    CLASSES,
    SKILL,
    Large,
    comparison_table,
    conclusions_text,
    done,
    study,
    write_report,
)

from orbitune.study.display_names import method_name
from orbitune.study.records import StudyResults
from orbitune.study.report import cautions, failure_lines, terminal_table
from orbitune.study.report.answers.corruption_losses import loss_sentences
from orbitune.study.report.methods.methodology import describe_runs
from orbitune.study.report.tables import passes_note
from orbitune.study.report.view_model import ReportView
from orbitune.study.results import read_results

METHODS = ("full", "linear", "lora", "dora")


@pytest.fixture(scope="module")
def large():
    study = Large(METHODS).sweep("shots", "shots", (1, 10), ("full", "lora")).tune()
    return study.fail("dora", "random", 2, "Training diverged: the loss is not finite.")


@pytest.fixture(scope="module")
def results(large):
    return large.results


@pytest.fixture(scope="module")
def folder(large, tmp_path_factory):
    path = tmp_path_factory.mktemp("large")
    write_report(large.draw(path).results, path)
    return path


@pytest.fixture(scope="module")
def markdown(folder):
    return (folder / "report.md").read_text()


@pytest.fixture(scope="module")
def page(folder):
    return (folder / "report.html").read_text()


def row(results, method):
    header, lines = comparison_table(results)
    return dict(zip(header, next(line for line in lines if line[0] == method), strict=True))


def judged(results, *compare_methods, split="random"):
    """Return results with outcomes for linear probing, LoRA and DoRA on a split."""
    changed = copy.deepcopy(results)
    entries = [entry for entry in changed["verdicts"] if entry["split"] == split]
    for entry, (outcome, difference, p) in zip(entries, compare_methods, strict=True):
        entry |= {"outcome": outcome, "difference": difference, "within": p, "beyond": p}
        entry |= {"simultaneous": [difference - 0.3, difference + 0.3]}
    return changed


# The verdict


def test_each_split_lists_methods_within_outside_and_undecided(results):
    found = ("worse than margin", -7.8, 1e-9), ("within margin", -0.12, 0.004), ("open", -0.41, 0.2)
    told = judged(results, *found)
    headline, answer, random, spatial, *_ = conclusions_text(told).splitlines()
    assert headline.startswith("LoRA: no loss above 0.5 points on the random split and ")
    assert answer.startswith(
        "On the random split LoRA is within 0.5 points of full fine-tuning (−0.12 points, simultaneous 95 % "
        "interval −0.42 to +0.18); on the spatial split "
    )
    assert random.startswith("On the random split full fine-tuning reached 9")
    assert "on 600 test tiles over 2 seeds. " in random
    within = "Within 0.5 points of it (p = 0.004 corrected for 3 comparisons): LoRA (−0.12 points, "
    assert f"{within}simultaneous 95 % interval −0.42 to +0.18)." in random
    beyond = "Less accurate by more than 0.5 points (p < 0.001 corrected for 3 comparisons): linear probing"
    assert f"{beyond} (−7.80 points, " in random
    assert "Open whether within 0.5 points of it: DoRA (−0.41 points, " in random
    assert spatial.startswith("On the spatial split full fine-tuning reached ")


def test_of_several_methods_the_largest_p_value_is_stated(results):
    found = (
        ("worse than margin", -7.8, 1e-9),
        ("within margin", -0.12, 0.004),
        ("within margin", 0.02, 0.0111),
    )
    text = conclusions_text(judged(results, *found))
    assert "Within 0.5 points of it (p ≤ 0.011 corrected for 3 comparisons): LoRA (−0.12 points" in text


def test_the_gap_between_the_splits_is_stated_with_its_extremes(results):
    told = copy.deepcopy(results)
    for gap, difference in zip(told["gaps"], (0.031, 0.084, 0.029, 0.03), strict=True):
        gap |= {"difference": difference, "low": difference - 0.02, "high": difference + 0.02}
    extremes = "2.9 (LoRA) to 8.4 (linear probing) points."
    few = "From the random to the spatial split methods lose "  # two seeds make such intervals too narrow
    assert few + extremes in conclusions_text(told)
    for summary in told["summaries"]:
        summary["seeds"] = [0, 1, 2]
    assert f"Every method is less accurate on the spatial split, by {extremes}" in conclusions_text(told)
    told["gaps"][0]["low"] = -0.001  # of full fine-tuning it is not known
    assert few + extremes in conclusions_text(told)


def test_savings_are_stated_for_methods_within_the_margin_on_every_split(results):
    within = ("within margin", 0.1, 0.01)
    told = judged(results, within, within, within)
    told = judged(told, ("worse than margin", -9, 0.01), within, within, split="spatial")
    assert (
        "Of the methods within the margin on every split, LoRA stores the least, 0.46 MB instead of 22.1 MB"
        in conclusions_text(told)
    )


def test_where_the_reference_failed_on_a_split_the_other_takes_its_place_there(results):
    changed = copy.deepcopy(results)
    changed["runs"] = [r for r in changed["runs"] if (r["method"], r["split"]) != ("full", "spatial")]
    changed["summaries"] = [s for s in changed["summaries"] if s["group"] != "full-spatial"]
    spatial = [entry for entry in changed["verdicts"] if entry["split"] == "spatial"]
    for entry in spatial:
        entry |= {"method": "lora", "reference": "linear"}
    assert "On the spatial split linear probing reached " in conclusions_text(changed)
    assert row(changed, "full fine-tuning")["Test accuracy, spatial split (95 % interval)"] == "–"


def test_few_methods_are_compared_with_their_intervals():
    results = Large(("full", "lora"), ("random",), seeds=2, count=200).results
    entry = results["verdicts"][0]
    assert "On the" not in conclusions_text(results)
    assert re.search(
        r"LoRA \([−+]?\d+\.\d+ points, 95 % interval [−+].+ to [−+].+\)\.", conclusions_text(results)
    )
    assert re.search(
        r"LoRA trained 2.00 % of its parameters, took .+× the CPU time", conclusions_text(results)
    )
    assert "corrected" not in conclusions_text(results) and entry["family"] == 1


def test_with_one_seed_the_verdict_is_of_the_trained_models():
    results = Large(("full", "lora"), ("random",), seeds=1, count=100).results
    assert "With one seed each, this holds for these trained models" in conclusions_text(results)


def test_a_schedule_whose_last_epoch_is_mostly_the_best_is_called_short():
    results = Large(("full", "lora"), ("random",), seeds=3, count=100).results
    counts = "in 2 of 3 runs of full fine-tuning and 2 of 3 runs of LoRA; longer schedules were not tried."
    assert f"The last epoch was the best on validation tiles {counts}" in conclusions_text(results)
    automatic = copy.deepcopy(results)
    for run in automatic["runs"]:
        run["result"]["recipe"]["epochs"] = "auto"
    assert "last epoch" not in conclusions_text(automatic)
    for run in results["runs"]:
        run["result"]["best_epoch"] = 2
    assert "last epoch" not in conclusions_text(results)


def test_one_method_over_seeds_is_compared_with_nothing():
    results = Large(("lora",), ("random",), seeds=2, count=100).results
    assert "on 100 test tiles over 2 seeds" in conclusions_text(results)
    assert "No other method was finished to compare it with." in conclusions_text(results)


def test_failures_are_named(results):
    assert "DoRA random-seed2 diverged." in conclusions_text(results)
    assert failure_lines(StudyResults.from_json(results)) == [
        "DoRA random-seed2 diverged: Training diverged: the loss is not finite."
    ]


# The table


def test_a_row_has_the_means_of_a_method_on_each_split(results):
    lora = row(results, "LoRA")
    summary = next(s for s in results["summaries"] if s["group"] == "lora-spatial")["accuracy"]
    ends = f"{100 * summary['low']:.1f}–{100 * summary['high']:.1f}"
    assert lora["Test accuracy, spatial split (95 % interval)"] == f"{100 * summary['mean']:.1f} % ({ends})"
    assert re.fullmatch(r"\d\d\.\d %", lora["Macro-F1, spatial split (95 % interval)"])  # of an older version
    assert lora["Size on disk"] == "0.46 MB (0.021×)"


def test_a_mean_cost_has_the_lowest_and_the_highest_of_its_runs_beside_it(results, markdown):
    costs = {
        method: [
            run["result"]["cost"]["cpu_seconds"]
            for run in results["runs"]
            if run["status"] == "done" and run["method"] == method and run["sweep"] is None
        ]
        for method in ("full", "lora")
    }
    full, lora = (f"{min(own):.0f}–{max(own):.0f} s" for own in costs.values())
    assert min(costs["lora"]) < max(costs["lora"])
    assert f"({full})" in row(results, "full fine-tuning")["CPU time of a run"]
    assert re.search(rf" \({lora}; \d\.\d+×\)", row(results, "LoRA")["CPU time of a run"])
    assert "; beside a cost the lowest and the highest of the runs; × marks the ratio" in markdown


def test_times_of_runs_beside_each_other_say_so_in_every_table(markdown):
    shared = "; times are of runs that shared the machine:"
    for caption in ("All finished runs", "Learning-rate trials", "Planned cost"):
        assert re.search(rf"^{caption}.*{shared}$", markdown, re.MULTILINE)


def test_the_gap_between_the_splits_stands_beside_that_at_one_mix(markdown):
    assert "| Method | Accuracy as it is (95 % interval) | At the class mix of the random split" in markdown
    assert re.search(r"\| LoRA \| \+\d\.\d\d \(.+ to .+\) \| \+\d\.\d\d \| \+\d\.\d\d \|", markdown)


def test_a_failed_run_is_a_row_and_a_sweep_is_not(results):
    names = [line[0] for line in comparison_table(results)[1]]
    assert names == ["full fine-tuning", "linear probing", "LoRA", "DoRA", "DoRA random-seed2"]


def test_wall_clock_times_of_runs_beside_each_other_are_left_out(results, markdown):
    assert "Train time per epoch" not in row(results, "LoRA")
    assert "CPU time of a run" in row(results, "LoRA")
    assert "wall-clock times are not comparable: this table leaves them out, and the tables below" in markdown
    assert "figures/cost-cpu-random-split.svg" in markdown and "figures/cost-time" not in markdown


def test_where_joules_are_known_a_run_is_compared_with_a_lamp():
    run = done("lora", 0.9, 100, CLASSES)
    run["result"]["cost"] |= {"energy_joules": 1800.0, "energy_source": "joules of the GPU"}
    results = study(run, count=100)
    assert row(results, "LoRA")["Energy of a run"] == "like a 10 W lamp for 3.0 min"


def test_the_table_of_a_window_fits_100_characters(capsys):
    from orbitune.cli.output import print_table

    results = Large(tuple(SKILL), seeds=1, count=1000).results
    print_table(*terminal_table(StudyResults.from_json(results)))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 2 * len(SKILL)
    assert max(map(len, lines)) <= 100
    scores = 2 * r" +\d\d\.\d\d \(\d\d\.\d\d–\d\d\.\d\d\)"
    assert "accuracy, random, %  accuracy, spatial, %" in lines[0]
    assert re.search(rf"^\(IA\)³{scores} +\d\d", lines[-2])
    assert re.search(r"^  macro-F1, % +\d\d\.\d\d +\d\d\.\d\d *$", lines[-1])


def test_a_trivial_classifier_that_is_as_accurate_as_the_best_method_is_warned_of(results):
    assert cautions(StudyResults.from_json(results)) == []
    easy = copy.deepcopy(results)
    for record in easy["leakage_checks"]:
        record["baselines"][0]["test"]["accuracy"] = 1.0
    first, second = cautions(StudyResults.from_json(easy))
    assert first.startswith(
        "Warning: colour statistics alone reach 100.0 % on the random split, and no method"
    )
    assert "on the spatial split, and no method more: the best, " in second
    assert conclusions_text(easy).startswith(f"{first}\n{second}\n")


def test_the_answer_of_a_study_with_few_training_tiles_says_how_many(results):
    assert "trained on" not in conclusions_text(results)
    few = copy.deepcopy(results)
    for run in few["runs"]:
        run["shots"] = 20
    assert "test tiles of each split, trained on 20 tiles of each class." in conclusions_text(few)


@pytest.mark.parametrize(
    ("passes", "note"),
    [
        ({5: 80, 100: 5, None: None}, ["80 times at 5 and 5 times at 100, else once."]),
        ({2: 20, 4: 20}, []),  # ranks, all with the same few tiles
        ({2: None, 4: None}, []),
    ],
)
def test_a_sweep_says_how_often_an_epoch_passes_over_its_tiles_where_that_differs(results, passes, note):
    view = ReportView(StudyResults.from_json(results))
    points = []
    for value, times in passes.items():
        group = copy.deepcopy(view.groups[0])
        run = group.runs[0]
        recipe = run.finished.recipe.model_copy(update={"passes": times})
        done = run.model_copy(update={"result": run.finished.model_copy(update={"recipe": recipe})})
        points.append((value, replace(group, runs=[done])))
    said = [f"An epoch passes over its training tiles {each}" for each in note]
    assert passes_note({"LoRA": points}) == said


# The long part


def test_every_verdict_has_a_row_and_its_sentences(results, markdown):
    assert "| Method | Split | Difference, points (simultaneous 95 % interval) |" in markdown
    for entry in results["verdicts"]:
        assert f"- {entry['split'].capitalize()} split. Over 2 seeds" in markdown
    table = markdown[markdown.index("| Method | Split |") :].split("\n\n")[0].splitlines()
    assert [line.split(" | ")[:2] for line in table[2:]] == [
        [f"| {method}", split]
        for split in ("random", "spatial")
        for method in ("linear probing", "LoRA", "DoRA")
    ]


def test_confusion_is_of_the_reference_and_the_closest_method_alone(folder):
    names = sorted(path.stem for path in (folder / "figures").glob("confusion-*"))
    assert names == [f"confusion-{m}-{s}" for m in ("dora", "full") for s in ("random", "spatial")]
    first = (folder / "figures" / "confusion-full-random.svg").read_text()
    assert "of 1,200 tiles are correct" in first  # 600 for each of two seeds


def test_a_sweep_joins_its_values_with_that_of_the_comparison(results, markdown):
    assert "## Fewer training tiles" in markdown and "## Ranks" not in markdown
    table = markdown[markdown.index("| Training tiles per class |") :].split("\n\n")[0].splitlines()
    assert [line.split(" | ")[0] for line in table[2:]] == ["| 1", "| 10", "| all"]
    base = next(s for s in results["summaries"] if s["group"] == "lora-random")["accuracy"]
    assert f"| {100 * base['mean']:.1f} % (" in table[-1]


def test_the_points_of_a_sweep_are_judged_in_the_conclusions_and_a_table(tmp_path):
    results = read_results(DOCS / "results" / "eurosat-sizes")
    write_report(results.to_json(), tmp_path)
    markdown = (tmp_path / "report.md").read_text()
    assert "\n- At 112 pixels (exploratory), full fine-tuning reached 94.99 % test accuracy" in markdown
    section = markdown[markdown.index("## Image sizes") :]
    assert "\n| 112 | LoRA | −0.31 (−0.94 to +0.32) | 1 | within the margin |" in section
    assert "LoRA against full fine-tuning and all points of sweeps; classes" in markdown
    assert "at that point, at the learning rates of the comparison." in markdown


def test_the_alarms_stand_in_sentences_and_in_the_picture(folder, markdown):
    assert "- Random split. Train and test tiles: 2 of 600 test tiles are near-duplicates" in markdown
    assert re.search(r"- Spatial split. Colour statistics alone reach .+ 95 % interval", markdown)
    assert "colours alone" in (folder / "figures" / "accuracy.svg").read_text()


def test_tiles_that_are_disputed_are_shown_with_who_was_right(page, markdown, results):
    sources = re.findall(r'<img src="(.{22})', page)
    assert sources == ["data:image/png;base64,"] * sum(len(e["tiles"]) for e in results["disagreements"])
    assert "img-src data:" in page
    assert re.search(r"<b>1. \w+</b><span>Correct: full fine-tuning", page)
    assert "](tiles/disagreements-random.png)" in markdown


def test_without_its_image_a_disputed_tile_is_described_in_text(tmp_path):
    results = Large(("full", "linear"), ("random",), seeds=1, count=50).results
    write_report(results, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "<img" not in page and "The image file is missing" in page
    assert "<span>Correct: full fine-tuning</span>" in page


def test_the_pictures_of_calibration_name_the_errors_of_the_table(tmp_path):
    results = read_results(DOCS / "results" / "aid-study")
    write_report(results.to_json(), tmp_path)
    markdown = (tmp_path / "report.md").read_text()
    before, after = re.findall(r"Expected calibration errors: full fine-tuning (\S+ %)", markdown)
    assert f" | {before} → {after} | " in markdown


def test_calibration_and_robustness_have_figures_and_tables(folder, markdown):
    names = {path.stem for path in (folder / "figures").iterdir()}
    for name in ("reliability-before-random", "reliability-after-spatial", "robustness-haze-random"):
        assert f"{name}-split" in names
    error, noise = r"\d\.\d\d % → \d\.\d\d %", r"\d\.\d\d–\d\.\d\d % → \d\.\d\d–\d\.\d\d %"
    assert re.search(rf"^\| LoRA \| \d\.\d\d, \d\.\d\d \| {error} \| {noise} \|", markdown, re.M)
    assert "| Haze 5 |" in markdown


def losses(results, split="random"):
    return {r["method"]: r for r in results["robustness"] if r["split"] == split}


def test_the_loss_of_each_method_by_corruptions_is_in_a_sentence_and_a_table(markdown, results):
    for record in losses(results).values():
        loss = 100 * (record["clean"]["accuracy"] - record["mean"])
        name, mean = method_name(record["method"]), f"{100 * record['mean']:.1f} %"
        assert re.search(
            rf"^- {name} loses {loss:.1f} points .+ interval .+ by corruptions, from .+ to {mean}",
            markdown,
            re.M | re.I,
        )
        assert re.search(rf"^\| {name} \| 0 \| .+ \| {mean} \| {loss:.1f} \|", markdown, re.M | re.I)
    points = [100 * (r["clean"]["accuracy"] - r["mean"]) for r in losses(results).values()]
    assert (
        f"cost {min(points):.1f} (DoRA) to {max(points):.1f} (full fine-tuning) points"
        in conclusions_text(results)
    )


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        ([0.20, 0.24], "The intervals of LoRA and full fine-tuning overlap, so these runs cannot tell"),
        (
            [0.02, 0.03],
            r"LoRA, as trained with seed 0, loses \d+.\d points less than full fine-tuning, and their",
        ),
        (None, "The losses of LoRA and full fine-tuning have no interval, so they are not compared"),
    ],
)
def test_losses_are_called_different_where_their_intervals_do_not_overlap(results, interval, words):
    changed = copy.deepcopy(results)
    for record in changed["robustness"]:
        if record["method"] == "lora":
            record["loss_interval"] = interval
        else:
            record["loss_interval"] = [0.19, 0.25]
    sentences = loss_sentences(ReportView(StudyResults.from_json(changed)), "random")
    assert re.search(words, " ".join(sentences))


def test_trials_are_folded_and_name_their_errors(markdown):
    assert "learning-rate trials</summary>" in markdown
    assert "| LoRA | random | 0.001 | 0 | 2 | 89.9 % | 12.5 s | chosen |" in markdown
    assert "| 0.009 | 0 | 2 | – | – | Training diverged: the loss is not finite. |" in markdown


def test_reads_of_the_test_split_are_counted(results, markdown):
    runs = sum(run["status"] == "done" for run in results["runs"])
    assert f"The test split was read once by each of {runs} runs" in markdown
    assert "DoRA random-seed2 never read it." in markdown
    assert "trials never read it." in markdown


def test_a_run_that_read_the_test_split_twice_is_named(results):
    changed = copy.deepcopy(results)
    changed["runs"][0]["result"]["test_reads"] = 2
    assert "Full fine-tuning random-seed0 read it twice" in " ".join(
        describe_runs(ReportView(StudyResults.from_json(changed)))
    )


def test_recipes_are_one_for_each_method_with_what_its_runs_vary(markdown):
    assert markdown.count("<summary>Resolved for") == 4
    block = markdown[markdown.index("<summary>Resolved for LoRA, 4 runs") :].split("```")[1]
    assert "split:\n- random\n- spatial\n" in block and "seed:\n- 0\n- 1\n" in block
    assert "| seed |" not in markdown


def test_the_command_that_rebuilds_names_the_folder_of_the_study(markdown):
    assert "orbitune report runs/large" in markdown


@pytest.mark.slow
def test_the_same_results_and_tiles_give_the_same_bytes(tmp_path):
    small = Large(("full", "lora"), ("random",), seeds=1, count=50)
    for place in ("one", "other"):
        write_report(copy.deepcopy(small.draw(tmp_path / place).results), tmp_path / place)
    for path in sorted(path for path in (tmp_path / "one").rglob("*") if path.is_file()):
        other = tmp_path / "other" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == other.read_bytes()


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_does_not_scroll_sideways(folder, width):
    if not Path("/usr/bin/chromium").exists():
        pytest.skip("needs /usr/bin/chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    problems = []
    with playwright.sync_playwright() as play:
        options = {"executable_path": "/usr/bin/chromium", "args": ["--no-sandbox", "--disable-gpu"]}
        with play.chromium.launch(**options) as browser:
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.on("console", lambda message: problems.append(message.text))
            page.goto((folder / "report.html").as_uri())
            page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert page.evaluate("[...document.images].every(each => each.naturalWidth === 64)")
    assert not problems


def test_the_first_page_is_the_answer_with_one_table_and_one_picture(page, markdown):
    first = page[page.index("<header") : page.index("<nav")]
    assert first.count('class="headline"') == 1
    assert first.count("<table>") == 1 and first.count("<figure") == 1
    title, _, _, _, headline, _, answer, *_ = markdown.splitlines()
    assert title.startswith("# ") and headline.startswith("**LoRA: ") and headline.endswith("smaller.**")
    for part in ("2 seeds", "600 test tiles", "0.5 points", "simultaneous 95 % interval"):
        assert part in answer
    assert markdown.index("## Conclusions") < markdown.index("## Verdicts")


def test_the_methods_are_paragraphs_on_data_training_evaluation_statistics_and_computing(markdown):
    methods = markdown.split("## Methodology", 1)[1]
    names = ["Data", "Training", "Evaluation", "Statistics", "Computing"]
    assert re.findall(r"^- (\w+)\. ", methods, flags=re.MULTILINE)[:5] == names
    assert "with a margin of 0.5 points" in methods and "with m = 3 comparisons" in methods
