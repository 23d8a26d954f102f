"""The documentation has every name, living links, and measured figures."""

import json
import re
import runpy
import statistics
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from pages import DOCS, PAGES, ROOT, STUDIES, page_name, read_page
from samples import backbone_folder, tile_folder
from scenes import small_scene

import orbitune
from orbitune import Recipe
from orbitune.bench.figures import bytes_per_task
from orbitune.models.methods import METHODS

# Links and generated pages


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"], ids=page_name)
def test_links_lead_to_files_that_exist(page):
    generated = {"cli.md", "files.md", "imports.md", "methods.md"}
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in link and Path(link).name not in generated:
            assert (page.parent / link).exists(), f"{page_name(page)} links to {link}"


def anchors(page):
    """The anchors of a page's headings, as MkDocs writes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", head).strip().lower()) for head in headings}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"], ids=page_name)
def test_links_to_a_section_lead_to_a_heading_that_exists(page):
    for link, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", page.read_text()):
        target = page.parent / link if link else page
        if "://" not in link and target.exists():
            assert anchor in anchors(target), f"{page_name(page)} links to {link}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_to_papers_have_the_form_of_arxiv_numbers_and_dois(page):
    for address in re.findall(r"https?://(?:www\.)?(?:dx\.)?((?:arxiv|doi)\.org/[^)\s]+)", page.read_text()):
        assert re.fullmatch(r"arxiv\.org/abs/\d{4}\.\d{4,5}|doi\.org/10\.\d{4,9}/\S+", address), address


@pytest.fixture(scope="module")
def generated():
    return runpy.run_path(str(DOCS / "reference_pages.py"), run_name="reference_pages")["pages"]()


def test_the_reference_has_every_command_and_every_setting(generated):
    page = generated["reference/cli.md"]
    for command in ("train", "study", "predict", "serve", "map", "adapters merge"):
        assert f"## orbitune {command}\n" in page
    for setting in set(Recipe.model_fields) - {"lora"}:
        assert f"`--{setting.replace('_', '-')}`" in page
    assert all(f"| `{setting}` |" in generated["reference/files.md"] for setting in Recipe.model_fields)


def test_the_reference_describes_every_stored_field(generated):
    rows = [line for line in generated["reference/files.md"].splitlines() if line.startswith("| `")]
    unexplained = [row for row in rows if re.search(r"\|  \|$|\| \\?\[default", row)]
    assert len(rows) > 100 and not unexplained


def test_no_folder_imports_from_above_in_the_reference(generated):
    rows = re.findall(r"^\| `(\w+)/` \| (.*) \|$", generated["reference/imports.md"], re.MULTILINE)
    above = dict(rows)
    assert "`sources/`" in above["data"] and "`cli/`" not in " ".join(above.values())


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.name)
def test_the_reference_lists_every_method_with_its_paper(method, generated):
    page = generated["reference/methods.md"]
    assert f"| `{method.name}` |" in page
    for paper in re.findall(r"arXiv:[0-9.]+[0-9]", method.paper):
        assert paper in page


def test_every_public_name_is_in_the_reference():
    page = (DOCS / "reference" / "api.md").read_text()
    assert set(re.findall(r"^::: orbitune\.(\w+)$", page, re.MULTILINE)) == set(orbitune.__all__) - {
        "__version__"
    }


# Figures


@pytest.mark.parametrize(("page", "write"), [("README.md", "with_claim"), ("docs/index.md", "with_answer")])
def test_what_a_page_says_of_the_committed_study_is_written_from_it(page, write):
    written = runpy.run_path(str(DOCS / "readme_claim.py"))[write]
    text = (ROOT / page).read_text()
    assert written(text) == text


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_a_committed_report_follows_from_its_results(tmp_path, study):
    from orbitune.study.report import write_report
    from orbitune.study.results import read_results

    write_report(read_results(study), tmp_path)
    assert (tmp_path / "report.md").read_text() == (study / "report.md").read_text()


@pytest.mark.parametrize(
    "page",
    [
        page
        for page in PAGES
        if "results" not in page.parts
        and re.search(r"9[0-9]\.[0-9]+ % (of|\|)|9[0-9]\.[0-9]+ % \(", read_page(page))
    ],
    ids=page_name,
)
def test_a_page_with_an_accuracy_names_split_size_precision_and_code(page):
    text = " ".join(read_page(page).split())
    if page.name == "original-study.md":  # published elsewhere
        pytest.skip("the figures are not ours")
    assert re.search(r"(split|lists) that the data come with|drawn with seed|with seed 42", text)
    assert re.search(r"\d+ pixels", text) and re.search(r"\b(bf16|fp32)\b", text)
    assert re.search(r"Orbitune \d|code (before|of)|benchmark\]\(", text)


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_the_records_of_a_committed_study_are_committed_and_give_its_accuracies(study):
    for run in json.loads((study / "results.json").read_text())["runs"]:
        with np.load(study / "runs" / run["name"] / "predictions.npz") as stored:
            right = stored["test_logits"].argmax(1) == stored["test_labels"]
        assert right.mean() == pytest.approx(run["result"]["test"]["accuracy"])


@pytest.mark.parametrize("file", sorted((DOCS / "results").glob("bench-*.json")), ids=lambda file: file.stem)
def test_a_committed_benchmark_report_follows_from_its_results(tmp_path, file):
    from orbitune.bench.records import BenchResults
    from orbitune.bench.report import write_bench_report

    write_bench_report(BenchResults.from_json(json.loads(file.read_text())), tmp_path / "report.md")
    assert (tmp_path / "report.md").read_text() == file.with_suffix(".md").read_text()


def test_the_speeds_of_the_fast_path_in_the_docs_are_those_of_the_committed_benchmarks():
    files = [file for kind in ("eurosat", "gpu") for file in (DOCS / "results").glob(f"bench-{kind}*.md")]
    reports = "".join(file.read_text() for file in files)
    found = re.findall(r"\d+\.\d\d \(\d+\.\d\d\u2013\d+\.\d\d\)", read_page("concepts/fast-path.md"))
    assert len(found) > 10
    assert not [figure for figure in found if figure.replace(" (", "\u00d7 (") not in reports]


@pytest.mark.parametrize(
    ("name", "words"),
    [("vit-tiny", "right after {:.0f} seconds"), ("vit-tiny-fp32", "took {:.0f} seconds")],
)
def test_the_time_of_the_fast_recipe_in_the_docs_is_that_of_the_committed_benchmark(name, words):
    file = DOCS / "results" / f"bench-fast-recipe-eurosat-{name}.json"
    [figure] = json.loads(file.read_text())["figures"]
    assert words.format(figure["value"]) in " ".join(read_page("guides/train.md").split())


def test_the_speeds_and_losses_of_int8_files_in_the_docs_are_those_of_the_committed_benchmark():
    results = json.loads((DOCS / "results" / "bench-serving-eurosat-vit-tiny.json").read_text())
    merged, merged_one, *_, plain, plain_one = (
        f"{each['median']:.2f} times"
        for each in results["comparisons"]
        if each["title"].startswith("int8 ONNX")
    )
    lost = results["figures"][0]
    low, high = lost["interval"]
    page = " ".join(read_page("guides/export.md").split())
    assert f"has {merged} the images per second at 64 tiles and {merged_one} at one" in page
    assert f"without merging it is {plain.removesuffix(' times')} and {plain_one}" in page
    assert f"loses {lost['value']:.2f} points" in page
    assert f"interval {low:.2f} to {high:.2f}".replace("-", "\u2212") in page


def test_the_answers_of_the_service_in_the_docs_are_those_of_the_committed_benchmark():
    file = DOCS / "results" / "bench-service-eurosat-vit-tiny.json"
    figures = {each["title"]: each for each in json.loads(file.read_text())["figures"]}
    page = " ".join(read_page("guides/serve.md").split())
    for engine, words in (
        ("PyTorch", "with PyTorch, the default engine"),
        ("int8 ONNX", "in int8 with ONNX Runtime"),
    ):
        figure = figures[f"99 % of the answers to 50 clients, {engine}"]
        rate = dict(figure["details"])["answers"].split(", ")[1].removesuffix("/s")
        assert f"at most {1000 * figure['value']:.0f} ms {words} ({rate} answers a second" in page


def test_the_figures_of_the_page_in_the_browser_in_the_docs_are_the_measured_ones():
    measured = json.loads((DOCS / "results" / "web-page.json").read_text())
    page = " ".join(read_page("guides/export.md").split())
    size, first = measured["bytes_before_first_answer"] / 1e6, measured["first_answer_seconds"]
    assert f"takes {size:.1f} MB and {first:.1f} seconds to the first answer" in page
    assert f"then {measured['tile_milliseconds']['first']['picture']:.0f} ms for a picture" in page


def test_the_agreement_of_maps_in_the_browser_in_the_docs_is_the_measured_one():
    scenes = json.loads((DOCS / "results" / "web-scene.json").read_text())["scenes"]
    cells = sum(each["cells_with_data"] for each in scenes)
    same = sum(each["same"] * each["cells_with_data"] for each in scenes) / cells
    page = " ".join(read_page("guides/export.md").split())
    assert f"of {cells:,} cells of {len(scenes)} scenes {100 * same:.1f} % have the label that" in page


def test_the_accuracies_of_fewer_tokens_in_the_docs_are_those_of_the_committed_benchmark():
    results = json.loads((DOCS / "results" / "bench-fewer-tokens-eurosat-vit-tiny.json").read_text())
    page = read_page("guides/train.md")
    for figure in results["figures"][:7]:
        options = figure["measure"].get("recipe", {}).items()
        words = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in options)
        before, after = re.findall(r"\((\d+) passes\)", figure["details"][0][1])
        row = f"| {f'`{words}`' if words else 'none'} | {before} to {after} | {figure['value']:.1%} |"
        assert row.replace("%", " %") in page


def test_the_accuracy_of_few_tiles_in_the_docs_is_that_of_the_committed_benchmark():
    [figure] = json.loads((DOCS / "results" / "bench-few-tiles.json").read_text())["figures"]
    assert f"reached {figure['value']:.1%} on".replace("%", " %") in read_page("guides/few-tiles.md")


def test_the_speeds_of_vit_base_in_the_docs_are_those_of_the_committed_benchmark():
    arms = json.loads((DOCS / "results" / "bench-eurosat-vit-base.json").read_text())["arms"]
    lines = (DOCS / "original-study.md").read_text().splitlines()
    rows = [line.split(" | ") for line in lines if line.endswith(" GB |")]
    measured = set()
    for arm in (each["measured"] for each in arms):
        speed = statistics.median(each["images_per_second"] for each in arm)
        memory = statistics.median(each["peak_rss_bytes"] for each in arm) / 1e9
        measured.add((f"{speed:.1f}", f"{3 * 16_200 / speed / 3600:.1f}", f"{memory:.2f} GB |"))
    assert len(rows) == 5 and {tuple(row[1:]) for row in rows} <= measured


@pytest.mark.parametrize(
    "file", sorted((DOCS / "results").glob("reliability.json")), ids=lambda file: file.stem
)
def test_the_committed_page_on_reliability_follows_from_its_results(file, monkeypatch):
    folder = ROOT / "benchmarks" / "reliability"
    monkeypatch.syspath_prepend(str(folder))
    page = runpy.run_path(str(folder / "report.py"))["page"]
    assert page(json.loads(file.read_text())) == file.with_suffix(".md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_sizes_of_an_adapter_in_the_docs_are_those_of_its_file(dtype):
    size = bytes_per_task.measure(classes=10, dtype=dtype)["value"]
    assert f"1/{size:.0f} " in read_page("guides/adapters.md")


@pytest.mark.parametrize(
    "file", sorted((DOCS / "results").glob("bench-scenes-*.json")), ids=lambda file: file.stem
)
def test_the_figures_of_the_next_scene_in_the_docs_are_those_of_the_committed_benchmark(file):
    page = read_page("concepts/next-scene.md")
    found = [(each["measure"], each["value"]) for each in json.loads(file.read_text())["figures"]]
    right, wrong, forced = (value for measure, value in found if measure["kind"] == "scene-accuracy")
    assert f"{right:.2f} right and {wrong:.2f} wrong" in page
    assert f"with `--no-not-sure` {forced:.2f} right" in page
    values = {measure["kind"]: value for measure, value in found}
    assert f"most sure of, {100 * values['scene-risk']:.0f} % are wrong" in page
    assert f"make {100 * values['corrupted-errors-gone']:.0f} % of the errors disappear" in page


@pytest.mark.parametrize("name", sorted(p.name for p in (ROOT / "examples").glob("*.yaml")))
def test_every_example_recipe_is_valid(name):
    Recipe.load(ROOT / "examples" / name)


# The three paths of docs/architecture.md


def listed_path(title):
    """The files that the page lists under a heading."""
    section = (DOCS / "architecture.md").read_text().split(f"### {title}\n")[1].split("\n#")[0]
    return re.findall(r"^\d+\. `([\w/]+\.py)`", section, re.MULTILINE)


@pytest.fixture
def traced():
    """A function that returns a package's files in the order of first calls."""
    root = str(Path(orbitune.__file__).parent) + "/"

    def trace(function):
        called = {}

        def note(frame, event, _):
            code = frame.f_code
            if event == "call" and code.co_filename.startswith(root) and code.co_flags & 1:  # a function
                called.setdefault(code.co_filename.removeprefix(root))

        sys.setprofile(note)
        threading.setprofile(note)
        try:
            function()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
        return list(called)

    return trace


def check_path(title, called):
    path = listed_path(title)
    assert 5 <= len(path) <= 10 and len(set(path)) == len(path)
    assert [file for file in called if file in path] == path


def test_a_tile_goes_through_training_as_documented(traced, tmp_path):
    tile_folder(tmp_path / "tiles", each=11)
    backbone = backbone_folder(tmp_path / "backbone")
    recipe = Recipe(data=str(tmp_path / "tiles"), backbone=str(backbone), epochs=1, batch_size=8)
    check_path(
        "A tile through training", traced(lambda: orbitune.train(recipe, tmp_path / "run", progress=False))
    )


def test_an_image_goes_through_predict_as_documented(traced, bundle, runs):
    tile = next((runs / "tiles").rglob("*.png"))
    called = traced(lambda: list(orbitune.Classifier(bundle.folder).predict([tile])))
    check_path("An image through predict", called)


def test_a_scene_goes_through_map_as_documented(traced, bundle, tmp_path):
    scene = small_scene(tmp_path)
    called = traced(
        lambda: orbitune.map_scene(bundle.folder, scene, outputs=tmp_path / "map.tif", progress=False)
    )
    check_path("A scene through map", called)
