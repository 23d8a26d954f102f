import tracemalloc

import numpy as np
import pytest
from image_files import stripes
from PIL import Image

from orbitune import Classifier
from orbitune.errors import DataError
from orbitune.evaluation.calibration import probabilities
from orbitune.evaluation.saved_outputs import read_predictions
from orbitune.inference.image_inputs import check_input_paths, expand
from orbitune.sources.decode import to_uint8_tile
from orbitune.training.evaluate import reopen


@pytest.fixture(scope="module")
def classifier(bundle):
    return Classifier.from_pretrained(bundle.folder)


def first(classifier, inputs, **more):
    [prediction] = classifier.predict(inputs, **more)
    return prediction


def test_its_probabilities_are_those_of_the_runs_own_logits(run):
    _, job = reopen(run, progress=False)
    kept = read_predictions(run, "test")
    classifier = Classifier.from_pretrained(run)
    tiles = job.tiles.read(kept.indices)
    shares = probabilities(kept.logits, classifier.bundle.temperature)
    for row, prediction in zip(shares, classifier.predict(tiles, top_k=9), strict=True):
        ours = dict(prediction.labels)
        # bf16 rounds otherwise in batches of another size
        assert np.allclose([ours[name] for name in classifier.classes], row, atol=0.03)


def test_a_folder_is_predicted_in_order_with_the_classes_of_its_files(classifier, tiles):
    rows = list(classifier.predict(tiles, batch_size=7))
    assert [row.input for row in rows] == sorted(map(str, tiles.rglob("*.png")))
    right = [row.labels[0][0] in row.input for row in rows]
    assert np.mean(right) > 0.9


def test_the_given_number_of_labels_is_sorted_by_probability(classifier, tiles):
    for top_k, count in ((1, 1), (2, 2), (9, 3)):
        labels = first(classifier, next(tiles.rglob("*.png")), top_k=top_k).labels
        assert len(labels) == count
        assert [share for _, share in labels] == sorted((share for _, share in labels), reverse=True)
    assert sum(share for _, share in labels) == pytest.approx(1)


def test_a_file_an_image_and_an_array_of_the_same_tile_give_the_same(classifier, tiles):
    path = next(tiles.rglob("*.png"))
    image = Image.open(path)
    rows = list(classifier.predict([path, image, np.asarray(image), np.asarray(image)[None]]))
    assert [row.input for row in rows] == [str(path), 1, 2, 3]
    assert {row.labels for row in rows} == {rows[0].labels}


def test_a_tile_of_another_size_is_resized_as_in_training(classifier, tiles):
    large = np.asarray(Image.open(next(tiles.rglob("*.png"))).resize((50, 40)))
    assert (
        first(classifier, large).labels
        == first(classifier, to_uint8_tile(large, (16, 16), scale_max=255)).labels
    )


def test_patterns_and_streams_of_inputs_are_accepted(classifier, tiles):
    rows = list(classifier.predict(f"{tiles}/class_1/tile_1_1*.png"))
    assert len(rows) == 11
    stream = (row.input for row in rows)
    assert [row.labels for row in classifier.predict(stream)] == [row.labels for row in rows]


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda place: (place / "a.png").write_bytes(b"no image") and place / "a.png", "is no image"),
        (lambda place: (place / "b.png").touch() or place / "b.png", "is empty"),
        (lambda place: place / "missing.png", "is a link to nothing"),
        (lambda place: np.zeros((16, 16), np.uint8), "not uint8 (height, width, 3)"),
        (lambda place: np.zeros((16, 16, 3)), "is an array float64"),
        (lambda place: 3.5, "is a float, not a path"),
        (lambda place: Image.new("I;16", (16, 16)), "has 16-bit values"),
        (lambda place: Image.new("F", (16, 16)), "floating-point"),
    ],
)
def test_an_invalid_input_is_a_row_with_an_error_and_the_rest_is_predicted(
    classifier, tiles, tmp_path, make, error
):
    good = next(tiles.rglob("*.png"))
    rows = list(classifier.predict([good, make(tmp_path), good]))
    assert error in rows[1].error and rows[1].labels == () and rows[1].sure is None
    assert rows[0].labels == rows[2].labels and rows[0].error is None


def test_nothing_to_predict_gives_nothing(classifier, tmp_path):
    assert list(classifier.predict(tmp_path)) == []
    assert list(classifier.predict([])) == []


