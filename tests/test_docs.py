"""Commands and snippets of the documentation run, and its figures are those of the committed results."""

import json
import re
import runpy
import shlex
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from band_tiles import band_tile_folder
from commands import orbitune as run_command
from safe_products import write_safe
from samples import backbone_folder, tile_folder
from scenes import write_scene

import orbitune
from orbitune import Recipe
from orbitune.models.methods import METHODS
from orbitune.yaml_files import read_yaml

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
RESULTS = DOCS / "results" / "eurosat-vit-tiny-112"
STUDY = DOCS / "results" / "eurosat-study"
PAGES = [ROOT / "README.md", *sorted(p for p in DOCS.rglob("*.md") if "results" not in p.parts)]


def page_name(page):
    return str(page.relative_to(ROOT))


def read_page(name):
    """The text of a page of docs/ in one line."""
    return (DOCS / name).read_text().replace("\n", " ")


# Commands and snippets


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page):
    """The commands of a page, each as a list of words."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("orbitune ")]


ALL = [(page_name(page), words) for page in PAGES for words in commands(page)]
TRAINS = {"train", "prepare", "plan"}  # take a recipe
RUN = TRAINS | {
    *("evaluate", "predict", "bundle", "map", "export", "adapters", "import", "doctor", "methods", "report"),
}
# What is trained or needed in one page by a name that another page makes.
TINY = {
    "google/vit-base-patch16-224": "backbone",
    "num_labels=10": "num_labels=3",
    "Forest,River,Lake": "class_0,class_1,class_2",
}


@pytest.mark.parametrize(("page", "words"), ALL, ids=[" ".join(words[:4]) for _, words in ALL])
def test_a_command_of_the_docs_has_these_options(page, words):
    import typer

    from orbitune.cli.main import app

    command, rest = typer.main.get_command(app), words[1:]
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context(words[1], list(rest))


def small_scene(folder):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    return write_scene(folder / "scene.tif", pixels)


def small_product(folder):
    """A zip of a Sentinel-2 product of 64 x 64 pixels."""
    from rasterio.transform import from_origin

    bands = np.random.default_rng(0).integers(1050, 4000, (3, 64, 64)).astype(np.uint16)
    place = {"crs": "EPSG:32632", "transform": from_origin(600_000, 5_500_000, 10, 10)}
    named = dict(zip(("B02", "B03", "B04"), bands, strict=True))
    product = write_safe(folder / "products", named, level="L2A", offset=-1000, **place)
    shutil.make_archive(str(folder / product.name), "zip", product.parent)


def area_file(folder):
    """Write a polygon within `small_scene`."""
    import pyogrio
    import shapely

    area = shapely.box(600_100, 5_499_500, 600_500, 5_499_900)
    shape = shapely.to_wkb(np.array([area], object))
    pyogrio.raw.write(
        folder / "area.gpkg", shape, [], [], geometry_type="Polygon", crs="EPSG:32632", driver="GPKG"
    )


@pytest.fixture
def workplace(runs, bundle, tmp_path, monkeypatch):
    """A folder with all that the pages name: tiles, a scene, runs, bundles and a study."""
    shutil.copytree(runs / "backbone", tmp_path / "backbone")
    tile_folder(tmp_path / "tiles", each=12)
    band_tile_folder(tmp_path / "sentinel-tiles")
    shutil.copytree(tmp_path / "tiles" / "class_0", tmp_path / "new-tiles")
    (tmp_path / "tiles" / "splits").mkdir()
    for split, numbers in (("train", range(7)), ("val", range(7, 9)), ("test", range(9, 12))):
        names = [f"tile_{label}_{number}.png" for label in range(3) for number in numbers]
        (tmp_path / "tiles" / "splits" / f"spatial-{split}.txt").write_text("\n".join(names))
    shutil.copytree(
        runs / "run" / "adapter", tmp_path / "other-adapter", ignore=shutil.ignore_patterns("orbitune.json")
    )
    for name, run in (
        ("mine", "run"),
        ("crops", "run"),
        ("roofs", "other"),
        ("base", "run"),
        ("python", "run"),
    ):
        shutil.copytree(runs / run, tmp_path / "runs" / name)
    for name in ("land-cover", "crops"):
        shutil.copytree(bundle.folder, tmp_path / name)
    (tmp_path / "runs" / "study").mkdir()
    shutil.copy(RESULTS / "results.json", tmp_path / "runs" / "study")
    small_scene(tmp_path)
    small_product(tmp_path)
    for name in ("west.tif", "east.tif"):
        shutil.copy(tmp_path / "scene.tif", tmp_path / name)
    area_file(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def on_tiny_inputs(words):
    """The command with a tiny backbone, and with short training."""
    words = [TINY.get(word, word) for word in words]
    if words[1] in TRAINS | {"methods"} and not {"--recipe", "--backbone"} & set(words):
        words += ["--backbone", "backbone"]
    if words[1] in TRAINS and "--recipe" not in words:
        words += ["--epochs", "1", "--batch-size", "8"]
    return words


def runnable(page):
    budget = {"--memory-budget", "--time-budget"}  # measured in processes of their own; tested elsewhere
    return [words for words in commands(page) if words[1] in RUN and not budget & set(words)]


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if runnable(page)], ids=page_name)
def test_the_commands_of_a_page_run_one_after_the_other(page, workplace):
    for words in runnable(page):
        words = on_tiny_inputs(words)
        if "--out" in words and words[1] in ("train", "bundle"):
            shutil.rmtree(words[words.index("--out") + 1], ignore_errors=True)
        done = run_command(*words[1:])
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stderr}"


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=page_name)
def test_the_python_of_a_page_runs(page, workplace):
    code = "\n".join(blocks(page, "python"))
    for name, value in TINY.items():
        code = code.replace(name, value)
    code = code.replace("image_size=112", "image_size=32")
    if "backbone=" not in code:
        code = code.replace('Recipe(data="tiles"', 'Recipe(data="tiles", backbone="backbone"')
    shutil.rmtree("runs/python")
    exec(compile(code.replace("Recipe(", "Recipe(epochs=1, batch_size=8, "), page_name(page), "exec"), {})


# Links and generated pages


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"], ids=page_name)
def test_links_lead_to_files_that_exist(page):
    generated = {"cli.md", "files.md", "imports.md", "methods.md"}
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in link and Path(link).name not in generated:
            assert (page.parent / link).exists(), f"{page_name(page)} links to {link}"


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


def test_the_table_in_the_readme_is_written_from_the_committed_study():
    written = runpy.run_path(str(DOCS / "readme_claim.py"))["with_claim"]
    readme = (ROOT / "README.md").read_text()
    assert written(readme) == readme


def test_the_accuracies_in_the_docs_are_those_of_the_committed_study_at_112_pixels():
    results = json.loads((RESULTS / "results.json").read_text())
    accuracy = {run["method"]: 100 * run["result"]["test"]["accuracy"] for run in results["runs"]}
    text = f"full fine-tuning reached {accuracy['full']:.2f} % and LoRA {accuracy['lora']:.2f} %"
    assert text in read_page("results/index.md")


@pytest.mark.parametrize("folder", [RESULTS, STUDY], ids=lambda folder: folder.name)
def test_a_committed_report_follows_from_its_results(tmp_path, folder):
    from orbitune.study.report import write_report
    from orbitune.study.results import read_results

    write_report(read_results(folder), tmp_path)
    assert (tmp_path / "report.md").read_text() == (folder / "report.md").read_text()


@pytest.mark.parametrize("file", sorted((DOCS / "results").glob("bench-*.json")), ids=lambda file: file.stem)
def test_a_committed_benchmark_report_follows_from_its_results(tmp_path, file):
    from orbitune.bench.records import BenchResults
    from orbitune.bench.report import write_bench_report

    write_bench_report(BenchResults.from_json(json.loads(file.read_text())), tmp_path / "report.md")
    assert (tmp_path / "report.md").read_text() == file.with_suffix(".md").read_text()


def test_the_committed_page_on_reliability_follows_from_its_results(monkeypatch):
    folder = ROOT / "benchmarks" / "reliability"
    monkeypatch.syspath_prepend(str(folder))
    page = runpy.run_path(str(folder / "report.py"))["page"]
    found = json.loads((DOCS / "results" / "reliability.json").read_text())
    assert page(found) == (DOCS / "results" / "reliability.md").read_text()


@pytest.mark.parametrize(
    ("name", "titles"),
    [
        (
            "eurosat-vit-tiny",
            ["Same size and precision, against", "LoRA against full fine-tuning, both ours"],
        ),
        ("eurosat-dinov2-small", ["Same size and precision, against"]),
    ],
)
def test_the_speeds_in_the_docs_are_those_of_the_committed_benchmarks(name, titles):
    results = json.loads((DOCS / "results" / f"bench-{name}.json").read_text())
    for title in titles:
        [each] = [each for each in results["comparisons"] if each["title"].startswith(title)]
        assert f"{each['median']:.2f} times as fast" in read_page("concepts/fast-path.md")


def test_the_runs_in_the_docs_are_those_that_were_committed():
    page = (DOCS / "concepts" / "fast-path.md").read_text()
    runs = sorted((DOCS / "results" / "eurosat-dials").iterdir())
    assert len(runs) == 5
    for run in runs:
        result = json.loads((run / "result.json").read_text())
        accuracy, cost = f"{100 * result['test']['accuracy']:.2f} %", result["cost"]
        assert f"| {accuracy} | {cost['train_seconds']:.0f} s |" in page
        assert f"| {cost['peak_rss_bytes'] / 1e6:.0f} MB |" in page


def test_the_figures_of_prediction_in_the_docs_are_those_of_the_committed_benchmark():
    results = json.loads((DOCS / "results" / "bench-serving-eurosat-vit-tiny.json").read_text())
    adapters = read_page("guides/adapters.md")
    pipeline, peft, one = (each["median"] for each in results["comparisons"])
    assert f"{peft:.2f} times as fast as PEFT" in adapters and 0.9 < one < 1.1
    assert f"{pipeline:.2f} times as fast as the pipeline" in read_page("guides/export.md")
    sizes = [each["value"] for each in results["figures"] if each["measure"]["kind"] == "bytes-per-task"]
    assert all(f"1/{size:.0f}" in adapters for size in sizes)


def test_the_figures_of_maps_in_the_docs_are_those_of_the_committed_benchmark():
    results = json.loads((DOCS / "results" / "bench-maps-eurosat-vit-tiny.json").read_text())
    page = read_page("guides/map.md")
    seconds, memory, speedup, agreement = (each["value"] for each in results["figures"])
    assert f"takes {seconds:.0f} s and {memory / 1e6:.0f} MB" in page
    assert f"{speedup:.1f} times as fast as tile-wise prediction" in page
    assert f"the same label at {agreement:.1%}".replace("%", " %") in page


@pytest.mark.parametrize("name", ["eurosat-best-accuracy", "eurosat-fastest-98"])
def test_an_example_recipe_is_that_of_its_committed_run(name):
    results = json.loads((DOCS / "results" / name / "results.json").read_text())
    [run] = results["runs"]
    assert f"{100 * run['result']['test']['accuracy']:.2f} %" in read_page("results/index.md")
    example = read_yaml(ROOT / "examples" / f"{name.removeprefix('eurosat-')}.yaml")
    for setting in example.keys() - {"data", "backbone", "image_size"}:
        assert run["result"]["recipe"][setting] == example[setting]


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
    """A function that calls another and returns the package's files in the order of their first call."""
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
