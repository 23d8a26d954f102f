"""Limits on request bodies: size, speed, and the memory of all bodies together."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from orbitune.serving.security.request_checks import App, Message, Receive, Scope, Send, error_response

GRACE_SECONDS = 10.0  # seconds for the first bytes of a body ...
MIN_BYTES_PER_SECOND = 16_000  # ... and the average speed required after that
MAX_BYTES_IN_MEMORY = 256 * 2**20  # of all bodies, incomplete or waiting
MAX_BYTES_ON_DISK = 2**30  # of all incomplete uploads
MAX_BYTES_WITHOUT_FILES = 2**20  # of a body on any other path
_DRAIN_SECONDS = 2.0  # for which a refused body is still read, so that its sender sees the response
UPLOAD = "/gradio_api/upload"
IMAGE_PATHS = ("/api/predict", "/api/preview", "/api/attribution")
_CLOSE = {"connection": "close"}  # the rest of the body is not read


@dataclass(eq=False)
class _PendingBody:
    """A request body that is being received.

    Attributes:
        size: bytes so far.
        complete: all bytes are here.
        dropped: its memory was needed for others.
        stop: cancels the wait for more bytes.
    """

    size: int = 0
    complete: bool = False
    dropped: bool = False
    stop: Callable[[], None] = field(default=lambda: None)


class ByteBudget:
    """A limit on the bytes of all bodies together.

    At the limit, the incomplete body that has waited longest for its next bytes is dropped, so that a
    stalled sender cannot keep others out.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bodies: dict[_PendingBody, None] = {}  # ordered by the time of their latest bytes

    def add(self, body: _PendingBody, size: int) -> None:
        """Count further bytes of a body, and drop others if the limit is exceeded."""
        self._bodies.pop(body, None)
        self._bodies[body] = None
        body.size += size
        while sum(each.size for each in self._bodies) > self._limit:
            slowest = next((each for each in self._bodies if not each.complete), body)
            slowest.dropped = True
            slowest.stop()
            del self._bodies[slowest]
            if slowest is body:
                return

    def remove(self, body: _PendingBody) -> None:
        """Stop counting a body."""
        self._bodies.pop(body, None)


class BodyLimitMiddleware:
    """ASGI middleware that calls the app once the body is complete.

    Uploads are streamed to the app.

    Args:
        app: the next ASGI app.
        max_image_bytes: of an image sent to the API.
        max_upload_bytes: of an upload of the pages.
    """

    def __init__(self, app: App, *, max_image_bytes: int, max_upload_bytes: int) -> None:
        self._app = app
        self._limits = {UPLOAD: max_upload_bytes, **dict.fromkeys(IMAGE_PATHS, max_image_bytes)}
        self._memory, self._disk = ByteBudget(MAX_BYTES_IN_MEMORY), ByteBudget(MAX_BYTES_ON_DISK)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        from starlette.exceptions import HTTPException

        headers = dict(scope["headers"]) if scope["type"] == "http" else {}
        length = headers.get(b"content-length", b"0")
        if length == b"0" and b"transfer-encoding" not in headers:
            await self._app(scope, receive, send)
            return
        limit = self._limits.get(scope["path"], MAX_BYTES_WITHOUT_FILES)
        streamed = scope["path"] == UPLOAD
        pending, budget = _PendingBody(), self._disk if streamed else self._memory
        parts = _read(receive, limit, body=pending, budget=budget)
        try:
            if not length.isdigit() or int(length) > limit:
                if b"expect" not in headers:  # else the client has not sent anything yet
                    await _drain(receive)
                raise _too_large(limit)
            if streamed:
                await self._app(scope, _replay(parts, receive), send)
            else:
                content = b"".join([part async for part in parts])
                await self._app(scope, _replay(_once(content), receive), send)
        except HTTPException as error:
            wait = {"Retry-After": "1"} if error.status_code == 503 else None
            await error_response(error.status_code, error.detail, headers=wait)(scope, receive, send)
        except _DisconnectError:
            return
        finally:
            budget.remove(pending)


class _DisconnectError(Exception):
    """The client closed the connection."""


async def _read(
    receive: Receive, limit: int, *, body: _PendingBody, budget: ByteBudget
) -> AsyncIterator[bytes]:
    """Yield the parts of a body.

    Raises:
        HTTPException: it is too large (413), too slow (408), or was dropped for others (503).
        _DisconnectError: the client closed the connection.
    """
    import anyio
    from starlette.exceptions import HTTPException

    start = anyio.current_time()
    more = True
    while more:
        with anyio.CancelScope(deadline=start + GRACE_SECONDS + body.size / MIN_BYTES_PER_SECOND) as wait:
            body.stop = wait.cancel
            message = await receive()
        body.stop = lambda: None
        if wait.cancelled_caught and not body.dropped:
            raise HTTPException(408, "The body of the request came too slowly; send it again.", _CLOSE)
        if not wait.cancelled_caught:
            if message["type"] == "http.disconnect":
                raise _DisconnectError
            part, more = message.get("body", b""), message.get("more_body", False)
            body.complete = not more
            if body.size + len(part) > limit:
                await _drain(receive)
                raise _too_large(limit)
            budget.add(body, len(part))
        if body.dropped:
            raise HTTPException(503, "Too many requests are being sent; try again.", _CLOSE)
        yield part


def _too_large(limit: int) -> Exception:
    from starlette.exceptions import HTTPException

    size = f"{limit // 2**20} MB" if limit >= 2**20 else f"{limit:,} bytes"
    return HTTPException(413, f"At most {size} are taken at once.", _CLOSE)


async def _drain(receive: Receive) -> None:
    """Read on for a moment: a client cut off while sending may miss the response."""
    import anyio

    with anyio.move_on_after(_DRAIN_SECONDS):
        message: Message = {"more_body": True}
        while message.get("more_body"):
            message = await receive()


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _replay(parts: AsyncIterator[bytes], receive: Receive) -> Receive:
    """Return an ASGI `receive` that yields the parts, and later events of the client."""
    ended = False

    async def replayed() -> Message:
        nonlocal ended
        if ended:
            return await receive()
        try:
            return {"type": "http.request", "body": await parts.__anext__(), "more_body": True}
        except StopAsyncIteration:
            ended = True
            return {"type": "http.request", "body": b"", "more_body": False}

    return replayed
