"""Training, saving and using models of more bands than red, green and blue."""

import json

import numpy as np
import pytest
import torch
from band_tiles import NAMES, write_bands
from image_files import encode, tile, write
from samples import backbone_folder

from orbitune.data.transform import Transform, to_tensor
from orbitune.errors import DataError, ModelError
from orbitune.evaluation.network import fast_network, plain_network
from orbitune.inference.classifier import Classifier
from orbitune.models.backbones import find_backbone, load_weights
from orbitune.models.factory import build, plan_parameters, resolve
from orbitune.models.inputs.widening import colour_fractions
from orbitune.models.methods import METHODS
from orbitune.recipe import Recipe
from orbitune.training.run import train

pytest.importorskip("rasterio")
CLASSES = ("a", "b", "c")


def backbone_of(band_place, bands=NAMES):
    return find_backbone(str(band_place / "backbone")).for_bands(bands)


@pytest.mark.parametrize("bands", [NAMES, ("B01", "B8A"), ("1", "2", "3", "4"), ("B08",), ("ndvi", "red")])
def test_the_kernel_of_each_colour_is_divided_among_the_bands(bands):
    fractions = colour_fractions(bands)
    assert fractions.shape == (len(bands), 3) and (fractions >= 0).all()
    np.testing.assert_allclose(fractions.sum(0), 1, rtol=1e-6)


def test_a_colours_own_band_keeps_most_of_its_kernel():
    red, green, blue, nir, swir = colour_fractions(NAMES)
    np.testing.assert_allclose([red[0], green[1], blue[2]], [0.9, 1, 1])
    np.testing.assert_allclose([nir, swir], [[0.05, 0, 0]] * 2, rtol=1e-5)


@pytest.mark.parametrize("model_type", ["vit", "deit", "dinov2"])
def test_a_grey_tile_has_the_embeddings_of_a_grey_image(tmp_path, model_type):
    own = find_backbone(str(backbone_folder(tmp_path / "b", model_type)))
    wide = load_weights(own.for_bands(NAMES), CLASSES, seed=0)
    plain = load_weights(own, CLASSES, seed=0)
    grey = torch.randn(1, 1, 32, 32)
    with torch.inference_mode():
        embed = f"{own.family.body}.embeddings.patch_embeddings"
        expected = plain.get_submodule(embed)(grey.expand(-1, 3, -1, -1))
        torch.testing.assert_close(wide.get_submodule(embed)(grey.expand(-1, 5, -1, -1)), expected)


def test_a_backbone_of_other_bands_says_how_many_it_reads(band_place):
    wide = load_weights(backbone_of(band_place), CLASSES, seed=0)
    wide.save_pretrained(band_place / "five")
    native = find_backbone(str(band_place / "five"))
    assert native.for_bands(NAMES) is native
    with pytest.raises(ModelError, match=r"reads 5 bands, and the tiles have 4 \(1, 2, 3, 4\)"):
        native.for_bands(("1", "2", "3", "4"))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_and_stores_the_widened_embedding(band_place, method):
    recipe = resolve(Recipe(method=method, precision="fp32", lora={"rank": 2}), backbone_of(band_place))
    if method == "oft":
        recipe = recipe.replace(lora={"rank": 4})
    model = build(recipe, backbone_of(band_place), classes=CLASSES)
    trained = [name for name, p in model.named_parameters() if p.requires_grad and "projection" in name]
    assert len(trained) == 2
    narrow = plan_parameters(recipe, find_backbone(str(band_place / "backbone")), classes=CLASSES)
    wide = plan_parameters(recipe, backbone_of(band_place), classes=CLASSES)
    kernels = 32 * 8 * 8
    assert wide.total - narrow.total == 2 * kernels
    if METHODS[method].folder == "adapter":
        assert wide.stored - narrow.stored >= 5 * kernels


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("trained", [False, True])
def test_the_fast_path_computes_the_same(band_place, dtype, trained):
    backbone = backbone_of(band_place)
    model = load_weights(backbone, CLASSES, seed=0).eval().requires_grad_(trained)
    transform = Transform(32, (0.1, 0.2, 0.3, 0.1, 0.2), (0.1, 0.2, 0.1, 0.2, 0.1), "bilinear")
    largest = np.iinfo(dtype).max
    tiles = to_tensor(np.random.default_rng(0).integers(0, largest, (3, 16, 16, 5), dtype, endpoint=True))
    plain = plain_network(model, backbone.family, transform=transform)
    fast = fast_network(model, backbone.family, transform=transform, dtype=torch.float32)
    torch.testing.assert_close(fast(tiles), plain(tiles), atol=1e-4, rtol=1e-4)


