import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from samples import backbone_folder, model_metadata
from shipped import files_with_paths

from orbitune.errors import ModelError, OrbituneError, RunError
from orbitune.evaluation.run_result import RunResult
from orbitune.inference import ood_fitting
from orbitune.inference.bundle import Bundle
from orbitune.inference.bundle_builder import build_bundle
from orbitune.inference.bundle_model import BundleModel
from orbitune.inference.model_card import write_model_card
from orbitune.inference.ood_fitting import choose_rate
from orbitune.models.backbones import find_backbone
from orbitune.training.setup import prepare_training


@pytest.fixture
def copy(bundle, tmp_path):
    """Return a copy of the bundle that may be damaged."""
    return shutil.copytree(bundle.folder, tmp_path / "copy")


def test_files_of_runs_and_bundles_have_the_mode_of_the_umask(bundle, run):
    for folder in (bundle.folder, run):
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert any(path.suffix == ".safetensors" for path in files)
        assert {path.stat().st_mode & 0o777 for path in files} == {0o644}  # the tests' umask is 022


def test_plain_peft_opens_a_bundle_and_gives_the_same_logits(bundle):
    from peft import PeftModel
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    base = AutoModelForImageClassification.from_pretrained(
        bundle.backbone().folder, num_labels=3, ignore_mismatched_sizes=True
    )
    model = PeftModel.from_pretrained(base, bundle.folder).eval()
    tile = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)  # its own size: not resized
    pixels = AutoImageProcessor.from_pretrained(bundle.folder)(tile, return_tensors="pt")
    with torch.inference_mode():
        plain = model(**pixels, interpolate_pos_encoding=True).logits.numpy()
    ours, _ = BundleModel(bundle, precision="fp32").compute(tile[None])
    assert np.allclose(plain, ours, atol=1e-4)


@pytest.mark.parametrize("model_type", ["vit", "clip", "siglip"])
def test_a_card_shows_plain_peft_only_where_it_reads_the_bands(tmp_path, model_type):
    bands = ("B04", "B03", "B02", "B08")
    backbone = find_backbone(str(backbone_folder(tmp_path / "backbone", model_type))).for_bands(bands)
    read = {"bands": bands, "mean": (0.5,) * 4, "std": (0.2,) * 4}
    metadata = model_metadata(backbone, ("a", "b"), temperature=1.0)
    metadata = metadata.model_copy(update={"preprocessing": metadata.preprocessing.model_copy(update=read)})
    write_model_card(tmp_path, metadata, family=backbone.family)
    card = (tmp_path / "README.md").read_text()
    assert "Classifier.from_pretrained" in card
    assert ("num_labels=2, num_channels=4" in card) == ("PeftModel" in card) == (model_type == "vit")


def test_a_bundle_holds_all_that_prediction_needs(bundle, run):
    result, metadata = RunResult.load(run), bundle.metadata
    assert bundle.classes == ("class_0", "class_1", "class_2")
    assert bundle.tile_size == (16, 16)
    assert metadata.preprocessing.image_size == 32
    assert metadata.backbone.weights_sha256 == bundle.backbone().weights_hash
    assert metadata.data.fingerprint == result.data.fingerprint
    inputs = json.loads((run / "inputs.json").read_text())
    assert metadata.data.splits_sha256 == inputs["splits"]
    assert metadata.scores["test"].interval == result.test.interval
    assert (metadata.ood_detector.false_alarm_rate, metadata.ood_detector.validation_tiles) == (0.21, 24)
    assert metadata.temperature > 0
    assert set(metadata.files) == {"adapter_model.safetensors", "likeness.safetensors"}
    settings = {"adapter_config.json", "preprocessor_config.json", "training-tiles.json"}
    assert set(metadata.settings) == settings


def test_a_bundle_carries_a_validation_tile_of_each_class_only_if_asked(bundle, example_bundle, run):
    assert not (bundle.folder / "examples").exists()
    setup = prepare_training(RunResult.load(run).data_recipe, progress=False)
    validation = setup.splits["validation"]
    for label in range(3):
        with Image.open(example_bundle.folder / "examples" / f"{label}.png") as image:
            same = (setup.tiles.read(validation) == np.asarray(image)).all((1, 2, 3))
        assert setup.tiles.labels[validation[same]].tolist() == [label]


def test_tiles_of_other_bands_cannot_be_examples(band_place, band_run, tmp_path):
    with pytest.raises(RunError, match="Tiles can be examples with 8-bit red, green and blue"):
        build_bundle(band_place / "run", tmp_path / "bundle", examples=True, progress=False)
    assert not list(tmp_path.iterdir())


def test_storing_in_16_bits_halves_the_file_and_states_the_loss(bundle, run):
    name = "adapter_model.safetensors"
    assert (bundle.folder / name).stat().st_size < 0.7 * (run / "adapter" / name).stat().st_size
    storage = bundle.metadata.storage
    assert storage.dtype == "float16" and storage.tiles == RunResult.load(run).validation.count
    assert 0 < storage.largest_logit_difference < 0.1
    assert abs(storage.accuracy_after - storage.accuracy_before) <= 1 / storage.tiles


