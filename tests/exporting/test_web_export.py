"""`export --to web`: the page with its model, as files."""

import gzip
import json
import re
from dataclasses import replace

import numpy as np
import onnx
import pytest
from graphs import graph_of, small_model, tiles_of
from onnx import helper

from orbitune.errors import RunError
from orbitune.evaluation.ood import OODDetector
from orbitune.exporting.exporter import export
from orbitune.exporting.graph_builder import GraphBuilder
from orbitune.exporting.onnx_export import open_session
from orbitune.exporting.ood_nodes import add_ood_score
from orbitune.exporting.reference import ReferenceModel
from orbitune.exporting.refusals import ExportRefusedError
from orbitune.exporting.web.rounded_weights import add_rounded
from orbitune.exporting.web.web_export import PAGE
from orbitune.exporting.weights import LinearWeights
from orbitune.integrity import read_json

pytestmark = pytest.mark.usefixtures("short_timing")


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """The folder of the page, and the report."""
    out = tmp_path_factory.mktemp("web") / "out"
    return out / "web", export(run, ["web"], out=out, progress=False)


@pytest.fixture(scope="module")
def session(exported):
    return open_session(gzip.decompress((exported[0] / "model.onnx.gz").read_bytes()))


def test_the_folder_has_the_built_page_and_the_model(exported):
    folder, report = exported
    page = {path.relative_to(PAGE) for path in PAGE.rglob("*") if path.is_file()}
    written = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    assert {str(path) for path in written - page} == {
        "model.onnx.gz",
        "model.json",
        "files.js",
        "learning.f32",
    }
    assert page <= written
    assert report.formats["web"].bytes == sum((folder / path).stat().st_size for path in written)


def test_the_list_of_files_has_the_size_of_each(exported):
    folder = exported[0]
    stated = (folder / "files.js").read_text()
    files = json.loads(re.fullmatch(r"self\.ORBITUNE_FILES = (\{.*\});\n", stated)[1])
    assert files["bytes"] == {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and path.name != "files.js"
    }
    assert re.fullmatch("[0-9a-f]{16}", files["version"])


def test_the_graph_gives_features_and_the_score_that_the_detector_gives_them(exported, session, run):
    original = ReferenceModel.open(run, progress=False)
    tiles = original.setup.tiles.read(original.setup.splits["validation"])
    probabilities, features, scores = session.run(
        ["probabilities", "features", "ood_score"], {"tiles": tiles}
    )
    assert probabilities.shape == (len(tiles), 3) and features.shape[0] == len(tiles)
    limit = read_json(exported[0] / "model.json")["not_sure"]
    # Set on these tiles, of which at most this fraction may be above it.
    assert (scores > limit["threshold"]).mean() <= limit["rate"]


def test_the_model_states_its_scores_and_what_maps_of_scenes_need(exported, run):
    stated = read_json(exported[0] / "model.json")
    assert [name.partition(",")[0] for name in stated["scores"]] == ["Validation", "Test"]
    scene, data = stated["scene"], ReferenceModel.open(run, progress=False).bundle.metadata.data
    assert scene["dark"] == list(data.statistics.low)
    assert len(scene["colours"]) == len(stated["classes"])
    assert not {*map(tuple, scene["colours"])} & {*map(tuple, scene["spare"])}
    assert scene["threshold"] is None  # this run was trained without views of other sensors


@pytest.mark.parametrize(
    ("model_type", "settings"), [("vit", {}), ("deit", {"distilled": True}), ("dinov2", {}), ("siglip", {})]
)
def test_the_score_in_the_graph_is_that_of_the_detector(model_type, settings):
    graph = graph_of(small_model(model_type, **settings))
    tiles = tiles_of(graph)
    features = open_session(graph.write(features=True).SerializeToString()).run(
        ["features"], {"tiles": tiles}
    )[0]
    width = features.shape[1]
    random = np.random.default_rng(0)
    detector = OODDetector(
        np.tril(random.normal(size=(width, width))).astype(np.float32),
        random.normal(size=(3, width)).astype(np.float32),
        threshold=1.0,
    )
    model = replace(graph).write(features=True)
    add_ood_score(model, "features", detector=detector, output="ood_score")
    onnx.checker.check_model(model, full_check=True)
    found = open_session(model.SerializeToString()).run(["ood_score"], {"tiles": tiles})[0]
    assert found == pytest.approx(detector.scores(features), rel=1e-4)


def test_a_page_whose_graph_loses_too_much_is_refused_and_leaves_no_file(run, tmp_path, monkeypatch):
    from orbitune.exporting.formats import FORMATS

    def wrong(folder, original):
        return lambda tiles: np.tile(np.eye(1, 3, dtype=np.float32), (len(tiles), 1))

    monkeypatch.setitem(FORMATS, "web", replace(FORMATS["web"], open=wrong))
    with pytest.raises(ExportRefusedError, match="A web page fails validation and is not kept"):
        export(run, ["web"], out=tmp_path / "out", progress=False)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["labels.json"]


def test_a_model_of_16_bit_tiles_is_refused_in_one_line(band_place, band_run, tmp_path):
    message = "cannot be exported as a web page: a browser opens 8-bit pictures, and the model reads uint16"
    with pytest.raises(RunError, match=message):
        export(band_place / "run", ["web"], out=tmp_path / "out", progress=False)


def test_weights_are_stored_in_twelve_bits_with_a_scale_per_output():
    weight = np.random.default_rng(0).normal(size=(1000, 5)).astype(np.float32)
    weight[:, 1] = 0  # a channel without weights has a step all the same
    builder = GraphBuilder()
    linear = LinearWeights(weight, np.zeros(5, np.float32))
    found = add_rounded(builder, "x", linear=linear, name="layer")
    given, returned = (helper.make_tensor_value_info(name, 1, [None, None]) for name in ("x", found))
    model = builder.model(given, [returned])
    rounded = open_session(model.SerializeToString()).run(None, {"x": np.eye(1000, dtype=np.float32)})[0]
    assert (np.abs(rounded - weight).max(0) <= np.abs(weight).max(0) / 2047 / 2 + 1e-6).all()
    assert model.ByteSize() < 2.2 * weight.size + 2000
