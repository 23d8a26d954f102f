"""Routes of the API that answer with an image: previews and attribution maps."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from orbitune.resources import core_count
from orbitune.serving.api.operations import MODEL, code_samples, model_errors_told
from orbitune.serving.api.schemas import ErrorBody
from orbitune.serving.api.sent_images import check_parameters
from orbitune.serving.error_handling import ApiError
from orbitune.serving.images import attribution_layer, encode_png, encode_preview
from orbitune.serving.served_model import NoAttributionError, ServedModel
from orbitune.serving.service import PredictionService
from orbitune.sources.decode import BadImageError

if TYPE_CHECKING:
    from fastapi import FastAPI

_BODY = {
    "required": True,
    "description": "One image.",
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}
_PNG: dict[str, Any] = {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}


def add_image_routes(app: "FastAPI", service: PredictionService, *, errors: dict[int | str, Any]) -> None:
    """Add the routes /api/preview and /api/attribution.

    Args:
        app: the app to extend.
        service: the models.
        errors: responses of errors, by status.
    """
    import anyio
    from fastapi import Query, Request, Response

    limiter = anyio.CapacityLimiter(core_count())

    async def answer(
        request: Request,
        model: str | None,
        draw: Callable[[ServedModel, bytes], bytes],
        *,
        parameters: tuple[str, ...] = ("model",),
    ) -> Response:
        check_parameters(request, parameters)
        data = await request.body()
        try:
            with model_errors_told():
                chosen = service.get_model(model)
                # It counts as waiting, with its content in memory, until a thread is free for it and done.
                with chosen.batcher.admit(1) as places:
                    places.withdraw(1)
                    content = await anyio.to_thread.run_sync(draw, chosen, data, limiter=limiter)
        except BadImageError as error:
            raise ApiError(422, f"The image {error}.", kind="unreadable_image") from None
        except NoAttributionError as error:
            raise ApiError.of(404, error) from None
        return Response(content, media_type="image/png")

    @app.post(
        "/api/preview",
        summary="Show an image as the model's decoder reads it",
        description="Formats that browsers do not know, such as TIFF, and 16-bit values become visible.",
        response_class=Response,
        response_description="PNG of at most 640 pixels a side",
        responses={**errors, 200: _PNG},
        openapi_extra={
            "requestBody": _BODY,
            **code_samples("curl --data-binary @tile.tif -o preview.png $URL/api/preview"),
        },
    )
    async def preview(
        request: Request,
        model: Annotated[str | None, Query(description=MODEL)] = None,
    ) -> Response:
        return await answer(request, model, lambda chosen, data: encode_preview(chosen.preview(data)))

    @app.post(
        "/api/attribution",
        summary="Show which pixels support a class",
        description="Attention weighted by its gradient (Chefer et al. 2021, arXiv:2103.15679).",
        response_class=Response,
        response_description="PNG with transparency, to lay over the image: yellow where pixels support the "
        "class most, violet where they do least",
        responses={
            **errors,
            200: _PNG,
            404: {"model": ErrorBody, "description": "The model has no attribution maps"},
        },
        openapi_extra={
            "requestBody": _BODY,
            **code_samples("curl --data-binary @tile.png -o layer.png '$URL/api/attribution?label=Forest'"),
        },
    )
    async def attribution(
        request: Request,
        label: Annotated[str, Query(description="Class to explain")],
        model: Annotated[str | None, Query(description=MODEL)] = None,
    ) -> Response:
        def draw(chosen: ServedModel, data: bytes) -> bytes:
            if label not in chosen.classes:
                raise ApiError(400, f"Unknown class. Choose from: {', '.join(chosen.classes)}.")
            return encode_png(attribution_layer(chosen.compute_attribution(data, label)[1]))

        return await answer(request, model, draw, parameters=("model", "label"))
