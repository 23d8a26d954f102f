"""What is answered beside Gradio: predictions as JSON, uploads, and the files that may be downloaded."""

import re
import threading
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orbitune.errors import OrbituneError
from orbitune.serving.error_handling import plain
from orbitune.serving.service import PredictionService
from orbitune.serving.storage import Storage, remove_upload
from orbitune.serving.uploads import MAX_LOOSE

if TYPE_CHECKING:
    from fastapi import FastAPI, Request

_AT_ONCE = 2  # requests that are computed at the same time
_FIELD = 1000  # bytes of what is no file
_SHOWN_AS_SENT = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
_PROGRESS = 60  # seconds that a page may wait to hear of it
_CLOSE = {"connection": "close"}
_CALL = re.compile(r"/gradio_api/(queue/join|call/(v2/)?\w+/?)$")


def add_predictions(app: "FastAPI", desk: PredictionService, waiting: int) -> None:
    """Add the JSON endpoint and the check of health.

    Args:
        waiting: requests that may wait at once; more are told to come back.
    """
    import anyio
    from fastapi import HTTPException, Query, Request

    places = threading.Semaphore(waiting)
    workers = anyio.CapacityLimiter(_AT_ONCE)

    @app.get("/api/health")
    def health() -> dict[str, Any]:
        return {"models": {name: list(model.bundle.classes) for name, model in desk.models.items()}}

    @app.post("/api/predict")
    async def predict(
        request: Request,
        model: str | None = None,
        top_k: int = Query(3, ge=1, le=100_000),
    ) -> dict[str, Any]:
        """The body is the image's file, or a form with one."""
        data = await _image(request)
        if not places.acquire(blocking=False):
            raise HTTPException(503, "Too many requests are waiting; try again.", {"Retry-After": "1"})
        try:
            asked = desk.model(model)
            answer = await anyio.to_thread.run_sync(asked.answer, data, top_k, limiter=workers)
        except OrbituneError as error:
            raise HTTPException(400, plain(str(error))) from None
        finally:
            places.release()
        if answer.prediction.error:
            raise HTTPException(422, answer.to_json()["error"])
        return answer.to_json()


async def _image(request: "Request") -> bytes:
    """The body, or the one file of a form, as `curl -F file=@tile.png` sends it."""
    from fastapi import HTTPException
    from starlette.datastructures import UploadFile

    if not request.headers.get("content-type", "").startswith("multipart/"):
        return await request.body()
    async with request.form(max_files=1, max_fields=10) as form:
        files = [value for value in form.values() if isinstance(value, UploadFile)]
        if len(files) == 1:
            return await files[0].read()
    raise HTTPException(
        400, "Send one image: curl --data-binary @tile.png, or curl -F file=@tile.png, with the address."
    )


def add_files(app: "FastAPI", storage: Storage) -> None:
    """Add, in the place of Gradio's own, the paths where files are uploaded and downloaded."""
    import anyio
    from fastapi import HTTPException, Query, Request
    from fastapi.responses import FileResponse, JSONResponse, StreamingResponse

    done: deque[str] = deque(maxlen=256)

    @app.post("/gradio_api/upload")
    async def upload(request: Request, upload_id: str = Query("", max_length=64)) -> JSONResponse:
        length = int(request.headers.get("content-length", 0))
        await anyio.to_thread.run_sync(storage.tidy, length)
        try:
            return JSONResponse([str(path) for path in await _receive(request, storage)])
        finally:
            done.append(upload_id)

    @app.get("/gradio_api/upload_progress")
    def progress(upload_id: str) -> StreamingResponse:
        # The page asks how far an upload is. It is only told when it is done.
        async def told() -> AsyncIterator[str]:
            for _ in range(10 * _PROGRESS):
                if upload_id in done:
                    yield 'data: {"msg": "done"}\n\n'
                    return
                await anyio.sleep(0.1)

        return StreamingResponse(told(), media_type="text/event-stream")

    @app.api_route("/gradio_api/file={path:path}", methods=["GET", "HEAD"])
    def file(path: str) -> FileResponse:
        found = storage.find_served(path)
        if found is None:
            raise HTTPException(404, "There is no such file, or it is kept no longer.")
        kind = _SHOWN_AS_SENT.get(found.suffix.lower())
        return FileResponse(
            found,
            media_type=kind or "application/octet-stream",
            filename=found.name,
            content_disposition_type="inline" if kind else "attachment",
            headers={"cache-control": "private, no-store"},
        )


def answer_in_json(pages: Any) -> None:
    """Have Gradio's app say in JSON, and with the right status, what it would answer with a plain 500."""
    from fastapi import Request
    from fastapi.responses import JSONResponse
    from gradio.route_utils import FnIndexInferError

    def refuse(status: int, text: str) -> Any:
        async def answer(request: Request, error: Exception) -> JSONResponse:
            # A call only looks its function up and joins the queue: what fails there is what was asked for.
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


async def _receive(request: "Request", storage: Storage) -> list[Path]:
    """Write the files of a form as they come, one after the other; none stays where one fails."""
    from fastapi import HTTPException
    from python_multipart import MultipartParser
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import parse_options_header

    kind, options = parse_options_header(request.headers.get("content-type"))
    form = _Form(storage)
    try:
        if kind != b"multipart/form-data" or b"boundary" not in options:
            raise FormParserError("no form")
        parser = MultipartParser(options[b"boundary"], form.callbacks())
        async for part in request.stream():
            parser.write(part)
        parser.finalize()
        form.check_whole()
    except BaseException as error:
        form.discard()
        if isinstance(error, FormParserError | OrbituneError):
            text = str(error) if isinstance(error, OrbituneError) else "This is no form with files."
            raise HTTPException(400, text, _CLOSE) from None
        raise
    return form.files


class _Form:
    """Takes what a parser finds in a form with files."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.files: list[Path] = []
        self._file: Any = None
        self._parts = self._field = 0
        self._whole = False
        self._name, self._value = b"", b""
        self._headers: dict[bytes, bytes] = {}

    def callbacks(self) -> Any:
        """What the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._open,
            "on_part_data": self._data,
            "on_part_end": self._close,
            "on_end": self._end,
        }

    def check_whole(self) -> None:
        """Raise an OrbituneError where the form breaks off or holds no file."""
        if not (self._whole and self.files):
            raise OrbituneError("This form has no files, or breaks off.")

    def discard(self) -> None:
        """Delete the files."""
        self._close()
        for path in self.files:
            remove_upload(path)

    def _begin(self) -> None:
        self._parts, self._headers = self._parts + 1, {}
        if self._parts > MAX_LOOSE:
            raise OrbituneError(f"At most {MAX_LOOSE:,} files are taken at once: send a zip.")

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _open(self) -> None:
        from python_multipart.multipart import parse_options_header

        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if b"filename" in options and options.get(b"name") == b"files":
            path = self._storage.new_upload(options[b"filename"].decode("utf-8", "replace"))
            self.files.append(path)
            self._file = path.open("xb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._file:
            self._file.write(data[start:end])
            return
        self._field += end - start
        if self._field > _FIELD:
            raise OrbituneError("Send the files in a field named files, and no others.")

    def _close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def _end(self) -> None:
        self._whole = True
