"""Checks of every request (host, origin, path), and security headers."""

import asyncio
import logging
import re
import secrets
import traceback
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from orbitune.serving.error_handling import error_body
from orbitune.serving.security.allowed_hosts import AllowedHosts

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger("orbitune.app")
EVENT_STREAM = "event stream"  # name of the task of a request that is answered with one

# Paths that the pages and Gradio's clients need. Gradio has more: a proxy, a component server, an editor.
_GET_PATHS = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/manifest\.json|/robots\.txt|/logout|/(static|assets|svelte)/.+|"
    r"/map/[0-9a-f]{32}/(map\.json|(scene|labels)/\d{1,2}/\d{1,6}/\d{1,6}\.(webp|bin))?|/map-assets/[a-z.]+|"
    r"/api/(predict|health|metrics|openapi\.json|docs)|/gradio_api/(info/?|openapi\.json|theme\.css|user/?|login_check/?|app_id/?|startup-events|upload_progress|"
    r"queue/status|queue/data|heartbeat/[\w-]+|call/(v2/)?\w+/[\w-]+|file=.+)"
)
_POST_PATHS = re.compile(
    r"/login/?|/api/predict|/gradio_api/(upload|queue/join|call/(v2/)?\w+/?|cancel|reset/?)"
)
_ALLOWED = {"GET": _GET_PATHS, "HEAD": _GET_PATHS, "POST": _POST_PATHS}
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_NO_CONTENT_POLICY = "default-src 'none'; frame-ancestors 'none'"
_PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' blob:; connect-src 'self'; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
_REFERENCE_PAGE = "/api/docs"  # has no scripts
_REFERENCE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_MAP_PAGE = re.compile(r"/map/[0-9a-f]{32}/")  # shown in a frame of the app's page
_MAP_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)


