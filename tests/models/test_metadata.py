import json

import pytest

from orbitune.errors import RunError
from orbitune.models.metadata import ModelMetadata, check_class_names, read_metadata

SOUND = {
    "format": 3,
    "method": "lora",
    "classes": ["Forest", "River"],
    "preprocessing": {
        "image_size": 32,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.2, 0.2, 1],
        "resample": "bilinear",
    },
    "backbone": {"name": "b", "reference": "/b", "description": "ViT", "weights_sha256": "0" * 64},
    "scores": {"test": {"accuracy": 0.9, "interval": [0.8, 0.95], "macro_f1": 0.9, "count": 10}},
    "temperature": 1.5,
}


def changed(place, value):
    """Sound metadata with the field at a dotted place set to a value, or without it."""
    metadata = json.loads(json.dumps(SOUND))
    *above, name = place.split(".")
    part = metadata
    for each in above:
        part = part.setdefault(each, {})
    part[name] = value
    if value is ...:
        del part[name]
    return metadata


def read(folder, metadata):
    (folder / "orbitune.json").write_text(metadata if isinstance(metadata, str) else json.dumps(metadata))
    return read_metadata(folder)


def test_valid_metadata_is_read_unchanged_with_unknown_fields(tmp_path):
    read_back = read(tmp_path, {**SOUND, "a later field": 1})
    expected = {**SOUND, "a later field": 1, "format": ModelMetadata.FORMAT}
    assert expected.items() <= read_back.model_dump(mode="json", exclude_unset=True).items()


PLACE = {"longitude": 7.5, "latitude": 47.0, "label": "River"}


def adapted(*places):
    """Metadata of a bundle that was adapted to labelled places."""
    scores = SOUND["scores"]["test"]
    adaptation = {
        "parent": "b",
        "parent_sha256": "0" * 64,
        "scene": "scene.tif",
        "window": 16,
        "points": {"River": 10},
        "places": list(places),
        "scores": {
            "folds": 5,
            "before": scores,
            "after": scores,
            "gain": 0.0,
            "gain_interval": [-0.1, 0.1],
        },
    }
    return {**SOUND, "adaptation": adaptation}


def test_a_labelled_place_of_an_unknown_class_is_named(tmp_path):
    assert read(tmp_path, adapted(PLACE)).adaptation.places[0].label == "River"
    with pytest.raises(RunError, match="a labelled place has the unknown class 'Sea'"):
        read(tmp_path, adapted({**PLACE, "label": "Sea"}))


@pytest.mark.parametrize(("name", "value"), [("longitude", 361.0), ("latitude", -90.5), ("latitude", 1e300)])
def test_a_labelled_place_that_is_nowhere_is_named(tmp_path, name, value):
    with pytest.raises(RunError, match=rf"is damaged: adaptation\.places\.0\.{name}: "):
        read(tmp_path, adapted({**PLACE, name: value}))


def test_more_labelled_places_than_an_adaptation_takes_are_refused(tmp_path):
    assert len(read(tmp_path, adapted(*[PLACE] * 10_000)).adaptation.places) == 10_000
    with pytest.raises(RunError, match=r"is damaged: adaptation\.places: .*at most 10000 items"):
        read(tmp_path, adapted(*[PLACE] * 10_001))


def test_version_1_named_the_detector_otherwise(tmp_path):
    read_back = read(tmp_path, {**SOUND, "format": 1, "likeness": {"threshold": 2.5}})
    assert read_back.ood_detector.threshold == 2.5 and read_back.format == ModelMetadata.FORMAT
    assert "likeness" not in read_back.to_json()


@pytest.mark.parametrize("name", ["format", "method", "classes", "preprocessing", "backbone", "scores"])
def test_a_field_that_is_missing_is_named(tmp_path, name):
    with pytest.raises(RunError, match=f"orbitune.json of .* lacks {name}; it is damaged"):
        read(tmp_path, changed(name, ...))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("classes", []),
        ("classes", "ab"),
        ("classes", ["a", "a"]),
        ("classes", ["a", " "]),
        ("classes", ["a", 1]),
        ("method", 7),
        ("preprocessing.image_size", 0),
        ("preprocessing.image_size", 10**9),
        ("preprocessing.image_size", "32"),
        ("preprocessing.image_size", True),
        ("preprocessing.mean", [0.5]),
        ("preprocessing.std", [0.0, 0.2, 0.2]),
        ("preprocessing.std", ...),
        ("preprocessing.resample", "nearest"),
        ("backbone.weights_sha256", "short"),
        ("backbone.reference", ...),
        ("backbone.name", None),
        ("backbone", []),
        ("scores", {"test": {}}),
        ("scores.test.accuracy", 2),
        ("scores.test.interval", [0.1]),
        ("temperature", 0),
        ("temperature", 1e400),
        ("ood_detector", {"threshold": "far"}),
        ("ood_detector", {}),
        ("data", {"tile_size": [64]}),
        ("data", {"scale_max": 0}),
        ("data", {"brightness": {"mean": [1, 2]}}),
        ("files", {"../secret": "0" * 64}),
        ("confusion", [[1, 2]]),
        ("storage", {"dtype": "int8"}),
        ("tta", "all"),
    ],
)
def test_a_field_that_holds_what_it_cannot_is_one_line(tmp_path, place, value):
    with pytest.raises(RunError, match=r"orbitune\.json") as error:
        read(tmp_path, changed(place, value))
    assert "\n" not in str(error.value)
    if value != 1e400:  # which is no JSON at all
        assert place.split(".")[0] in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, '{"format": NaN}', "\x00", '"text"', "\udcff"])
def test_an_invalid_description_is_one_line(tmp_path, text):
    (tmp_path / "orbitune.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(RunError, match=r"holds no readable orbitune\.json"):
        read_metadata(tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a", "a"), "two classes are named 'a'"),
        (("a", " a "), "two classes are named 'a'"),
        (("e\u0301", "\u00e9"), "two classes are named"),
        (("a", ""), "class 2 has no name"),
        (("a", "  "), "class 2 has no name"),
        (("a\nb",), "control character"),
        (("a\x1b[31m",), "control character"),
        ((), "there are no classes"),
    ],
)
def test_ambiguous_class_names_are_refused(names, message):
    with pytest.raises(ValueError, match=message):
        check_class_names(names)


def test_class_names_lose_the_blanks_around_them():
    assert check_class_names((" Annual Crop", "森林", "Forest ")) == ("Annual Crop", "森林", "Forest")


def test_version_1_named_the_weights_of_merged_adapters_shares(tmp_path):
    parents = [{"path": "a", "share": 0.25}, {"path": "b", "share": 0.75}]
    read_back = read(tmp_path, {**SOUND, "format": 1, "merged_from": parents})
    assert [each.weight for each in read_back.merged_from] == [0.25, 0.75]
