"""Routes beside Gradio's own: predictions as JSON, uploads and downloads."""

import re
import threading
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from orbitune.errors import OrbituneError
from orbitune.serving.error_handling import hide_folders
from orbitune.serving.multipart import receive_files
from orbitune.serving.service import PredictionService
from orbitune.serving.storage import Storage
from orbitune.settings_errors import describe_fields

if TYPE_CHECKING:
    from fastapi import FastAPI, Request, Response

_WORKERS = 2  # predictions computed at the same time
_INLINE_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
_PROGRESS_TIMEOUT = 60  # seconds
_CALL = re.compile(r"/gradio_api/(queue/join|call/(v2/)?\w+/?)$")
_USAGE = "Send one image with POST: curl --data-binary @tile.png {url}, or curl -F file=@tile.png {url}"


def add_prediction_routes(app: "FastAPI", service: PredictionService, *, max_queue: int) -> None:
    """Add the JSON endpoint and the health check.

    Args:
        app: the app to extend.
        service: the models.
        max_queue: requests that may wait; further ones get status 503.
    """
    import anyio
    from fastapi import HTTPException, Query, Request
    from fastapi.exceptions import RequestValidationError

    app.add_exception_handler(RequestValidationError, _answer_invalid)
    slots = threading.Semaphore(max_queue)
    workers = anyio.CapacityLimiter(_WORKERS)

    @app.get("/api/health")
    def health() -> dict[str, Any]:
        return {"models": {name: list(model.bundle.classes) for name, model in service.models.items()}}

    @app.get("/api/predict")
    def explain_usage(request: Request) -> None:
        raise HTTPException(405, _usage(request), {"Allow": "POST"})

    @app.post("/api/predict")
    async def predict(
        request: Request,
        model: str | None = None,
        top_k: int | None = Query(None, ge=1, le=100_000),
    ) -> dict[str, Any]:
        data = await _read_image(request)
        if not slots.acquire(blocking=False):
            raise HTTPException(503, "Too many requests are waiting; try again.", {"Retry-After": "1"})
        try:
            chosen = service.get_model(model)
            answer = await anyio.to_thread.run_sync(chosen.predict_image, data, top_k, limiter=workers)
        except OrbituneError as error:
            raise HTTPException(400, hide_folders(str(error))) from None
        finally:
            slots.release()
        if answer.prediction.error:
            raise HTTPException(422, answer.to_json()["error"])
        return answer.to_json()


async def _answer_invalid(request: "Request", error: Any) -> "Response":
    """Answer parameters of a request that are invalid with one line."""
    from fastapi.responses import JSONResponse

    return JSONResponse({"detail": describe_fields(error.errors())}, 422)


def _usage(request: "Request") -> str:
    """Return one line that says how to send an image to this address."""
    return _USAGE.format(url=request.url.replace(query=""))


async def _read_image(request: "Request") -> bytes:
    """Return the body, or the only file of a form (`curl -F file=@tile.png`)."""
    from fastapi import HTTPException
    from starlette.datastructures import UploadFile

    if not request.headers.get("content-type", "").startswith("multipart/"):
        return await request.body()
    async with request.form(max_files=1, max_fields=10) as form:
        files = [value for value in form.values() if isinstance(value, UploadFile)]
        if len(files) == 1:
            return await files[0].read()
    raise HTTPException(400, _usage(request))


def add_file_routes(app: "FastAPI", storage: Storage) -> None:
    """Replace Gradio's routes for uploads and downloads by those of `storage`."""
    import anyio
    from fastapi import HTTPException, Query, Request
    from fastapi.responses import FileResponse, JSONResponse, StreamingResponse

    finished: deque[str] = deque(maxlen=256)

    @app.post("/gradio_api/upload")
    async def upload(request: Request, upload_id: str = Query("", max_length=64)) -> JSONResponse:
        length = int(request.headers.get("content-length", 0))
        await anyio.to_thread.run_sync(storage.delete_expired, length)
        try:
            return JSONResponse([str(path) for path in await receive_files(request, storage)])
        finally:
            finished.append(upload_id)

    @app.get("/gradio_api/upload_progress")
    def progress(upload_id: str) -> StreamingResponse:
        # Gradio's page polls the progress of an upload; only its end is reported.
        async def events() -> AsyncIterator[str]:
            for _ in range(10 * _PROGRESS_TIMEOUT):
                if upload_id in finished:
                    yield 'data: {"msg": "done"}\n\n'
                    return
                await anyio.sleep(0.1)

        return StreamingResponse(events(), media_type="text/event-stream")

    @app.api_route("/gradio_api/file={path:path}", methods=["GET", "HEAD"])
    def file(path: str) -> FileResponse:
        found = storage.find_download(path)
        if found is None:
            raise HTTPException(404, "No such file; it may have been deleted.")
        kind = _INLINE_TYPES.get(found.suffix.lower())
        return FileResponse(
            found,
            media_type=kind or "application/octet-stream",
            filename=found.name,
            content_disposition_type="inline" if kind else "attachment",
            headers={"cache-control": "private, no-store"},
        )


def add_json_error_handlers(pages: Any) -> None:
    """Answer invalid calls of Gradio's app with JSON and a fitting status.

    Gradio would answer plain 500.
    """
    from fastapi import Request
    from fastapi.responses import JSONResponse
    from gradio.route_utils import FnIndexInferError

    def refuse(status: int, text: str) -> Any:
        async def answer(request: Request, error: Exception) -> JSONResponse:
            # A call only looks up its function and joins the queue, so an error here is the client's.
            if not _CALL.search(request.url.path):
                raise error
            return JSONResponse({"detail": f"{text}; see /gradio_api/info."}, status)

        return answer

    async def fail(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": "The server could not answer this."}, 500)

    for kind in (FnIndexInferError, KeyError):
        pages.add_exception_handler(kind, refuse(404, "There is no such function"))
    pages.add_exception_handler(TypeError, refuse(422, "The function does not take these inputs"))
    pages.add_exception_handler(Exception, fail)
