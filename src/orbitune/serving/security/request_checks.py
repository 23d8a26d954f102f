"""Checks of every request (host, origin, path), and security headers."""

import asyncio
import logging
import re
import traceback
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from orbitune.serving.error_handling import error_body, missing_page
from orbitune.serving.security.allowed_hosts import AllowedHosts

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger("orbitune.app")
EVENT_STREAM = "event stream"  # name of the task of a request that is answered with one

# Paths of the app's page and API, and those that Gradio's clients need. Gradio has more: a page, a proxy, a
# component server, an editor.
_GET_PATHS = re.compile(
    r"/|/app/(examples?|card|[\w-]+\.(js|css|svg))|/config/?|/logout|"
    r"/map/[0-9a-f]{32}/(map\.json|(scene|labels)/\d{1,2}/\d{1,6}/\d{1,6}\.(webp|bin))?|/map-assets/[a-z.]+|"
    r"/api/(predict|models|health|metrics|openapi\.json|docs)|"
    r"/gradio_api/(info/?|openapi\.json|user/?|login_check/?|app_id/?|startup-events|upload_progress|"
    r"queue/status|queue/data|heartbeat/[\w-]+|call/(v2/)?\w+/[\w-]+|file=.+)"
)
_POST_PATHS = re.compile(
    r"/login/?|/api/(predict|preview|attribution)|"
    r"/gradio_api/(upload|queue/join|call/(v2/)?\w+/?|cancel|reset/?)"
)
_ALLOWED = {"GET": _GET_PATHS, "HEAD": _GET_PATHS, "POST": _POST_PATHS}
_FOREIGN = "Pages of other sites may not call this server."
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_NO_CONTENT_POLICY = "default-src 'none'; frame-ancestors 'none'"
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "frame-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
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
        guarded = _GuardedResponse(scope, send, root_path=self._root_path)
        try:
            if refusal := self._refusal(scope):
                await refusal(scope, receive, guarded.send)
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

    def _refusal(self, scope: Scope) -> App | None:
        """Return the response to a request that is refused; None for others."""
        hosts = [value for name, value in _headers(scope) if name == "host"]
        # Each proxy on the way may append the name under which it was called.
        forwarded = [
            part.strip()
            for name, value in _headers(scope)
            if name == "x-forwarded-host"
            for part in value.split(",")
        ]
        if len(hosts) != 1 or not all(map(self._hosts.allows_host, hosts + forwarded)):
            return error_response(
                421, "This server does not answer to that host name: start it with --allow-host NAME."
            )
        headers = dict(_headers(scope))
        if (origin := headers.get("origin")) and not self._hosts.allows_origin(origin, hosts[0]):
            return error_response(403, _FOREIGN)
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and scope["path"] != "/":
            return error_response(403, _FOREIGN)
        path = scope["path"]
        allowed = _ALLOWED.get(scope["method"])
        if allowed and ".." not in path.split("/") and allowed.fullmatch(path):
            return None
        if path.startswith("/api/") and any(paths.fullmatch(path) for paths in _ALLOWED.values()):
            method = "POST" if _POST_PATHS.fullmatch(path) else "GET"
            return error_response(405, f"This address takes only {method}.", headers={"Allow": method})
        return error_response(404, "Not found.")


class _GuardedResponse:
    """ASGI `send` that adds security headers, and tells a browser where the app is if a page is missing."""

    def __init__(self, scope: Scope, send: Send, *, root_path: str) -> None:
        self.started = False
        self._task = asyncio.current_task()
        self._events = False  # an event stream has begun and not ended
        self._send, self._root_path = send, root_path
        self._policy = _policy_of(scope["path"])
        self._framed = self._policy == _MAP_POLICY
        accepted = dict(_headers(scope)).get("accept", "")
        self._reads_pages = scope["method"] == "GET" and "text/html" in accepted
        self._replaced = False  # the body of a response that a page stands for
        # Gradio builds addresses from x-gradio-server.
        scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"x-gradio-server"]

    async def send(self, message: Message) -> None:
        """Pass a message on."""
        if self._replaced:
            return
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self._events = False
        if message["type"] == "http.response.start":
            self.started = True
            if message["status"] == 404 and self._reads_pages:
                self._replaced = True
                await self._send_pointer()
                return
            self._start(message)
        await self._send(message)

    async def end_events(self) -> None:
        """End an interrupted event stream properly: all events sent so far are complete."""
        import anyio

        if self._events:
            with anyio.move_on_after(1):  # in case the client does not read
                await self.send({"type": "http.response.body", "body": b""})

    async def _send_pointer(self) -> None:
        body = missing_page(self._root_path).encode()
        pairs = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", str(len(body)).encode())]
        start: Message = {"type": "http.response.start", "status": 404, "headers": pairs}
        self._start(start)
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})

    def _start(self, message: Message) -> None:
        """Set the headers."""
        from starlette.datastructures import MutableHeaders

        headers = MutableHeaders(raw=list(message.get("headers", [])))
        for name in [name for name in headers if name.startswith("access-control-")]:
            del headers[name]
        headers.update(_HEADERS)
        self._events = headers.get("content-type", "").startswith("text/event-stream")
        if self._events and self._task:
            self._task.set_name(EVENT_STREAM)
        if self._framed:
            headers["x-frame-options"] = "SAMEORIGIN"
        headers["content-security-policy"] = self._policy
        message["headers"] = headers.raw


def _policy_of(path: str) -> str:
    """Return the content security policy of the response for a path."""
    if path == "/":
        return _PAGE_POLICY
    if path == _REFERENCE_PAGE:
        return _REFERENCE_POLICY
    if _MAP_PAGE.fullmatch(path):
        return _MAP_POLICY
    return f"sandbox; {_NO_CONTENT_POLICY}" if path.startswith("/gradio_api/file=") else _NO_CONTENT_POLICY


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
