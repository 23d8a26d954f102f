"""Adaptation of a bundle to labelled points of a scene."""

import json
import re
import shutil

import numpy as np
import pyogrio.raw
import pyproj
import pytest
import rasterio
import shapely
from PIL import Image
from safetensors.torch import load_file
from scenes import UTM, mosaic, read_band, write_labels, write_scene

from orbitune.evaluation.calibration import probabilities
from orbitune.inference.bundle import Bundle
from orbitune.inference.bundle_builder import build_bundle
from orbitune.inference.bundle_model import BundleModel
from orbitune.inference.classifier import Classifier
from orbitune.inference.linear_head import LinearHead
from orbitune.integrity import file_hash
from orbitune.mapping.adaptation.adapt import adapt
from orbitune.mapping.adaptation.refit import cell_logits
from orbitune.mapping.areas.estimation import map_areas
from orbitune.mapping.pipeline import map_scene
from orbitune.models.checkpoint_io import write_metadata
from orbitune.models.files.head_tensors import read_head
from orbitune.models.lineage.seen_file import read_seen
from orbitune.models.lineage.seen_tiles import tile_sums
from orbitune.recipe import Recipe
from orbitune.training.run import train

ROWS, COLUMNS, SIDE = 6, 8, 16
# In the country of this scene, what the model calls by one name has another.
ELSEWHERE = {"class_0": "class_1", "class_1": "class_0", "class_2": "class_2"}


@pytest.fixture(scope="session")
def foreign(tiles, tmp_path_factory):
    """A scene of training tiles, their pixels, and classes other than the model's."""
    files = sorted(tiles.rglob("*.png"))
    chosen = [files[n] for n in np.random.default_rng(3).permutation(len(files))[: ROWS * COLUMNS]]
    cells = np.stack([np.asarray(Image.open(file)) for file in chosen])
    path = tmp_path_factory.mktemp("foreign") / "scene.tif"
    write_scene(path, mosaic(cells.reshape(ROWS, COLUMNS, SIDE, SIDE, 3)))
    return path, cells, [ELSEWHERE[file.parent.name] for file in chosen]