def test_only_tiles_like_those_of_training_are_sure(classifier, tiles):
    ours = [row.sure for row in classifier.predict(tiles)]
    random = np.random.default_rng(0)
    others = [stripes(), np.full((16, 16, 3), 255, np.uint8), random.integers(0, 256, (16, 16, 3), np.uint8)]
    allowed = classifier.bundle.metadata.ood_detector.false_alarm_rate
    assert np.mean(ours) > 1 - allowed - 0.05
    assert [row.sure for row in classifier.predict(others)].count(False) >= 2


def test_a_run_does_not_say_what_its_tiles_are_like(run, tiles):
    prediction = first(Classifier.from_pretrained(run), next(tiles.rglob("*.png")))
    assert prediction.sure is None and prediction.distance is None


def test_a_long_stream_takes_the_memory_of_a_batch(classifier):
    def stream(count):
        for _ in range(count):
            yield np.zeros((512, 512, 3), np.uint8)  # 0.8 MB each

    def peak(count):
        tracemalloc.start()
        for _ in classifier.predict(stream(count), batch_size=4):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak(8)
    assert peak(64) < peak(16) + 2e6


def test_asking_for_no_label_is_an_error_at_once(classifier):
    with pytest.raises(DataError):
        classifier.predict([], top_k=0)


def test_an_image_of_a_pixel_or_two_is_a_row_with_an_error(classifier):
    rows = list(classifier.predict([np.zeros((1, 1, 3), np.uint8), np.zeros((16, 2, 3), np.uint8)]))
    assert rows[0].error == "is 1x1 pixels, too small beside tiles of 16x16: at least 4x4 are needed"
    assert rows[1].error.startswith("is 2x16 pixels") and not rows[1].labels
    assert first(classifier, np.zeros((8, 8, 3), np.uint8)).error is None


def test_a_folder_without_images_is_an_error_before_any_work(tmp_path):
    (tmp_path / "empty" / "below").mkdir(parents=True)
    (tmp_path / "notes").mkdir()
    for name in ("README.md", ".hidden.png", "Thumbs.db"):
        (tmp_path / "notes" / name).write_bytes(b"x")
    for name in ("empty", "notes", "no*"):
        with pytest.raises(DataError, match=r"^There is nothing to predict in .*: it contains no image"):
            check_input_paths([str(tmp_path / name)])
    for name in ("*.png", "x" * 400, "nothing\n.png"):
        with pytest.raises(DataError, match=r"There is no file or folder|No file matches") as caught:
            check_input_paths([str(tmp_path / name)])
        assert str(caught.value).isprintable()


def test_what_systems_put_into_folders_is_not_predicted(tiles, tmp_path):
    good = next(tiles.rglob("*.png"))
    (tmp_path / "@eaDir").mkdir()
    for name in ("a.png", "._a.png", "@eaDir/a.png", "Thumbs.db", "labels.csv"):
        (tmp_path / name).write_bytes(good.read_bytes())
    for name in (str(tmp_path), f"{tmp_path}/*"):
        assert [each.name for each in expand(name)] == [str(tmp_path / "a.png")]


def test_probabilities_of_an_array_are_those_of_its_predictions(classifier, tiles):
    stack = np.stack([np.asarray(Image.open(path)) for path in sorted(tiles.rglob("*.png"))[:5]])
    found = classifier.predict_proba(stack)
    assert found.dtype == np.float32 and found.shape == (5, 3)
    assert np.allclose(found.sum(1), 1)
    for row, prediction in zip(found, classifier.predict(stack), strict=True):
        assert dict(zip(classifier.classes, row.tolist(), strict=True)) == pytest.approx(
            dict(prediction.labels), abs=1e-6
        )


def test_probabilities_of_tiles_of_another_size_and_of_none(classifier):
    assert classifier.predict_proba(np.zeros((2, 40, 50, 3), np.uint8)).shape == (2, 3)
    assert classifier.predict_proba(np.zeros((0, 16, 16, 3), np.uint8)).shape == (0, 3)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((16, 16, 3), np.uint8), r"Expected tiles uint8 \(N, H, W, 3\)"),
        (np.zeros((1, 16, 16, 3)), "not float64"),
        (np.zeros((1, 1, 1, 3), np.uint8), "too small"),
    ],
)
def test_an_array_that_cannot_be_predicted_is_one_line(classifier, array, message):
    with pytest.raises(DataError, match=message):
        classifier.predict_proba(array)


def test_precision_and_device_can_be_chosen(bundle, classifier):
    from orbitune.errors import ModelError

    tiles = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    exact = Classifier.from_pretrained(bundle.folder, precision="fp32", device="cpu").predict_proba(tiles)
    assert np.allclose(exact, classifier.predict_proba(tiles), atol=0.03)
    with pytest.raises(ModelError, match="The device nowhere cannot be used"):
        Classifier.from_pretrained(bundle.folder, device="nowhere")