def test_a_model_learns_from_bands_that_no_image_has(band_run):
    assert band_run.test.accuracy > 0.8  # classes differ in B08 and B11 alone
    used = band_run.preprocessing
    assert used.bands == NAMES and used.dtype == "uint16" and "training tiles" in used.stated_by
    assert band_run.data.statistics.tiles == band_run.data.sizes["train"]
    np.testing.assert_allclose(np.array(used.mean) * 65535, band_run.data.statistics.mean)


def test_plain_peft_opens_the_adapter_given_the_number_of_channels(band_place, band_run):
    from peft import PeftModel
    from transformers import AutoModelForImageClassification

    base = AutoModelForImageClassification.from_pretrained(
        band_place / "backbone", num_labels=3, num_channels=5, ignore_mismatched_sizes=True
    )
    model = PeftModel.from_pretrained(base, band_place / "run" / "adapter").eval()
    classifier = Classifier(band_place / "run", precision="fp32")
    tiles = np.random.default_rng(0).integers(0, 5000, (4, 16, 16, 5), np.uint16)
    pixels = band_run.preprocessing.transform(to_tensor(tiles))
    with torch.inference_mode():
        logits = model(pixel_values=pixels, interpolate_pos_encoding=True).logits
    expected = (logits / classifier.bundle.temperature).softmax(1).numpy()
    np.testing.assert_allclose(classifier.predict_proba(tiles), expected, atol=1e-4)


def test_a_bundle_reads_its_bands_by_name_from_files_in_another_order(band_place, band_bundle, tmp_path):
    import rasterio

    source = sorted((band_place / "tiles" / "class_2").iterdir())[0]
    with rasterio.open(source) as file:
        pixels = file.read()
    other = write_bands(tmp_path / "other.tif", pixels[::-1], NAMES[::-1])
    plain = write_bands(tmp_path / "plain.tif", pixels[::-1])
    classifier = Classifier(band_place / "bundle")
    (expected,) = classifier.predict(source)
    (found,) = classifier.predict(other)
    assert found.labels == expected.labels and found.error is None
    (numbered,) = Classifier(band_place / "bundle", bands=(5, 4, 3, 2, 1)).predict(plain)
    assert numbered.labels == expected.labels
    assert band_bundle.metadata.data.statistics.tiles > 0
    assert len(band_bundle.metadata.data.brightness.mean) == 5


def test_inputs_without_the_bands_are_one_line_each(band_place, band_bundle, tmp_path):
    image = write(tmp_path / "image.png", encode(tile(1, 16)))
    shallow = write_bands(tmp_path / "shallow.tif", np.ones((5, 16, 16), np.uint8), NAMES)
    classifier = Classifier(band_place / "bundle")
    errors = [each.error for each in classifier.predict([image, shallow, np.zeros((16, 16, 3), np.uint8)])]
    assert errors == [
        "has no bands B08, B11: it has red, green, blue",
        "has 8-bit values, but the model was trained on 16-bit tiles",
        "is an array uint8 (16, 16, 3), not uint8 or uint16 (height, width, 5)",
    ]
    with pytest.raises(DataError, match="--bands names 3 bands, and the model reads 5: B04, B03"):
        Classifier(band_place / "bundle", bands=(1, 2, 3))


@pytest.mark.slow
def test_an_onnx_file_takes_16_bits(band_place, band_run):
    pytest.importorskip("onnxruntime")
    from orbitune.exporting.exporter import export

    report = export(band_place / "run", ["onnx"], out=band_place / "export", progress=False)
    assert report.formats["onnx"].largest_difference < 1e-3
    import onnxruntime

    session = onnxruntime.InferenceSession(band_place / "export" / "model.onnx")
    assert session.get_inputs()[0].type == "tensor(uint16)"
    assert json.loads(session.get_modelmeta().custom_metadata_map["bands"]) == list(NAMES)


def test_corruptions_near_duplicates_and_baselines_take_any_bands(band_place, band_run):
    from orbitune.data.leakage.near_duplicates import find_near_duplicates
    from orbitune.evaluation.baselines import colour_statistics
    from orbitune.training.corruption_scores import score_robustness
    from orbitune.training.setup import prepare_training

    scores = score_robustness(band_place / "run", 12, progress=False)
    assert scores.count == 12 and scores.clean.accuracy > 0.7
    setup = prepare_training(band_run.recipe, progress=False)
    assert all(found.count == 0 for found in find_near_duplicates(setup.tiles, setup.splits))
    assert colour_statistics(setup.tiles).shape == (90, 35)


def test_frozen_layers_cannot_be_cached_below_a_trained_embedding(band_place, tmp_path):
    recipe = {"data": str(band_place / "tiles"), "backbone": str(band_place / "backbone"), "method": "linear"}
    with pytest.raises(ModelError, match="tiles of three bands"):
        train(Recipe.make({**recipe, "cache_frozen": True, "epochs": 1}), tmp_path / "run", progress=False)