def middles():
    """The pixel in the middle of each cell."""
    return [
        (SIDE * row + SIDE // 2, SIDE * column + SIDE // 2)
        for row in range(ROWS)
        for column in range(COLUMNS)
    ]


@pytest.fixture(scope="session")
def labels(foreign, tmp_path_factory):
    return write_labels(tmp_path_factory.mktemp("labels") / "labels.gpkg", middles(), foreign[2])


@pytest.fixture(scope="session")
def adapted(bundle, foreign, labels, tmp_path_factory):
    out = tmp_path_factory.mktemp("adapted") / "adapted"
    return adapt(bundle.folder, foreign[0], points=labels, out=out, progress=False)


def test_held_out_points_are_labelled_right_after_and_wrong_before(adapted):
    scores = adapted.metadata.adaptation.scores
    assert (scores.folds, scores.before.count, scores.after.count) == (5, 48, 48)
    assert scores.before.accuracy < 0.5 and scores.after.accuracy > 0.9
    assert scores.gain == pytest.approx(scores.after.accuracy - scores.before.accuracy)
    assert 0.2 < scores.gain_interval[0] < scores.gain < scores.gain_interval[1]


def test_the_bundle_states_its_parent_and_its_points(adapted, bundle, foreign):
    stated = adapted.metadata.adaptation
    assert (stated.parent, stated.scene, stated.window) == (bundle.folder.name, "scene.tif", SIDE)
    assert stated.parent_sha256 == file_hash(bundle.folder / "orbitune.json")
    assert stated.points == {name: foreign[2].count(name) for name in bundle.classes}
    assert (stated.count, stated.left_out) == (48, 0)
    assert adapted.metadata.scores == {} and adapted.metadata.confusion is None  # those of the old head


def test_neighbouring_points_are_warned_of(bundle, foreign, labels, tmp_path, caplog):
    adapt(bundle.folder, foreign[0], points=labels, out=tmp_path / "a", progress=False)
    assert "48 points lie so near to others that their windows overlap" in caplog.text


def test_points_on_tiles_that_the_model_has_seen_are_counted_and_scored_apart(adapted, bundle, foreign):
    seen = read_seen(bundle.folder).find(tile_sums(foreign[1]))
    scores = adapted.metadata.adaptation.scores
    assert (scores.seen.trained, scores.seen.validated) == (seen.trained.sum(), seen.validated.sum())
    assert scores.refitted == 0 and scores.unseen.after.count == (~seen.any).sum() >= 10
    warning = (
        f"{scores.seen.trained} of 48 points (their windows) were training tiles of the model, or of one "
        "that it comes from, and"
    )
    assert scores.warning().startswith(warning) and "without them" in scores.warning()
    assert f"**{scores.warning()}.**" in (adapted.folder / "README.md").read_text()


def test_points_that_a_bundle_was_adapted_to_before_are_no_test(adapted, foreign, labels, tmp_path, caplog):
    again = adapt(adapted.folder, foreign[0], points=labels, out=tmp_path / "again", progress=False)
    stated = again.metadata.adaptation
    assert stated.scores.refitted == 48 and stated.scores.unseen is None
    assert stated.earlier == adapted.metadata.adaptation.places
    assert "48 of 48 points lie where the model was adapted to a point before" in caplog.text


def test_the_model_card_states_them_too(adapted, bundle):
    card = (adapted.folder / "README.md").read_text()
    stated = adapted.metadata.adaptation
    assert f"`{stated.parent_sha256}`" in card and "48 labelled points of scene.tif" in card
    assert f"| after | {stated.scores.after.accuracy:.1%} |" in card
    assert "Weights are stored as float16." in card and "## Scores" not in card


def test_only_the_head_changes(adapted, bundle):
    after, before = (load_file(each.folder / "adapter_model.safetensors") for each in (adapted, bundle))
    changed = {name.rpartition(".")[0] for name in after if not after[name].equal(before[name])}
    assert after.keys() == before.keys() and changed == {"base_model.model.classifier"}
    assert {name: tensor.dtype for name, tensor in after.items()} == {n: t.dtype for n, t in before.items()}
    for name in ("likeness.safetensors", "adapter_config.json", "preprocessor_config.json"):
        assert (adapted.folder / name).read_bytes() == (bundle.folder / name).read_bytes()
    assert adapted.ood_detector.threshold == bundle.ood_detector.threshold


def test_a_map_and_the_classifier_give_the_names_of_the_scene(adapted, foreign, tmp_path):
    scene, cells, truth = foreign
    settings = {"grid": "cells", "mode": "tiles", "not_sure": False, "progress": False}
    map_scene(adapted.folder, scene, outputs=tmp_path / "map.tif", **settings)
    names = np.array(adapted.classes)[read_band(tmp_path / "map.tif").ravel() - 1]
    assert (names == truth).mean() > 0.95
    classifier = Classifier.from_pretrained(adapted.folder)
    assert np.array_equal(np.array(classifier.classes)[classifier.predict_proba(cells).argmax(1)], names)


@pytest.mark.parametrize("settings", [{"grid": "cells"}, {"grid": "scene"}])
def test_reference_points_that_the_model_was_adapted_to_are_warned_of(
    adapted, bundle, foreign, labels, tmp_path, settings
):
    out = tmp_path / "map.tif"
    settings |= {"reference": labels, "mode": "tiles", "not_sure": False, "progress": False}
    report = map_scene(adapted.folder, foreign[0], outputs=out, **settings)
    warning = "48 of 48 reference points lie where the model was adapted to a labelled point"
    assert any(line.startswith(warning) for line in report.warnings)
    assert map_areas(out, labels).warnings == report.warnings[-1:]
    before = map_scene(bundle.folder, foreign[0], outputs=out, **settings)
    assert not any("adapted to" in line for line in before.warnings)


@pytest.fixture
def taught(bundle, adapted, tmp_path):
    """The bundle before the adaptation, but with its labelled points."""
    folder = shutil.copytree(bundle.folder, tmp_path / "taught")
    write_metadata(folder, bundle.metadata.model_copy(update={"adaptation": adapted.metadata.adaptation}))
    return folder


def dense_map(model, scene, place, **settings):
    """Codes of a dense map, the lines it logged, and its number of labelled points."""
    said = []
    settings = {"grid": "cells", "mode": "dense", "not_sure": False, "progress": False, **settings}
    report = map_scene(model, scene, outputs=place / "dense.tif", log=said.append, **settings)
    return read_band(place / "dense.tif"), said, report.metadata.labelled_points


NOT_FITTED = (
    "not fitted to the 48 labelled points of the adaptation: too few of them lie in the mapped area, or all "
    "are of one class"
)


def test_a_dense_map_of_the_scene_is_fitted_to_the_labelled_points_too(bundle, taught, foreign, tmp_path):
    scene, _, truth = foreign
    found, said, points = dense_map(taught, scene, tmp_path)
    without, silent, none = dense_map(bundle.folder, scene, tmp_path)
    right, less = ((np.array(bundle.classes)[each.ravel() - 1] == truth).mean() for each in (found, without))
    assert right > 0.9 and less < 0.5 and (points, none) == (48, 0)
    assert said == [*silent, "fitted also to 48 of the 48 labelled points of the adaptation"]


def test_a_renamed_scene_with_overviews_is_the_scene_of_the_labelled_points(taught, foreign, tmp_path):
    expected = dense_map(taught, foreign[0], tmp_path)
    with rasterio.open(shutil.copy(foreign[0], tmp_path / "renamed.tif"), "r+") as file:
        file.build_overviews([2, 4])
    found = dense_map(taught, tmp_path / "renamed.tif", tmp_path)
    assert np.array_equal(found[0], expected[0]) and found[1:] == expected[1:]


def test_points_of_another_date_of_the_scene_do_not_shape_a_dense_map(bundle, taught, foreign, tmp_path):
    later = foreign[1][::-1].reshape(ROWS, COLUMNS, SIDE, SIDE, 3)
    scene = write_scene(tmp_path / foreign[0].name, mosaic(later))
    found, said, points = dense_map(taught, scene, tmp_path)
    without, silent, _ = dense_map(bundle.folder, scene, tmp_path)
    assert np.array_equal(found, without) and said == silent and points == 0


def test_points_under_another_scene_of_a_mosaic_do_not_shape_its_labels(bundle, taught, foreign, tmp_path):
    later = foreign[1][::-1].reshape(ROWS, COLUMNS, SIDE, SIDE, 3)
    half = mosaic(later[: ROWS // 2])
    above, whole = (
        write_scene(tmp_path / "half.tif", half),
        write_scene(tmp_path / "whole.tif", mosaic(later)),
    )
    assert dense_map(taught, [foreign[0], whole], tmp_path)[2] == 48
    assert dense_map(taught, [above, foreign[0]], tmp_path)[2] == 24
    found, said, points = dense_map(taught, [whole, foreign[0]], tmp_path)
    without, silent, _ = dense_map(bundle.folder, [whole, foreign[0]], tmp_path)
    assert np.array_equal(found, without) and said == [*silent, NOT_FITTED] and points == 0


def test_few_points_in_the_mapped_area_do_not_shift_its_labels(bundle, taught, foreign, tmp_path):
    area = shapely.to_wkb(np.array([shapely.box(600_010, 5_499_530, 600_470, 5_499_990)], object))  # 9 cells
    pyogrio.raw.write(tmp_path / "area.gpkg", area, [], [], geometry_type="Polygon", crs=UTM)
    (found, said, points), (without, silent, _) = (
        dense_map(model, foreign[0], tmp_path, aoi=tmp_path / "area.gpkg")
        for model in (taught, bundle.folder)
    )
    assert np.array_equal(found, without) and said == [*silent, NOT_FITTED] and points == 0


def test_a_killed_map_goes_on_under_another_name_of_the_scene(taught, foreign, interrupt, tmp_path):
    expected = dense_map(taught, foreign[0], tmp_path)
    moved = shutil.copy2(foreign[0], tmp_path / "first.tif")
    settings = {"grid": "cells", "mode": "dense", "not_sure": False}
    interrupt(moved, tmp_path / "dense.tif", parts=0, source=taught, **settings)
    found = dense_map(taught, shutil.move(moved, tmp_path / "second.tif"), tmp_path)
    assert np.array_equal(found[0], expected[0]) and found[2] == expected[2] == 48


def test_a_resumed_map_states_its_labelled_points(taught, foreign, interrupt, tmp_path):
    settings = {"grid": "cells", "mode": "dense", "not_sure": False}
    interrupt(foreign[0], tmp_path / "dense.tif", parts=0, source=taught, **settings)
    assert dense_map(taught, foreign[0], tmp_path)[2] == 48


def test_the_places_of_the_points_are_kept(adapted, foreign):
    places = adapted.metadata.adaptation.places
    assert [place.label for place in places] == foreign[2]
    to_scene = pyproj.Transformer.from_crs("EPSG:4326", UTM, always_xy=True)
    x, y = to_scene.transform(*np.array([(place.longitude, place.latitude) for place in places]).T)
    pixels = np.stack([(5_500_000 - y) / 10, (x - 600_000) / 10], 1)
    assert np.array_equal(np.floor(pixels), middles())


def test_points_that_the_model_labels_right_already_give_no_gain(bundle, foreign, tmp_path, caplog):
    back = {name: own for own, name in ELSEWHERE.items()}
    known = write_labels(tmp_path / "known.gpkg", middles(), [back[name] for name in foreign[2]])
    made = adapt(bundle.folder, foreign[0], points=known, out=tmp_path / "out", progress=False)
    assert made.metadata.adaptation.scores.gain_interval[0] <= 0
    assert "the held-out points do not show that the new head is better" in caplog.text


@pytest.mark.parametrize("tta", ["none", "flips"])
def test_the_scored_logits_are_those_of_the_network(bundle, foreign, tta):
    metadata = bundle.metadata.model_copy(update={"tta": tta})
    network = BundleModel(Bundle(bundle.folder, metadata), precision="fp32")
    tiles = foreign[1][:5]
    head = LinearHead(*read_head(bundle.folder, bundle.backbone().family))
    found = cell_logits(head, network.view_features(tiles)[:, None], tta=tta)
    assert np.allclose(probabilities(found), probabilities(network.compute(tiles)[0]), atol=1e-5)


def test_the_same_points_give_the_same_bytes(adapted, bundle, foreign, labels, tmp_path):
    again = adapt(bundle.folder, foreign[0], points=labels, out=tmp_path / "again", progress=False)
    names = sorted(file.name for file in adapted.folder.iterdir())
    assert names == sorted(file.name for file in again.folder.iterdir())
    assert all((again.folder / n).read_bytes() == (adapted.folder / n).read_bytes() for n in names)


def test_classes_without_points_are_named_and_stay_in_the_model(bundle, foreign, tmp_path, caplog):
    scene, _, truth = foreign
    some = np.array(truth) != "class_2"
    points = write_labels(tmp_path / "some.gpkg", np.array(middles())[some], np.array(truth)[some].tolist())
    made = adapt(bundle.folder, scene, points=points, out=tmp_path / "out", progress=False)
    assert "no points of class_2: the new head hardly predicts them" in caplog.text
    assert made.classes == bundle.classes and set(made.metadata.adaptation.points) == {"class_0", "class_1"}


def test_points_drawn_by_uncertainty_are_used_and_those_without_label_or_data_counted(
    bundle, foreign, tmp_path, caplog
):
    pixels = [*middles(), (1000, 1000), (3, 3)]
    names = [*foreign[2], "class_0", None]
    rows, columns = np.array(pixels).T
    places = shapely.to_wkb(shapely.points(600_005 + 10 * columns, 5_499_995 - 10 * rows))
    values = [np.array(names, object), np.full(len(names), "uncertainty", object)]
    path = tmp_path / "teach.gpkg"
    pyogrio.raw.write(path, places, values, ["kind", "sampling"], geometry_type="Point", crs=UTM)
    made = adapt(
        bundle.folder,
        foreign[0],
        points=path,
        field="kind",
        out=tmp_path / "out",
        progress=False,
    )
    assert (made.metadata.adaptation.count, made.metadata.adaptation.left_out) == (48, 2)
    assert "2 points have no class, or lie outside the scene" in caplog.text


def test_a_run_of_full_fine_tuning_is_adapted_too(runs, foreign, labels, tmp_path):
    made = adapt(runs / "full", foreign[0], points=labels, out=tmp_path / "out", progress=False)
    assert made.metadata.adaptation.scores.gain > 0.2 and made.ood_detector is None
    assert Classifier.from_pretrained(made.folder).predict_proba(foreign[1]).shape == (48, 3)


def test_a_model_of_other_bands_is_adapted_too(band_bundle, band_place, tmp_path):
    files = sorted((band_place / "tiles").rglob("*.tif"))[::3]
    tiles = []
    for file in files:
        with rasterio.open(file) as opened:
            tiles.append(np.moveaxis(opened.read(), 0, -1))
    count = len(files)
    scene = write_scene(tmp_path / "scene.tif", mosaic(np.stack(tiles).reshape(1, count, SIDE, SIDE, 5)))
    pixels = [(8, SIDE * number + 8) for number in range(count)]
    points = write_labels(tmp_path / "points.gpkg", pixels, [file.parent.name for file in files])
    bands = tuple(range(1, 6))
    out = tmp_path / "out"
    made = adapt(band_bundle.folder, scene, points=points, out=out, bands=bands, progress=False)
    assert made.metadata.adaptation.count == count
    assert made.metadata.preprocessing == band_bundle.metadata.preprocessing
    assert made.metadata.adaptation.scores.after.accuracy > 0.8
    found = Classifier.from_pretrained(out).predict_proba(np.stack(tiles))
    assert found.shape == (count, len(made.classes))


def test_the_command_prints_scores_and_json(orbitune, bundle, foreign, labels, tmp_path):
    common = ("adapt", bundle.folder, foreign[0], "--points", labels, "--quiet", "--out")
    code, said, error = orbitune(*common, tmp_path / "one")
    [seen, near] = error.splitlines()
    assert (
        code == 0
        and seen.startswith("warning: 27 of 48 points")
        and near.startswith("warning: 48 points lie")
    )
    assert re.search(
        r"^held-out points +accuracy +95 % interval +macro-F1 \(95 % interval\)$", said, re.MULTILINE
    )
    assert re.search(r"^gain: \+\d+\.\d percentage points \(paired 95 % interval ", said, re.MULTILINE)
    assert "48 labelled points, 5-fold cross-validation" in said
    code, said, _ = orbitune(*common, tmp_path / "two", "--json")
    found = json.loads(said)
    assert code == 0 and found["out"] == str(tmp_path / "two")
    stated = Bundle.open(tmp_path / "two").metadata.adaptation.to_json()
    assert (
        len(stated.pop("places")) == 48
        and stated.pop("earlier") == []
        and found == {"out": found["out"], **stated}
    )


@pytest.fixture
def refused(orbitune, bundle, foreign, tmp_path):
    """Runs an adaptation that must fail; its error."""

    def refused(points, *options):
        before = set(tmp_path.iterdir())
        given = () if points is None else ("--points", points)
        code, printed, error = orbitune(
            "adapt", bundle.folder, foreign[0], *given, "--out", tmp_path / "out", "--quiet", *options
        )
        assert (code, printed) == (2, ""), error
        [line] = error.splitlines()
        assert line.startswith("error: ") and set(tmp_path.iterdir()) == before
        return line

    return refused


@pytest.mark.parametrize(
    ("pixels", "names", "message"),
    [
        (
            middles(),
            ["Sea"] * 48,
            "unknown class 'Sea'. Rename them to classes of the model: class_0, class_1, class_2.",
        ),
        (middles(), ["class_1"] * 48, "All 48 labelled points in the scene are of one class"),
        (middles()[:9], ["class_0", "class_1"] * 4 + ["class_0"], "Too few labelled points in the scene: 9."),
        ([(8, 8)] * 12, ["class_0", "class_1"] * 6, "Too few labelled points in the scene: 12."),
        ([(900, 8)] * 12, ["class_0", "class_1"] * 6, "None of the 12 labelled points of"),
        (
            [*middles()[:9], (900, 8)],
            ["class_0", "class_1"] * 5,
            "in the scene: 9 (1 others lie outside or where it has no data).",
        ),
    ],
)
def test_points_that_teach_nothing_are_one_line(refused, tmp_path, pixels, names, message):
    assert message in refused(write_labels(tmp_path / "points.gpkg", pixels, names))


def test_more_points_than_an_adaptation_takes_are_one_line(refused, tmp_path):
    pixels = np.argwhere(np.ones((ROWS * SIDE, COLUMNS * SIDE)))[:10_001]
    names = [f"class_{number % 3}" for number in range(len(pixels))]
    error = refused(write_labels(tmp_path / "points.gpkg", pixels, names))
    assert error.startswith("error: 10,001 labelled points of ")
    assert error.endswith("an adaptation takes at most 10,000: keep a random sample of them.")


def test_invalid_input_is_one_line(refused, labels, tmp_path, foreign):
    assert "map-sample --by uncertainty lists the places of a map that teach most" in refused(None)
    message = "has no field kind; its fields are: true_class. Name one with --field."
    assert message in refused(labels, "--field", "kind")
    assert "has no band 7" in refused(labels, "--bands", "1,2,7")
    area = shapely.to_wkb(np.array([shapely.box(600_000, 5_499_900, 600_100, 5_500_000)], object))
    names = [np.array(["class_0"], object)]
    pyogrio.raw.write(tmp_path / "areas.gpkg", area, names, ["true_class"], geometry_type="Polygon", crs=UTM)
    assert "There are no points in" in refused(tmp_path / "areas.gpkg")
    (tmp_path / "out").mkdir()
    assert "exists; choose another --out, or remove it." in refused(labels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed", "-1"], "error: --seed: must be at least 0, not -1."),
        (["--seed", "99999999999999999999"], "error: --seed: must be below 4294967296, not 9999999999999999"),
        (["--out", "file/new"], "file is a file, not a folder."),
        (["--out", "n" * 248], "its name has 248 bytes; choose one of at most 247."),
        (["--out", "n" * 256], "its name has 256 bytes; choose one of at most 247."),
    ],
)
def test_an_invalid_seed_or_place_is_refused_before_the_bundle_is_read(
    refused, tmp_path, monkeypatch, options, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert message in refused("none.gpkg", *options)


# What the labels of two real scenes mean, see ../shared/scenes/scenes.json.
LEIPZIG = {"forest": "forest", "urban": "built", "water": "water", "pasture": "low"}
JAPAN = {1.0: "water", 2.0: "forest", 3.0: "low", 4.0: "built"}


def real_points(file, field, classes):
    """Coordinates (N, 2), class names and CRS of labelled points."""
    meta, _, geometries, values = pyogrio.raw.read(file)
    found = values[list(meta["fields"]).index(field)]
    return (
        shapely.get_coordinates(shapely.from_wkb(geometries)),
        [classes[each] for each in found],
        meta["crs"],
    )


@pytest.fixture(scope="module")
def leipzig_model(shared, tmp_path_factory):
    """ViT-Tiny with a head trained on the labelled points of Leipzig."""
    place = tmp_path_factory.mktemp("leipzig")
    folder = shared / "scenes/germany_leipzig_mlr3"
    places, names, _ = real_points(folder / "leipzig_points.gpkg", "land_cover", LEIPZIG)
    with rasterio.open(folder / "leipzig_raster.tif") as file:
        pixels = np.moveaxis(np.clip(file.read([3, 2, 1]) * (255 / 2750), 0, 255), 0, -1).astype(np.uint8)
        where = [file.index(x, y) for x, y in places]
    padded = np.pad(pixels, ((8, 8), (8, 8), (0, 0)), mode="symmetric")
    for number, ((row, column), name) in enumerate(zip(where, names, strict=True)):
        (place / "tiles" / name).mkdir(parents=True, exist_ok=True)
        tile = padded[row : row + SIDE, column : column + SIDE]
        Image.fromarray(tile).save(place / "tiles" / name / f"{number}.png")
    settings = {"method": "linear", "epochs": 12, "batch_size": 8, "image_size": 64, "augment": "flips"}
    backbone = str(shared / "vit-tiny-patch16-224")
    train(
        Recipe.make({"data": str(place / "tiles"), "backbone": backbone, **settings}),
        place / "run",
        progress=False,
    )
    return build_bundle(place / "run", place / "bundle", progress=False)


@pytest.mark.slow
@pytest.mark.shared
def test_a_real_scene_of_another_country_is_mapped_better_at_points_that_were_held_out(
    leipzig_model, shared, tmp_path
):
    folder = shared / "scenes/japan_lulcpy_float"
    places, names, crs = real_points(folder / "samples.shp", "labels", JAPAN)
    taught = np.random.default_rng(0).permutation(len(names)) < 60
    points = shapely.to_wkb(shapely.points(places[taught]))
    values = [np.array(names, object)[taught]]
    pyogrio.raw.write(tmp_path / "p.gpkg", points, values, ["true_class"], geometry_type="Point", crs=crs)
    scene = folder / "s2image.tif"
    common = {"bands": (3, 2, 1), "progress": False}
    adapted = adapt(leipzig_model.folder, scene, points=tmp_path / "p.gpkg", out=tmp_path / "a", **common)
    assert adapted.metadata.adaptation.scores.gain > 0.1
    right = []
    for model in (leipzig_model, adapted):
        map_scene(
            model.folder,
            scene,
            outputs=tmp_path / "map.tif",
            mode="tiles",
            not_sure=False,
            **common,
        )
        with rasterio.open(tmp_path / "map.tif") as file:
            codes = np.array([code for (code,) in file.sample(places[~taught].tolist())])
        right.append((np.array(model.classes)[codes - 1] == np.array(names)[~taught]).mean())
    assert right[1] > right[0] + 0.1
