"""The backbone families.

To add a family, add one entry to FAMILIES: loading, every method, the command line and the tests go through
this table.
"""

from typing import Any

from orbitune.models.families import resnet
from orbitune.models.families.batch_norm import keep_frozen_statistics
from orbitune.models.families.beit import make_indices_outside_inference
from orbitune.models.families.family import Bands, Family, patch_side
from orbitune.models.families.swin import keep_windows
from orbitune.models.families.timm.architecture import BODY, configure, describe, name_parts
from orbitune.models.families.timm.config import MODEL_TYPE

_Normalisation = tuple[Bands, Bands]
_IMAGENET: _Normalisation = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF: _Normalisation = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_CLIP: _Normalisation = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
# Of the tiles of DINOv3's satellite weights (facebookresearch/dinov3, README.md).
_SAT_493M: _Normalisation = ((0.430, 0.411, 0.296), (0.213, 0.156, 0.143))

_INTERPOLATED = {"interpolate_pos_encoding": True}
_DINOV2: dict[str, Any] = {
    "body": "dinov2",
    "norms": ("norm1", "norm2"),
    "layers": "encoder.layer",
    "pooling": "class and patches",
}
# The image encoders of models of images and text.
_TOWER: dict[str, Any] = {
    "body": "vision_model",
    "roles": {
        **{role: (f"self_attn.{role}_proj",) for role in "qkv"},
        "o": ("self_attn.out_proj",),
        "fc1": ("mlp.fc1",),
        "fc2": ("mlp.fc2",),
    },
    "norms": ("layer_norm1", "layer_norm2"),
    "layers": "encoder.layers",
    "projection": "embeddings.patch_embedding",
    "pooling": "patches",
    "forward": _INTERPOLATED,
}


def _swin_step(config: Any) -> int:
    """Return the side of a token of the last stage in pixels; each stage halves the one before."""
    return int(patch_side(config) * 2 ** (len(config.depths) - 1))


def _swin_window(config: Any) -> int:
    """Return the side in pixels of a window of the last stage, whose position biases fit no smaller one."""
    return int(_swin_step(config) * config.window_size)


def _hiera_step(config: Any) -> int:
    """Return the side of a mask unit in pixels, in which Hiera orders its tokens."""
    stride, unit = config.patch_stride[0], config.masked_unit_size[0]
    return int(stride * unit)


_SWIN: dict[str, Any] = {
    "other_norms": ("embeddings.norm", "downsample.norm"),
    "layers": "encoder.layers",
    "layer_names": r".*\.blocks\.\d+",
    "pooling": "own",
    "why_plain": "it attends within shifted windows",
    "forward": _INTERPOLATED,
    "step": _swin_step,
    "smallest": _swin_window,
}

FAMILIES = {
    family.model_type: family
    for family in (
        Family("vit", "ViT", _HALF, "vit", forward=_INTERPOLATED),
        Family(
            "deit",
            "DeiT",
            _IMAGENET,
            "deit",
            heads=("classifier", "cls_classifier", "distillation_classifier"),
            forward=_INTERPOLATED,
        ),
        Family("dinov2", "DINOv2", _IMAGENET, **_DINOV2),
        Family(
            "dinov2_with_registers",
            "DINOv2 with registers",
            _IMAGENET,
            antialias=True,
            **{**_DINOV2, "body": "dinov2_with_registers"},
        ),
        Family(
            "dinov3_vit",
            "DINOv3",
            _IMAGENET,
            "dinov3_vit",
            classifier="orbitune.models.families.dinov3:DINOv3ViTForImageClassification",
            own_normalisation={"sat493m": _SAT_493M},
            roles={
                **{role: (f"attention.{role}_proj",) for role in "qkvo"},
                "fc1": ("mlp.gate_proj", "mlp.up_proj"),
                "up": ("mlp.up_proj",),
                "fc2": ("mlp.down_proj",),
            },
            norms=("norm1", "norm2"),
            last_norm="norm",
            layers="model.layer",
            projection="embeddings.patch_embeddings",
            pooling="class and patches",
            rotary=True,
        ),
        Family("vit_msn", "ViT-MSN", _IMAGENET, "vit", forward=_INTERPOLATED),
        Family("ijepa", "I-JEPA", _IMAGENET, "ijepa", pooling="patches", forward=_INTERPOLATED),
        Family(
            "vit_mae",
            "ViT-MAE",
            _IMAGENET,
            "vit",
            classifier="transformers:ViTForImageClassification",
            forward=_INTERPOLATED,
        ),
        Family("siglip", "SigLIP", _HALF, last_norm="post_layernorm", **_TOWER),
        Family(
            "clip",
            "CLIP",
            _CLIP,
            last_norm=None,
            other_norms=("pre_layrnorm",),  # as transformers spells it
            unused=("post_layernorm.weight", "post_layernorm.bias"),
            why_plain="it normalises embeddings, and not what the head reads",
            **_TOWER,
        ),
        Family(
            "beit",
            "BEiT",
            _HALF,
            "beit",
            last_norm="pooler.layernorm",
            pooling="own",
            why_plain="its attention adds biases by relative position",
            prepare=make_indices_outside_inference,
            forward=_INTERPOLATED,
        ),
        Family("swin", "Swin", _IMAGENET, "swin", prepare=keep_windows, **_SWIN),
        Family(
            "swinv2",
            "Swin V2",
            _IMAGENET,
            "swinv2",
            roles={
                "q": ("attention.self.query",),
                "k": ("attention.self.key",),
                "v": ("attention.self.value",),
                "o": ("attention.output.dense",),
                "fc1": ("intermediate.dense",),
                "fc2": ("output.dense",),
            },
            **_SWIN,
        ),
        Family(
            "hiera",
            "Hiera",
            _IMAGENET,
            "hiera",
            roles={
                **{role: ("attn.qkv",) for role in "qkv"},
                "o": ("attn.proj",),
                "fc1": ("mlp.fc1",),
                "fc2": ("mlp.fc2",),
            },
            last_norm="pooler.layernorm",
            layers="encoder.stages",
            pooling="own",
            why_plain="it attends within mask units and pools queries",
            forward=_INTERPOLATED,
            step=_hiera_step,
            smallest=_hiera_step,
        ),
        Family(
            "resnet",
            "ResNet",
            _IMAGENET,
            "resnet",
            roles={f"conv{n + 1}": (f"layer.{n}.convolution",) for n in range(3)},
            heads=("classifier.1",),
            norms=("embedder.normalization", "normalization"),
            last_norm=None,
            layers="encoder.stages",
            layer_names=r".*\.stages\.\d+\.layers\.\d+",
            projection="embedder.embedder.convolution",
            pooling="own",
            unused=(),
            why_plain="it is a convolutional network",
            prepare=keep_frozen_statistics,
            step=lambda config: resnet.STEP,
            smallest=lambda config: resnet.SMALLEST,
            configure=resnet.configure,
        ),
        Family(
            MODEL_TYPE,
            "timm model",
            _IMAGENET,
            BODY,
            norms=("norm1", "norm2"),
            layers="",
            pooling="own",
            unused=(),
            why_plain="its blocks are timm's own",
            prepare=keep_frozen_statistics,
            step=lambda config: describe(config).step,
            smallest=lambda config: describe(config).smallest,
            largest=lambda config: describe(config).largest,
            configure=configure,
            name_parts=name_parts,
        ),
    )
}
