"""Small real inputs: tiles that can be learnt, and random backbones."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

FAMILIES = ("vit", "deit", "dinov2", "dinov2_with_registers")
PATCH = 8


def tile_folder(folder: Path, classes: int = 3, each: int = 20, size: int = 16) -> Path:
    """A folder of class folders; each class has a colour of its own under noise."""
    random = np.random.default_rng(0)
    for label in range(classes):
        place = folder / f"class_{label}"
        place.mkdir(parents=True)
        colour = np.eye(3)[label % 3] * 120 + 60
        for number in range(each):
            pixels = np.clip(random.normal(colour, 40, (size, size, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / f"tile_{label}_{number}.png")
    return folder


# Sizes of tiny backbones in the words of each family's config; all others read those of ViT.
_SIZES = {
    "vit": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "image_size": 32,
        "patch_size": PATCH,
    },
    "swin": {
        "embed_dim": 32,
        "depths": [1, 2],  # the second layer of a stage shifts its windows
        "num_heads": [1, 2],
        "window_size": 2,
        "image_size": 32,
        "patch_size": PATCH // 2,
    },
    "hiera": {
        "embed_dim": 32,
        "depths": [1, 1],
        "num_heads": [1, 2],
        "image_size": [32, 32],
        "patch_size": [7, 7],
        "num_query_pool": 1,
        "masked_unit_size": [2, 2],
        "masked_unit_attention": [True, False],
    },
}
_SIZES["resnet"] = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "layer_type": "basic"}
_SIZES["swinv2"] = _SIZES["swin"]
_SIZES["dinov3_vit"] = {**_SIZES["vit"], "num_register_tokens": 4}
_SIZES["beit"] = {**_SIZES["vit"], "use_relative_position_bias": True}
_SIZES["vit_mae"] = {
    **_SIZES["vit"],
    "decoder_hidden_size": 16,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 16,
}
# Checkpoints that the hub has as another class than the classifier's.
_CLASSES = {
    "dinov3_vit": "DINOv3ViTModel",
    "vit_mae": "ViTMAEForPreTraining",
    "clip": "CLIPModel",
    "siglip": "SiglipModel",
}


def _tiny_config(model_type: str, layers: int):
    """Return the config of a tiny backbone of a family."""
    from transformers import AutoConfig

    if model_type in ("clip", "siglip"):
        text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        text |= {"vocab_size": 64, "max_position_embeddings": 8, "eos_token_id": 2, "bos_token_id": 1}
        vision = {**_SIZES["vit"], "num_hidden_layers": layers}
        return AutoConfig.for_model(model_type, text_config=text, vision_config=vision)
    sizes = _SIZES.get(model_type, _SIZES["vit"])
    if "num_hidden_layers" in sizes:
        sizes = {**sizes, "num_hidden_layers": layers}
    return AutoConfig.for_model(model_type, **sizes, num_labels=7)


def backbone_folder(folder: Path, model_type: str = "vit", layers: int = 2, distilled: bool = False) -> Path:
    """A tiny backbone with random weights in the hub's layout, for 32 x 32 pixels."""
    import torch
    import transformers

    config = _tiny_config(model_type, layers)
    config.architectures = ["DeiTForImageClassificationWithTeacher"] if distilled else []
    torch.manual_seed(0)
    if model_type in _CLASSES:
        model = getattr(transformers, _CLASSES[model_type])(config)
    else:
        model = transformers.AutoModelForImageClassification.from_config(config)
    model.save_pretrained(folder)
    size = 64 if model_type == "resnet" else 32  # its smallest
    stated = {
        "size": {"height": size, "width": size},
        "resample": 2,
        "image_mean": [0.4, 0.5, 0.6],
        "image_std": [0.2] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(stated))
    return folder


def config_only_folder(folder: Path) -> Path:
    """ViT-Base/16 at 224 pixels by its config.json alone: enough for a plan."""
    from transformers import ViTConfig

    ViTConfig(architectures=["ViTForImageClassification"]).save_pretrained(folder)
    return folder


def saved_model(folder: Path, backbone, recipe, classes=("a", "b", "c"), seed: int = 0):
    """Save a model as if its method had trained it; return it in evaluation mode.

    Args:
        backbone: what `find_backbone` gave.
    """
    import torch

    from orbitune.models.checkpoint_io import save_model
    from orbitune.models.factory import build

    model = build(recipe, backbone, classes=tuple(classes)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    save_model(model, folder, backbone=backbone, metadata=model_metadata(backbone, classes, recipe.method))
    return model


def model_metadata(backbone, classes, method="lora", **more):
    """Return the metadata of a model that was saved without a run."""
    from orbitune.models.metadata import ModelMetadata

    return ModelMetadata(
        method=method,
        classes=tuple(classes),
        preprocessing=backbone.preprocessing.at_size(32),
        backbone=backbone.record,
        scores={},
        **more,
    )
