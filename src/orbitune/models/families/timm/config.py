"""The config.json of a checkpoint of timm."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

MODEL_TYPE = "timm_wrapper"  # of transformers' wrapper around timm's models
FILTERS = {"bilinear": 2, "bicubic": 3}  # PIL's numbers
PRETRAINED_CFG = "the pretrained_cfg of the checkpoint's config.json"

Side = Annotated[int, Field(ge=1, le=1 << 14)]
Three = Annotated[list[FiniteFloat], Field(min_length=1, max_length=64)]


class Pretrained(BaseModel):
    """The preprocessing of a checkpoint of timm, with timm's defaults."""

    model_config = ConfigDict(strict=True, extra="allow")

    input_size: Annotated[list[Side], Field(min_length=3, max_length=3)] = [3, 224, 224]
    mean: Three = [0.485, 0.456, 0.406]
    std: Three = [0.229, 0.224, 0.225]
    interpolation: str = "bicubic"

    @property
    def preprocessor(self) -> dict[str, Any]:
        """Return the preprocessor_config.json of transformers."""
        absent = [name for name in ("mean", "std") if name not in self.model_fields_set]
        return {
            "size": {"height": self.input_size[1], "width": self.input_size[2]},
            "resample": FILTERS[self.interpolation],
            "image_mean": self.mean,
            "image_std": self.std,
            "stated_by": f"timm's defaults ({PRETRAINED_CFG} has no {' and no '.join(absent)})"
            if absent
            else PRETRAINED_CFG,
        }


class TimmConfig(BaseModel):
    """The config.json of a checkpoint of timm."""

    model_config = ConfigDict(strict=True, extra="allow", protected_namespaces=())

    architecture: str
    model_type: str | None = None
    pretrained_cfg: Pretrained = Pretrained()
    model_args: dict[str, Any] | None = None
