"""Bodies of requests, within bounds: a size each, a pace, and one bound on the memory of all together."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from orbitune.serving.security.request_checks import App, Message, Receive, Scope, Send, refuse

GRACE = 10.0  # seconds that a body has for its first bytes ...
PACE = 16_000  # ... and bytes a second that it may not fall behind from then on
IN_MEMORY = 256 * 2**20  # bytes of all bodies together, unfinished and waiting
ON_DISK = 2**30  # bytes of all unfinished uploads together
SMALL = 2**20  # bytes of any body that holds no file
_DRAINED = 2.0  # seconds that a body which is refused is read for, so that its sender hears why
UPLOAD = "/gradio_api/upload"
_CLOSE = {"connection": "close"}  # what is left of the body is not waited for


@dataclass(eq=False)
class _Held:
    """A body: its bytes so far, and what ends the wait for more."""

    size: int = 0
    whole: bool = False
    dropped: bool = False
    stop: Callable[[], None] = field(default=lambda: None)


class Budget:
    """A bound on the bytes of all bodies together.

    Where it is reached, the unfinished body that has waited longest for its next bytes makes room: a sender
    that stalls cannot keep others out.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: dict[_Held, None] = {}  # in the order of their latest bytes

    def add(self, held: _Held, size: int) -> None:
        """Count the next bytes of a body."""
        self._held.pop(held, None)
        self._held[held] = None
        held.size += size
        while sum(each.size for each in self._held) > self._limit:
            slowest = next((each for each in self._held if not each.whole), held)
            slowest.dropped = True
            slowest.stop()
            del self._held[slowest]
            if slowest is held:
                return

    def remove(self, held: _Held) -> None:
        """Count a body no longer."""
        self._held.pop(held, None)


class Bodies:
    """An ASGI middleware: the app is called when the body is whole. Uploads are handed on as they come.

    Args:
        app: what is called.
        image: bytes that an image sent to the JSON endpoint may have.
        upload: bytes that one upload to the pages may have.
    """

    def __init__(self, app: App, image: int, upload: int) -> None:
        self._app = app
        self._limits = {"/api/predict": image, UPLOAD: upload}
        self._memory, self._disk = Budget(IN_MEMORY), Budget(ON_DISK)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        from starlette.exceptions import HTTPException

        headers = dict(scope["headers"]) if scope["type"] == "http" else {}
        length = headers.get(b"content-length", b"0")
        if length == b"0" and b"transfer-encoding" not in headers:
            await self._app(scope, receive, send)
            return
        limit = self._limits.get(scope["path"], SMALL)
        streamed = scope["path"] == UPLOAD
        held, budget = _Held(), self._disk if streamed else self._memory
        parts = _read(receive, limit, held, budget)
        try:
            if not length.isdigit() or int(length) > limit:
                if b"expect" not in headers:  # else it waits for a word before it sends anything
                    await _drain(receive)
                raise _too_large(limit)
            if streamed:
                await self._app(scope, _replay(parts, receive), send)
            else:
                body = b"".join([part async for part in parts])
                await self._app(scope, _replay(_once(body), receive), send)
        except HTTPException as error:
            await refuse(error.status_code, error.detail, scope, receive, send)
        except _DisconnectError:
            return
        finally:
            budget.remove(held)


class _DisconnectError(Exception):
    """The client hung up."""


async def _read(receive: Receive, limit: int, held: _Held, budget: Budget) -> AsyncIterator[bytes]:
    import anyio
    from starlette.exceptions import HTTPException

    start = anyio.current_time()
    more = True
    while more:
        with anyio.CancelScope(deadline=start + GRACE + held.size / PACE) as wait:
            held.stop = wait.cancel
            message = await receive()
        held.stop = lambda: None
        if wait.cancelled_caught and not held.dropped:
            raise HTTPException(408, "The body of the request came too slowly; send it again.", _CLOSE)
        if not wait.cancelled_caught:
            if message["type"] == "http.disconnect":
                raise _DisconnectError
            part, more = message.get("body", b""), message.get("more_body", False)
            held.whole = not more
            if held.size + len(part) > limit:
                await _drain(receive)
                raise _too_large(limit)
            budget.add(held, len(part))
        if held.dropped:
            raise HTTPException(503, "Too many requests are being sent; try again.", _CLOSE)
        yield part


def _too_large(limit: int) -> Exception:
    from starlette.exceptions import HTTPException

    size = f"{limit // 2**20} MB" if limit >= 2**20 else f"{limit:,} bytes"
    return HTTPException(413, f"At most {size} are taken at once.", _CLOSE)


async def _drain(receive: Receive) -> None:
    """Read on for a moment: who is cut off while sending may not see the answer."""
    import anyio

    with anyio.move_on_after(_DRAINED):
        message: Message = {"more_body": True}
        while message.get("more_body"):
            message = await receive()


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


def _replay(parts: AsyncIterator[bytes], receive: Receive) -> Receive:
    """A `receive` that gives the parts, and then what else the client does."""
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
