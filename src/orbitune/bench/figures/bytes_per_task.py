"""Size of a fully fine-tuned ViT-Base/16 relative to one adapter with its head."""

from typing import Any, get_args

from orbitune.errors import OrbituneError
from orbitune.files import scratch
from orbitune.inference.bundle_builder import copy_weights
from orbitune.models.checkpoint_io import save_model
from orbitune.models.factory import build
from orbitune.models.lineage.fine_tuned import open_backbone
from orbitune.models.metadata import ModelMetadata, StorageType
from orbitune.recipe import Recipe
from orbitune.suggestions import unknown


def measure(classes: int, dtype: str) -> dict[str, Any]:
    """Return the size ratio of a fully fine-tuned model to a LoRA adapter.

    The model is in fp32; the adapter has rank 8 on q, k and v. The value counts weights; sizes of files,
    which also name each tensor, are in the details. The weights are random, which changes no size.
    """
    from safetensors import safe_open
    from transformers import ViTConfig, ViTForImageClassification

    if dtype not in get_args(StorageType):
        raise OrbituneError(unknown("storage type", dtype, known=get_args(StorageType)))
    names = tuple(map(str, range(classes)))
    weights, files = {}, {}
    with scratch() as place:
        ViTForImageClassification(ViTConfig()).save_pretrained(place / "backbone")
        backbone = open_backbone(str(place / "backbone"))
        for method in ("full", "lora"):
            model = build(Recipe(method=method), backbone, classes=names)
            metadata = ModelMetadata(
                method=method,
                classes=names,
                preprocessing=backbone.preprocessing,
                backbone=backbone.record,
                scores={},
            )
            save_model(model, place / method, backbone=backbone, metadata=metadata)
        copy_weights(place / "lora", place / "stored", dtype=dtype)
        for name in ("full", "stored"):
            (file,) = (place / name).glob("*.safetensors")
            files[name] = file.stat().st_size
            with safe_open(file, "pt") as saved:
                weights[name] = sum(saved.get_tensor(key).nbytes for key in saved.keys())  # noqa: SIM118
    words = [
        ["full model", f"{weights['full'] / 1e6:.1f} MB"],
        ["adapter and head", f"{weights['stored'] / 1e6:.3f} MB"],
        [
            "as files",
            f"{files['full'] / 1e6:.1f} and {files['stored'] / 1e6:.3f} MB, "
            f"1/{files['full'] / files['stored']:.1f}",
        ],
    ]
    return {"value": weights["full"] / weights["stored"], "details": words}