def test_the_card_has_the_hubs_format_and_the_measured_scores(bundle, run):
    from huggingface_hub import ModelCard

    card, test = ModelCard.load(bundle.folder / "README.md"), RunResult.load(run).test
    by_metric = {
        each.metric_type: each.metric_value for each in card.data.eval_results if each.dataset_split == "test"
    }
    assert by_metric == {"accuracy": test.accuracy, "f1": test.macro_f1}
    assert card.data.pipeline_tag == "image-classification" and card.data.library_name == "peft"
    assert "base_model" not in card.data.to_dict()  # a folder of this machine is no id of the hub
    low, high = test.interval
    assert f"{low:.2%} to {high:.2%}" in card.text
    assert bundle.metadata.backbone.weights_sha256 in card.text
    assert "stored as float16" in card.text


def test_a_bundle_of_full_fine_tuning_needs_no_backbone(runs, tmp_path):
    made = build_bundle(runs / "full", tmp_path / "bundle", dtype="bfloat16", progress=False)
    (runs / "backbone").rename(runs / "elsewhere")
    try:
        logits, features = BundleModel(made).compute(np.zeros((2, 16, 16, 3), np.uint8))
    finally:
        (runs / "elsewhere").rename(runs / "backbone")
    assert logits.shape == (2, 3) and features.shape == (2, 32)
    assert json.loads((made.folder / "config.json").read_text())["dtype"] == "bfloat16"


def test_a_finished_run_opens_like_its_bundle(bundle, run):
    opened = Bundle.open(run)
    assert opened.temperature == pytest.approx(bundle.temperature)
    assert (opened.classes, opened.tile_size) == (bundle.classes, bundle.tile_size)
    assert opened.ood_detector is None


def test_other_base_weights_are_an_error(copy, tmp_path):
    torch.manual_seed(1)
    other = backbone_folder(tmp_path / "other", layers=3)
    opened = Bundle.open(copy)
    with pytest.raises(ModelError, match="other weights"):
        opened.model(opened.backbone(str(other)))


def test_a_backbone_that_was_moved_can_be_given(copy):
    metadata = json.loads((copy / "orbitune.json").read_text())
    metadata["backbone"] |= {"name": "/gone", "reference": "/gone"}
    (copy / "orbitune.json").write_text(json.dumps(metadata))
    with pytest.raises(ModelError, match="say where it is with --backbone"):
        Bundle.open(copy).backbone()


def test_a_bundle_holds_no_path_of_the_machine_and_names_the_backbone_by_name_and_hash(bundle, run):
    assert files_with_paths(bundle.folder) == []
    stated, own = bundle.metadata.backbone, RunResult.load(run).backbone
    assert (stated.name, stated.reference) == ("backbone", f"sha256:{own.weights_sha256}")
    assert bundle.metadata.data.name == "tiles"
    config = json.loads((bundle.folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "backbone"
    card = (bundle.folder / "README.md").read_text()
    assert (
        "where BACKBONE is the folder of the ViT checkpoint backbone" in card and own.weights_sha256 in card
    )


def test_a_bundle_that_names_its_backbone_by_hash_is_of_a_format_that_earlier_versions_refuse(bundle):
    """They would look for the hash on the hub; with all weights there is nothing to look for."""
    written = Bundle.open(bundle.folder).metadata
    assert json.loads((bundle.folder / "orbitune.json").read_text())["format"] == 5
    on_hub = written.backbone.model_copy(update={"reference": "facebook/dinov2-small"})
    for change in ({"backbone": on_hub}, {"settings": {}}):
        assert written.model_copy(update=change).to_json()["format"] == 3


def test_a_backbone_is_found_by_its_hash_on_a_machine_that_has_used_it(bundle, run, tmp_path, monkeypatch):
    place = RunResult.load(run).backbone.reference
    monkeypatch.setenv("ORBITUNE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ModelError, match=r"backbone, whose .* is not known on this machine\. .* --backbone"):
        bundle.backbone()
    bundle.model(bundle.backbone(place))
    assert str(bundle.backbone().folder) == place
    other = backbone_folder(tmp_path / "moved")
    (tmp_path / "cache" / "places" / bundle.metadata.backbone.weights_sha256).write_text(str(other))
    with (other / "model.safetensors").open("ab") as file:
        file.write(b"other weights")
    with pytest.raises(ModelError, match="is not known on this machine"):
        bundle.backbone()


def test_a_backbone_is_found_where_it_was_used_before_once_its_last_copy_is_gone(
    bundle, run, tmp_path, monkeypatch
):
    place = RunResult.load(run).backbone.reference
    monkeypatch.setenv("ORBITUNE_CACHE", str(tmp_path / "cache"))
    copied = shutil.copytree(place, tmp_path / "copy")
    for folder in (place, copied):
        bundle.model(bundle.backbone(str(folder)))
    assert bundle.backbone().folder == copied
    (copied / "config.json").write_text("{}")
    assert str(bundle.backbone().folder) == place
    shutil.rmtree(copied)
    assert str(bundle.backbone().folder) == place


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "likeness.safetensors"])
def test_a_file_cut_short_or_missing_is_one_line(copy, name):
    file = copy / name
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ModelError, match=f"{name} of .* is damaged"):
        Bundle.open(copy)
    file.unlink()
    with pytest.raises(ModelError, match=f"lacks {name}"):
        Bundle.open(copy)


