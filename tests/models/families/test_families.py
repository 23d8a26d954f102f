"""Every family of the table with every method, on a tiny random checkpoint in the hub's layout.

Those of timm are architectures, as each names its parts in its own way.
"""

import json
import subprocess
import sys

import pytest
import torch
from samples import backbone_folder, model_metadata, saved_model
from timm_models import TINY, timm_folder

from orbitune.data.transform import Transform
from orbitune.errors import ModelError
from orbitune.evaluation.network import make_network, plan_network
from orbitune.models import reload
from orbitune.models.backbones import find_backbone, load_weights
from orbitune.models.checkpoint_io import save_model
from orbitune.models.factory import build, resolve
from orbitune.models.families.family import layer_names
from orbitune.models.families.known import family_of
from orbitune.models.families.table import FAMILIES
from orbitune.models.methods import METHODS, parameter_groups
from orbitune.recipe import Recipe

CLASSES = ("a", "b", "c")
# The others have tests of their own, in test_methods.py.
OLD = ("vit", "deit", "dinov2", "dinov2_with_registers")
NEW = [*(name for name in FAMILIES if name not in (*OLD, "timm_wrapper")), *TINY]
# Two methods in the quick tests: an adapter, and all weights.
METHOD_CASES = [
    pytest.param(name, marks=[] if name in ("lora", "full") else pytest.mark.slow) for name in METHODS
]
PLAIN = [name for name in (*OLD, *NEW) if name in TINY or FAMILIES[name].why_plain]
# Of one size, or of whole windows.
FIXED = ("beit_base_patch16_224", "maxvit_rmlp_nano_rw_256")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A function that returns the tiny backbone of a family."""
    place, made = tmp_path_factory.mktemp("families"), {}

    def checkpoint(model_type):
        if model_type not in made:
            write = timm_folder if model_type in TINY else backbone_folder
            made[model_type] = find_backbone(str(write(place / model_type, model_type)))
        return made[model_type]

    return checkpoint


def logits(model, backbone, size=None):
    size = size or backbone.image_size
    pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return model(pixel_values=pixels, **backbone.family.forward).logits


def train_a_step(model, backbone, recipe):
    """Take one step of AdamW, and return the names of trainable tensors without a gradient."""
    model.train()
    shape = 3, 3, backbone.image_size, backbone.image_size
    pixels = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.AdamW(parameter_groups(model, recipe), lr=1e-2)
    out = model(pixel_values=pixels, **backbone.family.forward)
    torch.nn.functional.cross_entropy(out.logits, torch.tensor([0, 1, 2])).backward()
    missing = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    optimizer.step()
    model.eval()
    return missing


SETTINGS = {name: {"rank": 2} for name in TINY}  # OFT rotates blocks of 4 times the rank
# PEFT has these methods for linear layers alone.
LINEAR_ONLY = ("pissa", "vera", "randlora", "fourierft", "oft")
NO_LINEAR = "no linear layer to adapt outside its head"
CONVOLUTIONAL = ("resnet", "test_resnet", "test_efficientnet")
REFUSED = {(name, each): NO_LINEAR for name in CONVOLUTIONAL for each in LINEAR_ONLY}
for name in ("test_convnext", "maxvit_rmlp_nano_rw_256"):
    REFUSED[name, "oft"] = r"PEFT's OFT cannot rotate the inputs of timm_model\.stages\.0.*, which are grids"


@pytest.mark.parametrize("model_type", NEW)
@pytest.mark.parametrize("method", METHOD_CASES)
def test_every_method_trains_saves_reloads_and_merges(tmp_path, checkpoints, model_type, method):
    backbone, recipe = checkpoints(model_type), Recipe(method=method, lora=SETTINGS.get(model_type, {}))
    if message := REFUSED.get((model_type, method)):
        with pytest.raises(ModelError, match=message):
            build(recipe, backbone, classes=CLASSES)
        return
    model = build(recipe, backbone, classes=CLASSES)
    before = logits(model.eval(), backbone)
    assert train_a_step(model, backbone, recipe) == []
    after = logits(model, backbone)
    assert (after - before).abs().max() > 1e-4
    save_model(model, tmp_path / "saved", backbone=backbone, metadata=model_metadata(backbone, CLASSES))
    again = reload.load(str(tmp_path / "saved"), str(backbone.folder))
    assert (logits(again, backbone) - after).abs().max() < 1e-5
    if METHODS[method].folder == "adapter":
        merged = model.merge_and_unload()
        assert not any("lora" in name or "base_layer" in name for name, _ in merged.named_parameters())
        assert (logits(merged, backbone) - after).abs().max() < 1e-5


@pytest.mark.parametrize("model_type", NEW)
def test_a_family_reads_other_sizes_and_other_bands(checkpoints, model_type):
    backbone = checkpoints(model_type)
    model = load_weights(backbone.for_bands(("B04", "B03", "B02", "B08")), CLASSES, seed=0).eval()
    size = backbone.image_size + (0 if model_type in FIXED else 2 * backbone.step)
    out = model(pixel_values=torch.zeros(1, 4, size, size), **backbone.family.forward)
    assert out.logits.shape == (1, 3)


@pytest.mark.parametrize("model_type", NEW)
def test_top_layers_leave_the_others_alone(checkpoints, model_type):
    for method in ("lora", "ia3", "topk"):
        backbone = checkpoints(model_type)
        recipe = Recipe(method=method, lora={"top_layers": 1, **SETTINGS.get(model_type, {})})
        model = build(recipe, backbone, classes=CLASSES)
        [*_, last] = layer_names(model.get_base_model(), backbone.family)
        trained = [name for name, p in model.named_parameters() if p.requires_grad]
        inside = [name for name in trained if f".{last}." in name]
        heads = tuple(f"base_model.model.{head}." for head in backbone.family.heads)
        others = [name for name in trained if not name.startswith(heads) and name not in inside]
        norm = backbone.family.last_norm
        assert inside and not [name for name in others if not norm or f".{norm}." not in name]


@pytest.mark.parametrize("names", [[name for name in NEW if name not in TINY], list(TINY)])
def test_a_fresh_process_reloads_every_family(tmp_path, checkpoints, names):
    words = []
    for model_type in names:
        backbone, folder = checkpoints(model_type), tmp_path / model_type
        model = saved_model(folder, backbone, Recipe(method="lora"), CLASSES)
        words.append([str(folder), str(backbone.folder), backbone.family.forward, backbone.image_size])
        torch.save(logits(model, backbone), tmp_path / f"{model_type}.pt")
    code = (
        "import json, sys, torch\n"
        "from orbitune.models import reload\n"
        "found = []\n"
        "for folder, base, forward, size in json.loads(sys.argv[1]):\n"
        "    pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))\n"
        "    with torch.inference_mode():\n"
        "        logits = reload.load(folder, base)(pixel_values=pixels, **forward).logits\n"
        "    kept = torch.load(folder + '.pt', weights_only=True)\n"
        "    found.append((logits - kept).abs().max().item())\n"
        "print(json.dumps(found))"
    )
    done = subprocess.run([sys.executable, "-c", code, json.dumps(words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert max(json.loads(done.stdout.splitlines()[-1])) < 1e-5


# How a family is computed


@pytest.mark.parametrize("model_type", [*OLD, *NEW])
def test_a_family_says_how_it_is_computed(checkpoints, model_type):
    backbone = checkpoints(model_type)
    recipe = resolve(Recipe(precision="fp32"), backbone)
    model = build(recipe, backbone, classes=CLASSES)
    plan = plan_network(model, recipe, backbone=backbone, size=backbone.image_size)
    assert plan.fast == (model_type not in PLAIN)
    if not plan.fast:
        assert plan.why_not_fast.startswith(f"{backbone.family.title} is computed by transformers: ")


@pytest.mark.parametrize("model_type", [name for name in NEW if name not in PLAIN])
def test_the_fast_path_computes_what_transformers_does(checkpoints, model_type):
    backbone = checkpoints(model_type)
    model = build(Recipe(), backbone, classes=CLASSES).eval()
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2))
    transform = Transform(32, (0.4, 0.5, 0.6), (0.2, 0.2, 0.2), "bilinear")
    tiles = torch.randint(0, 256, (3, 20, 20, 3), dtype=torch.uint8)
    recipe = resolve(Recipe(precision="fp32", image_size=32), backbone)
    outputs = []
    for fast in (True, False):
        network = make_network(
            model, recipe.replace(fast=fast), backbone=backbone, transform=transform
        ).eval()
        model.zero_grad()
        out = network(tiles)
        out.square().sum().backward()
        outputs.append([out.detach(), *(p.grad.clone() for p in model.parameters() if p.requires_grad)])
    for fast, plain in zip(*outputs, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("model_type", NEW)
def test_logits_do_not_depend_on_smaller_images_before(checkpoints, model_type):
    backbone = checkpoints(model_type)
    model, fresh = (load_weights(backbone, CLASSES, seed=0).eval() for _ in range(2))
    logits(model, backbone, size=backbone.smallest)
    assert torch.equal(logits(model, backbone), logits(fresh, backbone))


# What is refused


@pytest.mark.parametrize(
    ("model_type", "message"),
    [
        ("dinov3_vits", "not supported. The nearest supported ones are: dinov3_vit, "),
        ("siglip2", "SigLIP 2 checkpoints of one size are of type siglip"),
        ("siglip2_vision_model", "SigLIP 2 checkpoints of one size are of type siglip"),
        ("llama", "which is not supported. Supported are: vit, deit"),
    ],
)
def test_an_unknown_architecture_names_the_nearest_known_ones(model_type, message):
    with pytest.raises(ModelError, match=message):
        family_of(model_type, whose="b")


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({}, "b names no architecture: its config.json has no model_type. Supported are: vit, deit, "),
        ({"architectures": ["ViTForImageClassification"]}, "The nearest supported ones are: vit"),
        ({"architectures": ["Dinov2Model"]}, "The nearest supported ones are: dinov2"),
        (
            {"model_type": "vit_custom", "auto_map": {"AutoModel": "code.Net"}},
            "nearest supported ones are: vit",
        ),
        ({"model_type": "segformer", "num_attention_heads": [1, 2]}, "architecture 'segformer'"),
        ({"model_type": "convnext", "hidden_size": None}, "architecture 'convnext'"),
        ({"model_type": 5}, "cannot be read: model_type: Input should be a valid string"),
    ],
)
def test_an_odd_config_is_one_line_that_says_what_is_known(tmp_path, stated, message):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "config.json").write_text(json.dumps(stated))
    with pytest.raises(ModelError) as caught:
        find_backbone(str(tmp_path / "b"))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_an_image_smaller_than_its_windows_names_the_smallest(checkpoints):
    with pytest.raises(ModelError, match="patches are 8 pixels wide and whose smallest size is 16; use 16"):
        resolve(Recipe(image_size=8), checkpoints("swin"))


def test_sizes_that_follow_the_tiles_are_no_smaller_than_its_windows(checkpoints):
    sizes = [
        resolve(Recipe(image_size=size), checkpoints("swin"), tile=(6, 6)) for size in ("native", "auto")
    ]
    assert [each.image_size for each in sizes] == [16, 16]


def test_sizes_that_grow_with_the_tiles_are_resolved_to_pixels(checkpoints):
    asked = (("half", 0.5), ("native", 0.25), ("auto", 0.25))
    recipe = resolve(Recipe(sizes=asked), checkpoints("swin"), tile=(16, 24))
    assert recipe.sizes == ((16, 0.5), (24, 0.25), (32, 0.25)) and recipe.image_size == 32


def test_patches_are_not_left_out_where_positions_rotate(checkpoints):
    with pytest.raises(ModelError, match=r"DINOv3 cannot be left out .*where each one is"):
        resolve(Recipe(patch_dropout=0.5), checkpoints("dinov3_vit"))
