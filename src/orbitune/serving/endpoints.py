"""Routes beside Gradio's own: uploads, downloads and errors."""

import re
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from orbitune.serving.error_handling import error_body
from orbitune.serving.multipart import receive_files
from orbitune.serving.storage import Storage

if TYPE_CHECKING:
    from fastapi import FastAPI

_INLINE_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
_PROGRESS_TIMEOUT = 60  # seconds
_CALL = re.compile(r"/gradio_api/(queue/join|call/(v2/)?\w+/?)$")


def add_file_routes(app: "FastAPI", storage: Storage) -> None:
    """Replace Gradio's routes for uploads and downloads by those of `storage`."""
    import anyio
    from fastapi import HTTPException, Query, Request
    from fastapi.responses import FileResponse, JSONResponse, StreamingResponse

    finished: deque[str] = deque(maxlen=256)

    @app.post("/gradio_api/upload", include_in_schema=False)
    async def upload(request: Request, upload_id: str = Query("", max_length=64)) -> JSONResponse:
        length = int(request.headers.get("content-length", 0))
        await anyio.to_thread.run_sync(storage.delete_expired, length)
        try:
            return JSONResponse([str(path) for path in await receive_files(request, storage)])
        finally:
            finished.append(upload_id)

    @app.get("/gradio_api/upload_progress", include_in_schema=False)
    def progress(upload_id: str) -> StreamingResponse:
        # Gradio's page polls the progress of an upload; only its end is reported.
        async def events() -> AsyncIterator[str]:
            for _ in range(10 * _PROGRESS_TIMEOUT):
                if upload_id in finished:
                    yield 'data: {"msg": "done"}\n\n'
                    return
                await anyio.sleep(0.1)

        return StreamingResponse(events(), media_type="text/event-stream")

    @app.api_route("/gradio_api/file={path:path}", methods=["GET", "HEAD"], include_in_schema=False)
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
            return JSONResponse(error_body(status, f"{text}; see /gradio_api/info."), status)

        return answer

    async def fail(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse(error_body(500, "The server could not answer this."), 500)

    for kind in (FnIndexInferError, KeyError):
        pages.add_exception_handler(kind, refuse(404, "There is no such function"))
    pages.add_exception_handler(TypeError, refuse(422, "The function does not take these inputs"))
    pages.add_exception_handler(Exception, fail)
