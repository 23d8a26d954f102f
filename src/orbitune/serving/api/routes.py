"""Routes of the API: predictions, health, metrics, and the API's description."""

from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any

from orbitune.resources import core_count
from orbitune.serving.api.image_routes import add_image_routes
from orbitune.serving.api.operations import MODEL, code_samples, model_errors_told
from orbitune.serving.api.reference_page import render_reference
from orbitune.serving.api.schemas import (
    ErrorBody,
    HealthBody,
    ModelBody,
    ModelsBody,
    PredictionBody,
    PredictionsBody,
)
from orbitune.serving.api.sent_images import MAX_FILES, SEVERAL, check_parameters, read_images, usage
from orbitune.serving.error_handling import ApiError, error_body
from orbitune.serving.service import PredictionService
from orbitune.settings_errors import describe_fields

if TYPE_CHECKING:
    from fastapi import FastAPI, Request, Response

PATHS = (
    "/api/predict",
    "/api/preview",
    "/api/attribution",
    "/api/models",
    "/api/health",
    "/api/metrics",
    "/api/openapi.json",
    "/api/docs",
)
_BINARY = {"type": "string", "format": "binary"}
_FORMS = [
    {"required": ["file"], "properties": {"file": _BINARY}},
    {
        "required": [SEVERAL],
        "properties": {SEVERAL: {"type": "array", "items": _BINARY, "maxItems": MAX_FILES}},
    },
]
_REQUEST_BODY = {
    "required": True,
    "description": f"One image as the body or as the only file of a form, or up to {MAX_FILES} images in "
    f"fields named `{SEVERAL}`.",
    "content": {
        "application/octet-stream": {"schema": _BINARY},
        "multipart/form-data": {"schema": {"type": "object", "oneOf": _FORMS}},
    },
}
_ERRORS = {
    400: "Unknown model, or another form than is described",
    401: "User and password are needed",
    408: "The body comes too slowly",
    413: "Too large, or too many files",
    422: "Not an image, or an invalid parameter",
    429: "Too many wrong passwords",
    500: "The server could not answer; its log says why",
    503: "Too many images are waiting, or the server is being stopped; try again after `Retry-After` seconds",
}
_DESCRIPTION = (
    "Classify satellite image tiles. Every response has the header `X-Request-ID`: that of the request, or a "
    "new one. Errors are one sentence, `detail`, and one word for programs, `kind`. In examples, `$URL` is "
    "the address of the service."
)
_RESTARTING = "A process that computes has ended; another one takes its place"
# Commands by path, as an extension of OpenAPI that other readers know too.
_EXAMPLES = {
    "/api/predict": (
        "curl --data-binary @tile.png $URL/api/predict",
        "curl -F file=@tile.png '$URL/api/predict?top_k=1'",
        "curl -F files=@a.png -F files=@b.png $URL/api/predict",
    ),
    "/api/models": ("curl $URL/api/models",),
    "/api/health": ("curl --fail $URL/api/health",),
    "/api/metrics": ("curl $URL/api/metrics",),
}


def _example(path: str) -> dict[str, Any]:
    """Return the commands of a path as a part of its OpenAPI operation."""
    return code_samples(*_EXAMPLES[path])


