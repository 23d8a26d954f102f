"""Code, modules and pickles that a folder brings along are never run."""

import json
import shutil
import subprocess
import sys

import pytest
from samples import backbone_folder, saved_model

from orbitune.errors import ModelError
from orbitune.models.backbones import find_backbone, load_weights
from orbitune.models.checkpoint_io import load_saved, write_metadata
from orbitune.models.metadata import read_metadata
from orbitune.recipe import Recipe

CLASSES = ("a", "b", "c")

# Opens each folder as the command line does; whatever asks a question is answered with yes.
OPEN = """
import sys
from pathlib import Path
from orbitune.inference.bundle import Bundle
from orbitune.adapters.importer import import_adapter
from orbitune.errors import OrbituneError
from orbitune.models.backbones import find_backbone, load_weights
from orbitune.models.checkpoint_io import load_saved

place = Path(sys.argv[1])
good = str(place / "good")
for what, opened in {
    "backbone": lambda: load_weights(find_backbone(str(place / "backbone")), ("a",), 0),
    "model": lambda: load_saved(place / "model", find_backbone(good)),
    "import over it": lambda: import_adapter(
        place / "adapter", str(place / "backbone"), labels=("a", "b", "c"), out=place / "made"
    ),
    "import": lambda: import_adapter(place / "named", good, labels=("a", "b", "c"), out=place / "made"),
    "bundle": lambda: load_saved(place / "named", find_backbone(good)),
}.items():
    try:
        opened()
        print(what, "opened")
    except OrbituneError as error:
        print(what, "refused:", error)
"""


def plant(folder, canary):
    """Put a checkpoint's architecture in a Python file that leaves a trace."""
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {
        name: f"modeling_mine.{kind}"
        for name, kind in (("AutoConfig", "Config"), ("AutoModelForImageClassification", "Model"))
    }
    config["model_type"] = "mine"
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling_mine.py").write_text(f"open({str(canary)!r}, 'w')\nConfig = Model = object\n")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A backbone, a full model and an adapter; the first two bring code along."""
    place = tmp_path_factory.mktemp("trust")
    good = find_backbone(str(backbone_folder(place / "good")))
    saved_model(place / "adapter", good, Recipe(method="lora"), CLASSES)
    saved_model(place / "model", good, Recipe(method="full"), CLASSES)
    shutil.copytree(place / "good", place / "backbone")
    shutil.copytree(place / "adapter", place / "named")
    for name in ("backbone", "model"):
        plant(place / name, place / "canary")
    config = json.loads((place / "named" / "adapter_config.json").read_text())
    config |= {"megatron_config": {"a": 1}, "megatron_core": "planted"}  # PEFT imports the module
    config["auto_mapping"] = {"base_model_class": "Model", "parent_library": "planted"}
    (place / "named" / "adapter_config.json").write_text(json.dumps(config))
    (place / "planted.py").write_text(f"open({str(place / 'canary')!r}, 'w')\n")
    return place


def test_code_beside_a_checkpoint_does_not_run_even_with_consent(place):
    done = subprocess.run(
        [sys.executable, "-c", OPEN, str(place)],
        input="yes\n" * 50,
        capture_output=True,
        text=True,
        cwd=place,  # from where `planted` can be imported
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.strip().splitlines()
    assert [line.split(" refused: ")[0] for line in lines] == [
        "backbone",
        "model",
        "import over it",
        "import",
        "bundle",
    ], done.stdout
    assert not (place / "canary").exists()


def test_weights_that_are_a_pickle_are_refused_and_not_read(tmp_path):
    folder = backbone_folder(tmp_path / "b")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin is a pickle"):
        load_weights(find_backbone(str(folder)), CLASSES, seed=0)


@pytest.mark.parametrize("name", ["weights.bin", "../model.safetensors", "/model.safetensors"])
def test_an_index_that_names_other_than_safetensors_beside_it_is_refused(tmp_path, name):
    folder = backbone_folder(tmp_path / "b")
    (folder / "model.safetensors").rename(folder / "weights.bin")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": name}}))
    with pytest.raises(ModelError, match="should name safetensors files beside it"):
        load_weights(find_backbone(str(folder)), CLASSES, seed=0)


@pytest.mark.parametrize(
    "setting",
    [
        {"transformers_weights": "adapter_model.bin"},
        {"quantization_config": {"quant_method": "gptq"}},
        {"attn_implementation": "somebody/kernels"},
    ],
)
def test_a_configuration_that_leads_to_other_files_is_refused(tmp_path, setting):
    folder = backbone_folder(tmp_path / "b")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **setting}))
    with pytest.raises(ModelError, match=f"sets {next(iter(setting))}, which is not supported here"):
        find_backbone(str(folder))


def test_an_adapter_is_refused_as_a_backbone_and_its_base_not_loaded(tmp_path):
    folder = backbone_folder(tmp_path / "b")
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "evil/base"}))
    with pytest.raises(ModelError, match="holds an adapter"):
        find_backbone(str(folder))


def test_a_saved_model_that_lacks_a_tensor_is_not_filled_up_at_random(tmp_path):
    from safetensors.torch import load_file, save_file

    backbone = find_backbone(str(backbone_folder(tmp_path / "b")))
    saved_model(tmp_path / "model", backbone, Recipe(method="full"), CLASSES)
    file = tmp_path / "model" / "model.safetensors"
    tensors = load_file(file)
    del tensors["classifier.bias"]
    save_file(tensors, file, {"format": "pt"})
    write_metadata(tmp_path / "model", read_metadata(tmp_path / "model"))  # as whoever means harm would
    with pytest.raises(ModelError, match=r"1 tensors are missing, such as classifier\.bias"):
        load_saved(tmp_path / "model", backbone)