class RequestCheckMiddleware:
    """ASGI middleware that refuses foreign requests and adds security headers.

    Args:
        app: the next ASGI app.
        hosts: the accepted host names.
        root_path: path under which a proxy serves the app; the proxy may strip it or not.
    """

    def __init__(self, app: App, *, hosts: AllowedHosts, root_path: str = "") -> None:
        self._app, self._hosts, self._root_path = app, hosts, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            if self._root_path and f"{scope['path']}/".startswith(f"{self._root_path}/"):
                path = scope["path"][len(self._root_path) :] or "/"
                scope = {**scope, "path": path, "raw_path": path.encode()}
            await self._handle(dict(scope), receive, send)
        else:
            await self._app(scope, receive, send)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        guarded = _GuardedResponse(scope, send)
        try:
            if refusal := self._refusal(scope):
                await error_response(*refusal)(scope, receive, guarded.send)
            else:
                await self._app(scope, receive, guarded.send)
        except asyncio.CancelledError:  # the server shuts down
            if guarded.started:
                await guarded.end_events()
            else:
                text = "The server was stopped before it could answer; try again."
                stopped = error_response(503, text, kind="shutting_down", headers={"Retry-After": "1"})
                await stopped(scope, receive, guarded.send)
        except Exception as error:
            if not _was_sent_as_event(error):
                log.warning("%s %.200r: %s", scope["method"], scope["path"], describe_error(error))
            if guarded.started:
                await guarded.end_events()
            else:
                failure = error_response(500, "The server could not answer this.")
                await failure(scope, receive, guarded.send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Return status and message for a request that is refused; None for others."""
        hosts = [value for name, value in _headers(scope) if name == "host"]
        # Each proxy on the way may append the name under which it was called.
        forwarded = [
            part.strip()
            for name, value in _headers(scope)
            if name == "x-forwarded-host"
            for part in value.split(",")
        ]
        if len(hosts) != 1 or not all(map(self._hosts.allows_host, hosts + forwarded)):
            return 421, "This server does not answer to that host name: start it with --allow-host NAME."
        headers = dict(_headers(scope))
        if (origin := headers.get("origin")) and not self._hosts.allows_origin(origin, hosts[0]):
            return 403, "Pages of other sites may not call this server."
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and scope["path"] != "/":
            return 403, "Pages of other sites may not call this server."
        allowed = _ALLOWED.get(scope["method"])
        if allowed is None or ".." in scope["path"].split("/") or not allowed.fullmatch(scope["path"]):
            return 404, "Not found."
        return None


class _GuardedResponse:
    """ASGI `send` that adds security headers, and a nonce to the scripts of a page."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.started = False
        self._task = asyncio.current_task()
        self._events = False  # an event stream has begun and not ended
        self._send, self._file = send, scope["path"].startswith("/gradio_api/file=")
        self._map = _MAP_PAGE.fullmatch(scope["path"]) is not None
        self._reference = scope["path"] == _REFERENCE_PAGE
        self._nonce = secrets.token_urlsafe(16) if scope["path"] == "/" else None
        self._page: Message | None = None
        self._body = b""
        # Gradio builds addresses from x-gradio-server. Compression must wait until a page has its nonces.
        dropped = {b"x-gradio-server", *([b"accept-encoding"] if self._nonce else [])}
        scope["headers"] = [pair for pair in scope["headers"] if pair[0] not in dropped]

    async def send(self, message: Message) -> None:
        """Pass a message on."""
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self._events = False
        if message["type"] == "http.response.start":
            self.started = True
            self._page = self._start(message)
            if self._page is None:
                await self._send(message)
        elif self._page is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                await self._send_page(self._page)

    async def end_events(self) -> None:
        """End an interrupted event stream properly: all events sent so far are complete."""
        import anyio

        if self._events:
            with anyio.move_on_after(1):  # in case the client does not read
                await self.send({"type": "http.response.body", "body": b""})

    def _start(self, message: Message) -> Message | None:
        """Set the headers; return the message if it has to wait for the complete page."""
        from starlette.datastructures import MutableHeaders

        headers = MutableHeaders(raw=list(message.get("headers", [])))
        for name in [name for name in headers if name.startswith("access-control-")]:
            del headers[name]
        headers.update(_HEADERS)
        self._events = headers.get("content-type", "").startswith("text/event-stream")
        if self._events and self._task:
            self._task.set_name(EVENT_STREAM)
        page = self._nonce and headers.get("content-type", "").startswith("text/html")
        closed = f"sandbox; {_NO_CONTENT_POLICY}" if self._file else _NO_CONTENT_POLICY
        if self._reference:
            closed = _REFERENCE_POLICY
        if self._map:
            headers["x-frame-options"], closed = "SAMEORIGIN", _MAP_POLICY
        headers["content-security-policy"] = _PAGE_POLICY.format(nonce=self._nonce) if page else closed
        message["headers"] = headers.raw
        return message if page else None

    async def _send_page(self, start: Message) -> None:
        body = self._body.replace(b"<script", f'<script nonce="{self._nonce}"'.encode())
        length = [(b"content-length", str(len(body)).encode())]
        start["headers"] = [pair for pair in start["headers"] if pair[0] != b"content-length"] + length
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})


def error_response(
    status: int, text: str, *, kind: str | None = None, headers: Mapping[str, str] | None = None
) -> App:
    """Return an ASGI response with a JSON error that closes the connection."""
    from starlette.responses import JSONResponse

    return JSONResponse(
        error_body(status, text, kind=kind), status, {"connection": "close", **(headers or {})}
    )


def describe_error(error: BaseException) -> str:
    """Return type, message and location of an error as one line, for the log."""
    error = _innermost(error)
    (*_, last) = traceback.extract_tb(error.__traceback__) or [None]
    place = f" ({last.filename}:{last.lineno})" if last else ""
    return f"{type(error).__name__}: {str(error)[:200]!r}{place}"


def _was_sent_as_event(error: BaseException) -> bool:
    """Return whether Gradio already sent this error to the client as an event."""
    from starlette.exceptions import HTTPException

    return isinstance(_innermost(error).__cause__, HTTPException)


def _innermost(error: BaseException) -> BaseException:
    """Unwrap exception groups."""
    while isinstance(inner := getattr(error, "exceptions", [None])[0], Exception):
        error = inner
    return error


def _headers(scope: Scope) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