def add_api_routes(app: "FastAPI", service: PredictionService, *, root_path: str = "") -> None:
    """Add the API's routes, and answer all errors below /api with an `ErrorBody`.

    Args:
        app: the app to extend.
        service: the models.
        root_path: path under which a proxy serves the app.
    """
    import anyio
    from fastapi import Query, Request, Response
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
    from starlette.exceptions import HTTPException

    for kind, answer in (
        (RequestValidationError, _answer_invalid),
        (HTTPException, _answer_http_error),
        (ApiError, _answer_api_error),
    ):
        app.add_exception_handler(kind, answer)
    decoding = anyio.CapacityLimiter(core_count())
    errors: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorBody, "description": text} for status, text in _ERRORS.items()
    }

    def address_of(request: Request) -> str:
        """Return the address under which a client reaches the service."""
        return f"{str(request.base_url).rstrip('/')}{root_path}"

    @app.get("/api/predict", include_in_schema=False)
    def explain_usage(request: Request) -> None:
        raise ApiError(405, usage(address_of(request)), headers={"Allow": "POST"})

    @app.post(
        "/api/predict",
        summary="Classify images",
        description="Images of any size and of the formats that tiles may have, such as PNG, JPEG and TIFF. "
        "They are resized to the size of the training tiles. Tiles of concurrent requests are computed "
        "together.",
        response_model=PredictionBody | PredictionsBody,
        response_description="Of one image a `PredictionBody`, of several a `PredictionsBody`",
        responses=errors,
        openapi_extra={"requestBody": _REQUEST_BODY, **_example("/api/predict")},
    )
    async def predict(
        request: Request,
        model: Annotated[str | None, Query(description=MODEL)] = None,
        top_k: Annotated[
            int | None,
            Query(
                ge=1,
                le=100_000,
                description="Largest number of labels of an image; 3 by default, or with several labels an "
                "image all that reach their thresholds",
            ),
        ] = None,
    ) -> Response:
        check_parameters(request, ("model", "top_k"))
        with model_errors_told():
            chosen = service.get_model(model)
            sent = await read_images(request, address_of(request))
            answers = await chosen.predict_files(sent.files, top_k, limiter=decoding)
        if sent.several:
            pairs = zip(answers, sent.files, strict=True)
            bodies = [PredictionBody.of(each, file=name) for each, (name, _) in pairs]
            return _respond(PredictionsBody(predictions=bodies))
        body = PredictionBody.of(answers[0])
        if body.error:
            raise ApiError(422, body.error, kind="unreadable_image")
        return _respond(body)

    add_image_routes(app, service, errors=errors)

    @app.get(
        "/api/models",
        summary="Models of the service",
        description="Classes, thresholds, bands, size and test score of each.",
        response_description="The default model is the first",
        openapi_extra=_example("/api/models"),
    )
    def models() -> ModelsBody:
        return ModelsBody(models=[ModelBody.of(name, model) for name, model in service.models.items()])

    @app.head("/api/health", include_in_schema=False)
    @app.get(
        "/api/health",
        summary="State of the service",
        description="For monitors and load balancers; HEAD is answered too.",
        response_model=HealthBody,
        response_description="It answers, and all processes that compute live",
        responses={503: {"model": HealthBody, "description": _RESTARTING}},
        openapi_extra=_example("/api/health"),
    )
    def health() -> JSONResponse:
        intact = service.check_workers()
        body = HealthBody(
            status="ok" if intact else "restarting",
            version=version("orbitune"),
            engine=service.engine,
            models={name: list(model.classes) for name, model in service.models.items()},
        )
        return JSONResponse(body.model_dump(), 200 if intact else 503)

    @app.get(
        "/api/metrics",
        summary="Metrics in the format of Prometheus",
        description="Text, to be scraped.",
        openapi_extra=_example("/api/metrics"),
        response_class=PlainTextResponse,
        response_description="Requests, predictions, batches, waiting images, memory",
    )
    def metrics() -> Response:
        return Response(service.metrics.render(), media_type=service.metrics.content_type)

    def _respond(body: PredictionBody | PredictionsBody) -> Response:
        return Response(body.model_dump_json(exclude_unset=True), media_type="application/json")

    @cache
    def describe() -> dict[str, Any]:
        from fastapi.openapi.utils import get_openapi

        return get_openapi(
            title="Orbitune API",
            version=version("orbitune"),
            description=_DESCRIPTION,
            routes=app.routes,
            servers=[{"url": root_path or "/"}],
        )

    @app.get("/api/openapi.json", include_in_schema=False)
    def openapi() -> JSONResponse:
        return JSONResponse(describe())

    @app.get("/api/docs", include_in_schema=False)
    def reference(request: Request) -> HTMLResponse:
        return HTMLResponse(render_reference(describe(), url=address_of(request)))


async def _answer_invalid(request: "Request", error: Any) -> "Response":
    """Answer parameters of a request that are invalid with one line."""
    from fastapi.responses import JSONResponse

    return JSONResponse(error_body(422, describe_fields(error.errors())), 422)


async def _answer_http_error(request: "Request", error: Any) -> "Response":
    from fastapi.responses import JSONResponse

    return JSONResponse(error_body(error.status_code, error.detail), error.status_code, error.headers)


async def _answer_api_error(request: "Request", error: Any) -> "Response":
    from fastapi.responses import JSONResponse

    return JSONResponse(error_body(error.status, str(error), kind=error.kind), error.status, error.headers)
