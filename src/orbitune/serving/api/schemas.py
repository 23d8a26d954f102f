"""Bodies of the API's responses, from which its OpenAPI document is made."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from orbitune.serving.served_model import ServedModel
from orbitune.serving.timed_prediction import TimedPrediction
from orbitune.serving.uploads import MAX_IMAGE_BYTES, MAX_UPLOAD_BYTES

Probability = Annotated[float, Field(ge=0, le=1)]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LabelBody(_Body):
    """A label of an image."""

    label: str = Field(description="Class name", examples=["Forest"])
    probability: Probability = Field(description="Calibrated probability", examples=[0.98])


class ClassBody(LabelBody):
    """A class of a model that gives an image several labels."""

    threshold: Probability = Field(description="Probability from which an image has the label")


_PREDICTION: JsonDict = {
    "labels": [{"label": "Forest", "probability": 0.98}, {"label": "Pasture", "probability": 0.01}],
    "sure": True,
    "distance": 11.2,
    "seconds": 0.031,
}


class PredictionBody(_Body):
    """The prediction for one image."""

    model_config = ConfigDict(json_schema_extra={"examples": [_PREDICTION]})

    file: str | None = Field(default=None, description="Name of the file, in answers to several files")
    labels: list[LabelBody] = Field(
        description="The most probable classes first; with several labels an image those that reach their "
        "thresholds"
    )
    sure: bool | None = Field(
        description="False for an image unlike the training tiles; null where the model has no OOD detector"
    )
    distance: float | None = Field(
        description="OOD score that decides `sure`; null where the model has no OOD detector", examples=[11.2]
    )
    seconds: float = Field(description="From the bytes of the request to the labels", examples=[0.031])
    classes: list[ClassBody] | None = Field(
        default=None, description="All classes, where an image may have several labels"
    )
    error: str | None = Field(
        default=None, description="Why the image has no prediction, in answers to several files"
    )

    @classmethod
    def of(cls, answer: TimedPrediction, *, file: str | None = None) -> "PredictionBody":
        """Return the body for a prediction.

        Args:
            answer: the prediction.
            file: name of the file in an answer to several files; None for one image.
        """
        found = answer.prediction
        labels = [LabelBody(label=name, probability=value) for name, value in found.labels]
        optional: dict[str, object] = {} if file is None else {"file": file}
        if answer.several_labels:
            optional["classes"] = [
                ClassBody(label=each.label, probability=each.probability, threshold=each.threshold or 0.0)
                for each in answer.classes
            ]
        if found.error:
            optional["error"] = f"The image {found.error}."
        return cls.model_validate(
            {
                "labels": labels,
                "sure": found.sure,
                "distance": found.distance,
                "seconds": answer.seconds,
                **optional,
            }
        )


class PredictionsBody(_Body):
    """The predictions for several images, in the order of the files."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"predictions": [{"file": "a.png", **_PREDICTION}]}]}
    )

    predictions: list[PredictionBody] = Field(description="One for each file")


class ModelBody(_Body):
    """A model of the service."""

    name: str = Field(description="Its name in requests", examples=["land-cover"])
    classes: list[str] = Field(description="Class names")
    thresholds: list[Probability] | None = Field(
        description="Probability from which an image has each class; null for one label an image"
    )
    ood_threshold: float | None = Field(
        description="Distance above which an image is *not sure*; null where the model has no OOD detector",
        examples=[31.5],
    )
    bands: list[str] = Field(description="Bands that it reads, in order")
    bytes: int = Field(description="Size of its files")
    score: str | None = Field(description="Test score and what it was measured on; null where there is none")
    map_strides: list[int] = Field(
        description="Strides that a map may have, in pixels, the default first; none where it makes no maps"
    )

    @classmethod
    def of(cls, name: str, model: ServedModel) -> "ModelBody":
        """Return the body for a model."""
        thresholds = model.engine.rule.decision.thresholds
        return cls(
            name=name,
            classes=list(model.classes),
            thresholds=thresholds and list(thresholds),
            ood_threshold=model.engine.rule.ood_threshold,
            bands=list(model.engine.spec.bands),
            bytes=model.engine.size,
            score=model.score,
            map_strides=model.map_strides,
        )


class ModelsBody(_Body):
    """The models of the service; the first is the default."""

    models: list[ModelBody]
    max_image_bytes: int = Field(
        default=MAX_IMAGE_BYTES, description="Largest size of the images of one request, in bytes"
    )
    max_scene_bytes: int = Field(
        default=MAX_UPLOAD_BYTES, description="Largest size of the scene of a map, in bytes"
    )


class HealthBody(_Body):
    """The state of the service."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "status": "ok",
                    "version": "0.2.0",
                    "engine": "torch",
                    "models": {"land-cover": ["Forest", "Pasture"]},
                }
            ]
        }
    )

    status: str = Field(
        description="`ok`, or `restarting` while a process that computes is replaced", examples=["ok"]
    )
    version: str = Field(description="Version of Orbitune", examples=["0.2.0"])
    engine: str = Field(description="What computes the models: torch or onnx", examples=["torch"])
    models: dict[str, list[str]] = Field(description="Class names by model; the first model is the default")


class ErrorBody(_Body):
    """An error."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"detail": "top_k: must be at least 1, not '0'.", "kind": "invalid_parameter"}]
        }
    )

    detail: str = Field(
        description="One sentence for people", examples=["top_k: must be at least 1, not '0'."]
    )
    kind: str = Field(description="One word for programs", examples=["invalid_parameter"])
