"""What every request passes first: its host, its origin, and whether there is anything at its path."""

import asyncio
import logging
import re
import secrets
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from orbitune.serving.security.allowed_hosts import Hosts

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger("orbitune.app")

# All that the pages and Gradio's clients need. Gradio has more: a proxy, a component server, a code editor.
_READ = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/manifest\.json|/robots\.txt|/logout|/(static|assets|svelte)/.+|"
    r"/api/health|/gradio_api/(info/?|openapi\.json|theme\.css|user/?|login_check/?|app_id/?|startup-events|upload_progress|"
    r"queue/status|queue/data|heartbeat/[\w-]+|call/(v2/)?\w+/[\w-]+|file=.+)"
)
_WRITE = re.compile(r"/login/?|/api/predict|/gradio_api/(upload|queue/join|call/(v2/)?\w+/?|cancel|reset/?)")
_ALLOWED = {"GET": _READ, "HEAD": _READ, "POST": _WRITE}
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_CLOSED = "default-src 'none'; frame-ancestors 'none'"
_PAGE = (
    "default-src 'self'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' blob:; connect-src 'self'; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)


class Guard:
    """An ASGI middleware: refuses what is not meant for this server, and adds the headers of security.

    Args:
        app: what is guarded.
        hosts: the names that are answered to.
        root_path: the path that a proxy in front serves it below; a proxy may take it off, or leave it.
    """

    def __init__(self, app: App, hosts: Hosts, root_path: str = "") -> None:
        self._app, self._hosts, self._root_path = app, hosts, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            if self._root_path and f"{scope['path']}/".startswith(f"{self._root_path}/"):
                path = scope["path"][len(self._root_path) :] or "/"
                scope = {**scope, "path": path, "raw_path": path.encode()}
            await self._answer(dict(scope), receive, send)
        else:
            await self._app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        guarded = _Reply(scope, send)
        try:
            if refusal := self._refusal(scope):
                await refuse(*refusal, scope, receive, guarded.send)
            else:
                await self._app(scope, receive, guarded.send)
        except asyncio.CancelledError:
            await guarded.end_events()  # the server ends, and a page is still open
        except Exception as error:
            if not _told_as_event(error):
                log.warning("%s %.200r: %s", scope["method"], scope["path"], in_one_line(error))
            if guarded.started:
                await guarded.end_events()
            else:
                await refuse(500, "The server could not answer this.", scope, receive, guarded.send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        hosts = [value for name, value in _headers(scope) if name == "host"]
        # Each proxy on the way may have added the name that it was asked for.
        forwarded = [
            part.strip()
            for name, value in _headers(scope)
            if name == "x-forwarded-host"
            for part in value.split(",")
        ]
        if len(hosts) != 1 or not all(map(self._hosts.answer_to, hosts + forwarded)):
            return 421, "This server does not answer to that host name: start it with --allow-host NAME."
        headers = dict(_headers(scope))
        if (origin := headers.get("origin")) and not self._hosts.accept_origin(origin, hosts[0]):
            return 403, "Pages of other sites may not call this server."
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and scope["path"] != "/":
            return 403, "Pages of other sites may not call this server."
        allowed = _ALLOWED.get(scope["method"])
        if allowed is None or ".." in scope["path"].split("/") or not allowed.fullmatch(scope["path"]):
            return 404, "Not found."
        return None


class _Reply:
    """Sends a response on, with the headers that each has, and a page with a nonce for its scripts."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.started = False
        self._events = False  # whether a stream of them has begun and not ended
        self._send, self._file = send, scope["path"].startswith("/gradio_api/file=")
        self._nonce = secrets.token_urlsafe(16) if scope["path"] == "/" else None
        self._page: Message | None = None
        self._body = b""
        # Gradio builds addresses from this one. A page is not compressed before it has its nonces.
        dropped = {b"x-gradio-server", *([b"accept-encoding"] if self._nonce else [])}
        scope["headers"] = [pair for pair in scope["headers"] if pair[0] not in dropped]

    async def send(self, message: Message) -> None:
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
        """End a stream of events that broke off: all that was sent of it is whole."""
        import anyio

        if self._events:
            with anyio.move_on_after(1):  # for a client that does not read
                await self.send({"type": "http.response.body", "body": b""})

    def _start(self, message: Message) -> Message | None:
        """Set the headers; return the message where it is to wait for the whole page."""
        from starlette.datastructures import MutableHeaders

        headers = MutableHeaders(raw=list(message.get("headers", [])))
        for name in [name for name in headers if name.startswith("access-control-")]:
            del headers[name]
        headers.update(_HEADERS)
        self._events = headers.get("content-type", "").startswith("text/event-stream")
        page = self._nonce and headers.get("content-type", "").startswith("text/html")
        closed = f"sandbox; {_CLOSED}" if self._file else _CLOSED
        headers["content-security-policy"] = _PAGE.format(nonce=self._nonce) if page else closed
        message["headers"] = headers.raw
        return message if page else None

    async def _send_page(self, start: Message) -> None:
        body = self._body.replace(b"<script", f'<script nonce="{self._nonce}"'.encode())
        length = [(b"content-length", str(len(body)).encode())]
        start["headers"] = [pair for pair in start["headers"] if pair[0] != b"content-length"] + length
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})


async def refuse(status: int, text: str, scope: Scope, receive: Receive, send: Send, **headers: str) -> None:
    """Answer a request with a status and one plain sentence, JSON, and close the connection."""
    from starlette.responses import JSONResponse

    named = {name.replace("_", "-"): value for name, value in headers.items()}
    await JSONResponse({"detail": text}, status, {"connection": "close", **named})(scope, receive, send)


def in_one_line(error: BaseException) -> str:
    """Return kind and place of an error, for the log."""
    error = _innermost(error)
    (*_, last) = traceback.extract_tb(error.__traceback__) or [None]
    place = f" ({last.filename}:{last.lineno})" if last else ""
    return f"{type(error).__name__}: {str(error)[:200]!r}{place}"


def _told_as_event(error: BaseException) -> bool:
    """Whether Gradio sent this refusal to the client as an event, and then raised it as well."""
    from starlette.exceptions import HTTPException

    return isinstance(_innermost(error).__cause__, HTTPException)


def _innermost(error: BaseException) -> BaseException:
    while isinstance(inner := getattr(error, "exceptions", [None])[0], Exception):
        error = inner
    return error


def _headers(scope: Scope) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
