"""Fine-tuned models as backbones: merged weights, what is carried over, and the chain of hashes."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from samples import backbone_folder, saved_model

from orbitune.errors import ModelError
from orbitune.models.backbones import find_backbone, load_weights
from orbitune.models.checkpoint_io import open_saved, write_metadata
from orbitune.models.factory import build
from orbitune.models.lineage.carrying import carry_backbone
from orbitune.models.lineage.fine_tuned import backbone_of, open_backbone
from orbitune.models.lineage.shipping import without_paths
from orbitune.models.metadata import BackboneRecord
from orbitune.models.methods import METHODS
from orbitune.recipe import Recipe

CLASSES = ("a", "b", "c")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return find_backbone(str(backbone_folder(tmp_path_factory.mktemp("base") / "b")))


def logits(model, family, bands=3):
    pixels = torch.randn(2, bands, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return model.eval()(pixel_values=pixels, **family.forward).logits


def chain(place, base, *names, method="lora"):
    """Models that were trained one on the other, in folders of these names; returns the last folder."""
    backbone = base
    for seed, name in enumerate(names):
        saved_model(place / name, backbone, Recipe(method=method), CLASSES, seed=seed)
        backbone = open_backbone(str(place / name))
    return place / names[-1]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_a_backbone_with_the_outputs_of_the_model(tmp_path, base, method):
    model = saved_model(tmp_path / "one", base, Recipe(method=method), CLASSES)
    backbone = open_backbone(str(tmp_path / "one"))
    merged = load_weights(backbone, CLASSES, seed=0, keep_head=True)
    assert not any("lora" in name or "base_layer" in name for name, _ in merged.named_parameters())
    torch.testing.assert_close(logits(merged, base.family), logits(model, base.family), atol=1e-5, rtol=0)
    [link] = backbone.record.ancestors
    assert (link.method, link.base_sha256) == (method, base.weights_hash)
    assert link.merged_sha256 == backbone.weights_hash


@pytest.mark.parametrize("model_type", ["dinov3_vit", "siglip", "hiera"])
def test_other_families_are_merged_too(tmp_path, model_type):
    base = find_backbone(str(backbone_folder(tmp_path / "base", model_type)))
    model = saved_model(tmp_path / "one", base, Recipe(), CLASSES)
    backbone = open_backbone(str(tmp_path / "one"))
    assert backbone.family is base.family
    merged = load_weights(backbone, CLASSES, seed=0, keep_head=True)
    torch.testing.assert_close(logits(merged, base.family), logits(model, base.family), atol=1e-5, rtol=0)


def test_merging_gives_the_same_bytes_again(tmp_path, base, monkeypatch):
    folder, hashes = chain(tmp_path, base, "one", method="dora"), []
    for threads in (1, 2):
        monkeypatch.setenv("ORBITUNE_CACHE", str(tmp_path / f"cache-{threads}"))
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        hashes.append(open_backbone(str(folder)).weights_hash)
        torch.set_num_threads(before)
    assert hashes[0] == hashes[1]


def test_a_damaged_merged_folder_is_made_again(tmp_path, base):
    folder = chain(tmp_path, base, "one")
    backbone = open_backbone(str(folder))
    (backbone.folder / "model.safetensors").write_bytes(b"damaged")
    assert open_backbone(str(folder)).weights_hash == backbone.weights_hash


def test_a_merged_backbone_is_found_again_without_torch(tmp_path, base):
    folder = chain(tmp_path, base, "one", "two")
    code = (
        "import sys; from orbitune.models.lineage.fine_tuned import open_backbone; "
        "open_backbone(sys.argv[1]).weights_hash; print({'torch', 'transformers', 'peft'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


def test_normalisation_image_size_and_licence_are_carried_over(tmp_path, base):
    folder = chain(tmp_path, base, "one")
    stated = open_saved(folder)
    stated = stated.model_copy(
        update={
            "preprocessing": stated.preprocessing.at_size(48),
            "backbone": stated.backbone.model_copy(update={"licence": "mit"}),
        }
    )
    from orbitune.models.preprocessing import write_preprocessing

    write_preprocessing(folder, stated.preprocessing)
    write_metadata(folder, stated)
    backbone = open_backbone(str(folder))
    assert backbone.image_size == 48
    assert (backbone.preprocessing.mean, backbone.preprocessing.std) == ((0.4, 0.5, 0.6), (0.2,) * 3)
    assert backbone.record.licence == "mit"


# The head


def test_the_head_is_new_unless_it_is_kept(tmp_path, base):
    model = saved_model(tmp_path / "one", base, Recipe(), CLASSES)
    backbone = open_backbone(str(tmp_path / "one"))
    trained = model.get_base_model().classifier.weight
    for keep in (False, True):
        head = build(Recipe(method="full", keep_head=keep), backbone, classes=CLASSES).classifier.weight
        assert torch.equal(head, trained) == keep
    drawn = [build(Recipe(method="full"), backbone, classes=CLASSES).classifier.weight for _ in range(2)]
    assert torch.equal(*drawn) and 0.005 < drawn[0].std() < 0.05


def test_a_head_of_other_classes_cannot_be_kept(tmp_path, base):
    backbone = open_backbone(str(chain(tmp_path, base, "one")))
    with pytest.raises(ModelError, match=r"cannot be kept .*its classes are a, b, c, those .* are a, c, b"):
        build(Recipe(keep_head=True), backbone, classes=("a", "c", "b"))


# Bands


def test_bands_are_carried_over_and_in_another_order_refused(tmp_path, base):
    bands = ("B04", "B03", "B02", "B08")
    wide = base.for_bands(bands)
    from samples import model_metadata

    from orbitune.models.checkpoint_io import save_model

    model = build(Recipe(), wide, classes=CLASSES).eval()
    stated = base.preprocessing.model_copy(
        update={"bands": bands, "dtype": "uint16", "mean": (0.1, 0.2, 0.3, 0.4), "std": (0.1,) * 4}
    )
    metadata = model_metadata(wide, CLASSES).model_copy(update={"preprocessing": stated})
    save_model(model, tmp_path / "wide", backbone=wide, metadata=metadata)
    backbone = open_backbone(str(tmp_path / "wide"))
    assert (backbone.channels, backbone.preprocessing.bands) == (4, bands)
    assert backbone.preprocessing.mean == (0.1, 0.2, 0.3, 0.4)
    kept = load_weights(backbone.for_bands(bands), CLASSES, seed=0, keep_head=True)
    torch.testing.assert_close(logits(kept, base.family, 4), logits(model, base.family, 4))
    with pytest.raises(ModelError, match="choose them with --bands B04,B03,B02,B08"):
        backbone.for_bands(("B02", "B03", "B04", "B08"))


# The chain


def test_a_chain_of_three_records_and_joins_its_hashes(tmp_path, base):
    last = open_backbone(str(chain(tmp_path, base, "one", "two", "three")))
    links = last.record.ancestors
    assert [link.name for link in links] == ["one", "two", "three"]
    hashes = [base.weights_hash, *(link.merged_sha256 for link in links)]
    assert [link.base_sha256 for link in links] == hashes[:-1]
    assert hashes[-1] == last.weights_hash and len(set(hashes)) == 4
    assert last.description == "ViT fine-tuned in one (lora), then two (lora), then three (lora)"


def test_a_chain_whose_links_do_not_fit_names_the_link(tmp_path, base):
    record = open_backbone(str(chain(tmp_path, base, "one", "two"))).record.to_json()
    record["ancestors"][1]["base_sha256"] = 64 * "0"
    with pytest.raises(ValueError, match=r"link 2 of its chain \(two\) starts from other weights than one"):
        BackboneRecord.model_validate(record)
    del record["ancestors"][1]
    with pytest.raises(ValueError, match=r"link 1 of its chain \(one\) ends with other weights"):
        BackboneRecord.model_validate(record)


def test_a_changed_ancestor_is_named(tmp_path, base):
    two = chain(tmp_path, base, "one", "two")
    saved_model(tmp_path / "one", base, Recipe(), CLASSES, seed=7)  # trained again
    changed = open_backbone(str(tmp_path / "one"))
    from orbitune.models.checkpoint_io import load_saved

    with pytest.raises(ModelError, match=r"link 1 .*, one \(lora\), has changed: its own weights are"):
        load_saved(two, changed)


def test_the_base_in_place_of_the_ancestor_is_named(tmp_path, base):
    from orbitune.models.checkpoint_io import load_saved

    with pytest.raises(ModelError, match=r"link 1 of its chain, one \(lora\), is missing"):
        load_saved(chain(tmp_path, base, "one", "two"), base)


def test_merged_weights_that_were_changed_name_their_link(tmp_path, base):
    folder = open_backbone(str(chain(tmp_path, base, "one"))).folder
    other = open_backbone(str(chain(tmp_path, base, "x", method="bitfit"))).folder
    copy = shutil.copytree(folder, tmp_path / "copy")
    shutil.copyfile(other / "model.safetensors", copy / "model.safetensors")
    stated = open_saved(folder)
    write_metadata(copy, stated)  # as if someone had replaced the weights and their hash
    with pytest.raises(ModelError, match=r"not those of its link in the chain, one \(lora\): their SHA-256"):
        open_backbone(str(copy))


def test_a_missing_ancestor_is_one_line_that_says_what_to_do(tmp_path, base, monkeypatch):
    monkeypatch.setenv("ORBITUNE_CACHE", str(tmp_path / "cache"))
    two = chain(tmp_path, base, "one", "two")
    shutil.rmtree(tmp_path / "cache")
    again = backbone_of(two, open_saved(two))  # merged again
    assert again.weights_hash == open_saved(two).backbone.weights_sha256
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "one").rename(tmp_path / "moved")
    with pytest.raises(
        ModelError, match=r"bundle one \(lora\), is neither at .* in the cache; .* --backbone"
    ):
        backbone_of(two, open_saved(two))
    with pytest.raises(ModelError, match=r"two cannot be merged, .* are missing: .* one \(lora\)"):
        open_backbone(str(two))
    found = backbone_of(two, open_saved(two), name=str(tmp_path / "moved"))
    assert found.weights_hash == open_saved(two).backbone.weights_sha256


def test_a_carried_backbone_needs_no_ancestor(tmp_path, base, monkeypatch):
    monkeypatch.setenv("ORBITUNE_CACHE", str(tmp_path / "cache"))
    two = chain(tmp_path, base, "one", "two")
    carry_backbone(two, backbone_of(two, open_saved(two)))
    shutil.rmtree(tmp_path / "cache")
    shutil.rmtree(tmp_path / "one")
    found = backbone_of(two, open_saved(two))
    assert found.folder == (two / "backbone").resolve()
    stated = without_paths(open_saved(two)).backbone.ancestors
    assert tuple(link.model_copy(update={"folder": None}) for link in found.record.ancestors) == stated
    assert not (tmp_path / "cache" / "backbones").exists()


def test_a_run_that_is_not_finished_is_no_backbone(tmp_path, base):
    chain(tmp_path, base, "run")
    (tmp_path / "run" / "recipe.yaml").write_text("{}")
    with pytest.raises(ModelError, match="is a run that is not finished"):
        open_backbone(str(tmp_path / "run"))


def test_a_damaged_adapter_is_one_line(tmp_path, base):
    folder = chain(tmp_path, base, "one")
    stated = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**stated, "r": 4}))
    with pytest.raises(ModelError, match=r"adapter_config.json of .* is damaged"):
        open_backbone(str(folder))