def test_an_adapter_that_lacks_a_tensor_is_not_filled_up_at_random(copy):
    from safetensors.torch import load_file, save_file

    file = copy / "adapter_model.safetensors"
    tensors = load_file(file)
    tensors.pop(next(name for name in tensors if "lora_B" in name))
    save_file(tensors, file, {"format": "pt"})
    metadata = json.loads((copy / "orbitune.json").read_text())
    (copy / "orbitune.json").write_text(json.dumps({**metadata, "files": {}}))
    opened = Bundle.open(copy)
    with pytest.raises(ModelError, match="missing adapter keys"):
        opened.model(opened.backbone())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no readable orbitune.json"),
        ('{"format": 1}', "lacks method, classes"),
        ('{"format": 3, "method": 0, "classes": 0, "preprocessing": 0, "backbone": 0, "scores": 0}', "newer"),
    ],
)
def test_a_damaged_or_newer_description_is_one_line(copy, text, message):
    (copy / "orbitune.json").write_text(text)
    with pytest.raises(RunError, match=message):
        Bundle.open(copy)


def test_an_invalid_bundle_is_one_line(tmp_path, monkeypatch):
    with pytest.raises(RunError, match="There is no folder nothing"):
        Bundle.open("nothing")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OrbituneError, match="Cannot get model 'owner/name'"):
        Bundle.open("owner/name")


def test_the_folder_of_a_study_is_told_from_that_of_a_run(run):
    with pytest.raises(RunError, match=f"runs?: pass one of them, such as {run.parent}"):
        Bundle.open(run.parent)


def test_a_bundle_is_told_from_a_run(bundle):
    with pytest.raises(RunError, match=r"is a bundle: pass the folder of its run, or evaluate it with"):
        RunResult.load(bundle.folder)


def test_a_folder_that_exists_is_never_replaced(run, tmp_path):
    with pytest.raises(RunError, match="exists; choose another --out"):
        build_bundle(run, tmp_path, progress=False)
    (tmp_path / "file").touch()
    with pytest.raises(OrbituneError, match=r"file/new: .*file is a file, not a folder\.$"):
        build_bundle(run, tmp_path / "file" / "new", progress=False)


def test_a_false_alarm_rate_that_the_validation_tiles_cannot_hold_is_one_line(run, tmp_path):
    message = "of 0.1 needs 50 validation tiles, and the run has 24: 0.21 is the smallest that they hold"
    with pytest.raises(RunError, match=message):
        build_bundle(run, tmp_path / "bundle", false_alarm_rate=0.1, progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("tiles", "rate", "words"),
    [
        (5400, 0.01, ""),
        (500, 0.01, ""),
        (100, 0.05, "up to 5 % of tiles like the training tiles will be not sure: 100 validation tiles hold"),
        (14, None, "no tile will be not sure: 14 validation tiles hold no false-alarm rate below 36 %"),
    ],
)
def test_the_default_false_alarm_rate_is_the_smallest_that_is_held(tiles, rate, words, caplog):
    assert choose_rate(None, tiles) == rate
    assert caplog.text.count("not sure") == bool(words) and words in caplog.text


def test_limits_for_cells_count_tiles_not_views_of_the_same_tile(
    band_place, band_run, tmp_path, caplog, monkeypatch
):
    """Several views of a tile would make few tiles look like enough for 3 %."""
    views = []

    def compute(model, setup, *, indices, views_of=ood_fitting.compute_outputs, **more):
        if more.get("views"):
            views.extend(indices.tolist())
        return views_of(model, setup, indices=indices, **more)

    monkeypatch.setattr(ood_fitting, "compute_outputs", compute)
    bundle = build_bundle(band_place / "run", tmp_path / "bundle", false_alarm_rate=0.4, progress=False)
    tiles = bundle.metadata.ood_detector.validation_tiles
    assert len(views) == len(set(views)) == tiles < 167
    percent = 100 * ood_fitting.smallest_rate(tiles)
    assert f"up to {percent:g} % of the views of tiles lie beyond each limit" in caplog.text


@pytest.mark.parametrize(
    ("more", "message"), [({"dtype": "int8"}, "float32, float16"), ({"false_alarm_rate": 0.0}, "between 0")]
)
def test_a_setting_that_makes_no_sense_is_one_line(run, tmp_path, more, message):
    with pytest.raises(RunError, match=message):
        build_bundle(run, tmp_path / "bundle", progress=False, **more)
