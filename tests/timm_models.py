"""Tiny random checkpoints of timm, in timm's own layout.

Tests that need timm skip, by name, where it cannot be imported. To run them, install timm with the
torchvision of the installed torch, as docs/guides/backbone.md says. Where torchvision can only be had built
for CUDA, put `tests/cuda_torchvision` on PYTHONPATH.
"""

import json
from pathlib import Path

import pytest

# Architectures that are not converted, with arguments that make them tiny, and the side of their images.
TINY = {
    "eva02_tiny_patch14_224": (56, {"depth": 2, "embed_dim": 48, "num_heads": 2, "img_size": 56}),
    "vit_base_patch16_siglip_224": (
        32,
        {"depth": 2, "embed_dim": 64, "num_heads": 2, "img_size": 32, "patch_size": 8},
    ),
    "beit_base_patch16_224": (
        32,
        {"depth": 2, "embed_dim": 64, "num_heads": 2, "img_size": 32, "patch_size": 8},
    ),
    "swin_tiny_patch4_window7_224": (
        32,
        {"embed_dim": 32, "depths": [1, 2], "num_heads": [1, 2], "img_size": 32, "window_size": 4},
    ),
    "maxvit_rmlp_nano_rw_256": (
        64,
        {"embed_dim": [32, 64], "depths": [1, 1], "stem_width": [16, 32], "img_size": 64},
    ),
    "test_convnext": (64, {}),
    "test_resnet": (64, {}),
    "test_efficientnet": (64, {}),
}


def import_timm():
    """Import timm, or skip the test."""
    try:
        import timm
    except Exception as error:  # torchvision raises any type of error beside another torch
        pytest.skip(f"timm is not installed ({error}); tests/timm_models.py says how")
    return timm


def timm_folder(folder: Path, architecture: str, size: int | None = None, **more) -> Path:
    """A tiny backbone with random weights as timm has it on the hub."""
    import torch
    from safetensors.torch import save_file

    timm = import_timm()
    own, arguments = TINY.get(architecture, (size, {}))
    size, arguments = size or own, {**arguments, **more}
    torch.manual_seed(0)
    model = timm.create_model(architecture, num_classes=5, **arguments)
    folder.mkdir(parents=True)
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    pretrained = {
        "input_size": [3, size, size],
        "interpolation": "bicubic",
        "mean": [0.1, 0.2, 0.3],
        "std": [0.5, 0.5, 0.5],
        "num_classes": 5,
    }
    stated = {"architecture": architecture, "num_classes": 5, "num_features": model.num_features}
    stated |= {"pretrained_cfg": pretrained, "model_args": arguments}
    (folder / "config.json").write_text(json.dumps(stated))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    return folder
