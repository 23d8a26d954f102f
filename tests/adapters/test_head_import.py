"""Import of heads that were taught in the browser; tests/exporting/test_web_page.py teaches one."""

import base64
import json

import numpy as np
import pytest
from commands import orbitune

from orbitune.adapters.head_import import import_head
from orbitune.errors import OrbituneError
from orbitune.inference.bundle import Bundle
from orbitune.inference.classifier import Classifier
from orbitune.models.files.head_tensors import read_head


def packed(array):
    return base64.b64encode(np.asarray(array, "<f4").tobytes()).decode()


def head_of(bundle, **changes):
    """What the page saves of a model that was taught the class `New`, which it then always predicts."""
    weight, bias = read_head(bundle.folder, bundle.backbone().family)
    width = weight.shape[1]
    stated = bundle.metadata
    return {
        "kind": "orbitune head",
        "format": 1,
        "name": bundle.name,
        "hashes": {
            "recipe": stated.recipe_hash,
            "tiles": stated.data.fingerprint,
            "backbone": stated.backbone.weights_sha256,
        },
        "classes": [*bundle.classes, "New"],
        "width": width,
        "weight": packed(np.concatenate([weight, np.zeros((1, width))])),
        "bias": packed([*bias, 100.0]),
        "means": packed(np.eye(1, width)),
        "pictures": {"New": 12},
        "held_out": {"pictures": 12, "right_before": 0, "right_after": 11},
        "start_bias": packed(bias),
        **changes,
    }


def write(place, values):
    (place / "head.json").write_text(json.dumps(values))
    return place / "head.json"


def test_a_taught_head_becomes_a_bundle_with_its_class_and_no_scores(bundle, tiles, tmp_path):
    made = import_head(write(tmp_path, head_of(bundle)), bundle.folder, out=tmp_path / "taught")
    assert made.classes == (*bundle.classes, "New")
    assert made.metadata.scores == {} and made.confusion is None
    assert made.metadata.taught.pictures == {"New": 12}
    assert len(made.ood_detector.means) == len(bundle.ood_detector.means) + 1
    assert made.ood_detector.threshold == bundle.ood_detector.threshold
    width = read_head(bundle.folder, bundle.backbone().family)[0].shape[1]
    assert made.metadata.parameters.head == bundle.metadata.parameters.head + width + 1
    assert "New 12" in (made.folder / "README.md").read_text()
    [prediction] = Classifier(made.folder).predict(sorted(tiles.rglob("*.png"))[0])
    assert prediction.labels[0][0] == "New"


@pytest.mark.parametrize("name", ["run", "full"])
def test_a_run_is_taught_too_without_a_detector(runs, name, tmp_path):
    source = runs / name
    head = write(tmp_path, head_of(Bundle.open(source)))
    made = import_head(head, source, out=tmp_path / "taught")
    assert made.ood_detector is None
    assert made.classes[-1] == "New"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "weights"}, "is no head that the page"),
        ({"format": 9}, "was written by a newer Orbitune"),
        ({"bias": packed([1.0])}, "is damaged: bias has another size"),
        ({"weight": "?"}, "is damaged: weight has another size"),
        ({"classes": ["A", "B", "C", "New"]}, "was taught to another model than bundle: its classes"),
        ({"hashes": {"tiles": "0" * 64}}, "was taught to another model than bundle: its tiles"),
        ({"hashes": {}}, "was taught to another model than bundle: its tiles"),
        ({"start_bias": packed([0.5, -0.5, 1])}, "was taught to another training than bundle: its head"),
        ({"means": packed(np.zeros((2, 192)))}, "is damaged: means has another size"),
        ({"means": packed([np.nan] * 192)}, "is damaged: means holds a number that is no weight"),
        ({"bias": packed([3e38] * 4)}, "is damaged: bias holds a number that is no weight"),
        ({"width": 10**30}, "is damaged: weight has another size"),
        ({"pictures": {"# A heading": 3}}, "is damaged: pictures are not of its classes"),
        (
            {"held_out": {"pictures": 1, "right_before": 0, "right_after": 9}},
            "is damaged: held_out",
        ),
    ],
)
def test_another_file_is_one_line_and_leaves_no_folder(bundle, tmp_path, changes, message):
    with pytest.raises(OrbituneError, match=message):
        import_head(write(tmp_path, head_of(bundle, **changes)), bundle.folder, out=tmp_path / "taught")
    assert not (tmp_path / "taught").exists()


def test_a_file_that_is_no_json_is_one_line(bundle, tmp_path):
    (tmp_path / "head.json").write_bytes(b"\x89PNG")
    with pytest.raises(OrbituneError, match=r"head\.json"):
        import_head(tmp_path / "head.json", bundle.folder, out=tmp_path / "taught")


def test_the_command_prints_the_bundle_and_what_is_wrong_in_one_line(bundle, tmp_path):
    head = write(tmp_path, head_of(bundle))
    done = orbitune("import-head", head, bundle.folder, "--out", tmp_path / "taught", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["classes"] == [*bundle.classes, "New"]
    again = orbitune("import-head", head, bundle.folder, "--out", tmp_path / "taught")
    assert again.returncode == 2 and again.stderr.count("\n") == 1 and "exists" in again.stderr
